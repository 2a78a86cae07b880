import { MeshError } from '#policies/errors/mesh-error.ts';
import type { SpiffeId } from '#policies/spiffe-id.ts';
import type { Clock } from '#runtime/clock.ts';
import type { CaBackend } from '../ca-backend.ts';
import type { LeafSigner } from '../leaf-template.ts';
import { type NodeRecord, type Nodes, takenBack } from '../nodes.ts';
import type { TrustPublication } from '../trust-publication.ts';
import { type CrlEntry, makeCrl } from './crl.ts';
import type { RevocationRecord, Revocations } from './revocations.ts';

/** A CRL is good for a day, and signed anew at every change and every hour: whoever could not fetch one has most of a day. */
const lifeMs = 86_400_000;
const renewalMs = 3_600_000;
/** For readers whose clock is behind. */
const backdatedMs = 60_000;

/** What the list is made of. */
export interface CrlParts {
  readonly backend: CaBackend;
  readonly nodes: Nodes;
  readonly revocations: Revocations;
  /** Its sequence grows with each revocation, also over restarts. */
  readonly trust: Pick<TrustPublication, 'bundle'>;
  readonly idOf: (service: string) => SpiffeId;
  readonly clock: Clock;
}

/**
 * The CRL for those who verify our certificates with ordinary tools; within the mesh nobody needs it, there revocations travel with the signed bundle.
 * It is signed by the issuing CA that signs now. Serials are random numbers of 134 bits, so one list serves for every CA of ours.
 */
export class CrlPublication {
  readonly #parts: CrlParts;
  #signed:
    | { readonly signer: LeafSigner; readonly sequence: number; readonly atMs: number; readonly der: Uint8Array }
    | undefined;
  #number = 0n;
  #signing: Promise<Uint8Array> | undefined;

  constructor(parts: CrlParts) {
    this.#parts = parts;
  }

  /**
   * The list as of now, DER; signed once for each state.
   * @throws MeshError SLV-2172 where Vault signs each certificate, SLV-2140 while there is no issuing CA
   */
  current(): Promise<Uint8Array> {
    this.#signing ??= this.#current().finally(() => {
      this.#signing = undefined;
    });
    return this.#signing;
  }

  async #current(): Promise<Uint8Array> {
    const { backend, trust, clock } = this.#parts;
    if (backend.kind === 'vault-leaf')
      throw new MeshError('SLV-2172', 'Vault signs each certificate here, and keeps the key that would sign a CRL.');
    const signer = backend.crlSigner;
    if (signer === undefined) throw new MeshError('SLV-2140', 'There is no issuing CA to sign a CRL.');
    const { sequence } = trust.bundle;
    const nowMs = clock();
    const before = this.#signed;
    const isFresh = before !== undefined && nowMs >= before.atMs && nowMs - before.atMs < renewalMs;
    if (isFresh && before.signer === signer && before.sequence === sequence) return before.der;
    const entries = await this.#entries(nowMs);
    // The sequence is stored and only grows; the time tells apart what is signed under the same one, also after a restart.
    const byTime = (BigInt(sequence) << 48n) | BigInt(Math.max(nowMs, 0));
    this.#number = byTime > this.#number ? byTime : this.#number + 1n;
    const thisUpdateMs = nowMs - backdatedMs;
    const der = makeCrl(signer, { entries, number: this.#number, thisUpdateMs, nextUpdateMs: nowMs + lifeMs });
    this.#signed = { signer, sequence, atMs: nowMs, der };
    return der;
  }

  async #entries(nowMs: number): Promise<CrlEntry[]> {
    const { nodes, revocations, idOf } = this.#parts;
    const [known, revoked] = await Promise.all([nodes.list(), revocations.list()]);
    const entries = new Map<string, CrlEntry>();
    const add = (entry: CrlEntry): void => {
      if (!entries.has(entry.serial)) entries.set(entry.serial, entry);
    };
    for (const record of revoked) {
      const { createdAtMs } = record;
      if (record.kind === 'serial') add({ serial: record.serial, revokedAtMs: createdAtMs, reason: 'unspecified' });
      else
        for (const serial of serialsOf(record, known, idOf))
          add({ serial, revokedAtMs: createdAtMs, reason: 'privilegeWithdrawn' });
    }
    for (const node of known) {
      for (const serial of takenBack(node, nowMs))
        add({ serial, revokedAtMs: node.revokedAtMs ?? nowMs, reason: 'privilegeWithdrawn' });
    }
    return [...entries.values()].sort((a, b) => (a.serial < b.serial ? -1 : 1));
  }
}

/** The certificates of a SPIFFE ID that are known here. */
function serialsOf(
  { spiffeId }: Extract<RevocationRecord, { kind: 'spiffe-id' }>,
  nodes: readonly NodeRecord[],
  idOf: (service: string) => SpiffeId,
): string[] {
  return nodes.flatMap((node) =>
    node.live.filter(({ service }) => service !== undefined && idOf(service) === spiffeId).map(({ serial }) => serial),
  );
}
