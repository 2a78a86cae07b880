import { createPublicKey } from 'node:crypto';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';
import { serviceIdentityOf } from '#policies/spiffe-id.ts';
import { identityServiceName } from '#runtime/svid/open-bundle.ts';
import type { VerifiedPeer } from '#runtime/svid/verify-peer.ts';
import { grants } from './grant.ts';
import type { NodeProofs } from './node-proof.ts';
import { type NodeRecord, type Nodes, nodeAbsenceMs, renewable, requireNotRevoked } from './nodes.ts';
import type { Presence } from './presence.ts';
import { isRenewable, notRenewable, type ShownSvid } from './shown-svid.ts';

/** Who asks for an SVID, as proven. */
export type Attested =
  /** A node by its key, or by an SVID in hand of the very service. `shown`: that SVID, which may renew again. */
  | { readonly kind: 'node-key' | 'svid'; readonly node: NodeRecord; readonly shown: ShownSvid | undefined }
  /** `dev`: nobody is asked. */
  | { readonly kind: 'open' };

/** A proof of the node key that came with a request. */
export interface ShownProof {
  /** The header. */
  readonly jws: string;
  /** What it is over: the request's body as received. */
  readonly body: Uint8Array;
}

/** What a request shows. */
export interface Evidence {
  readonly service: string;
  readonly proof: ShownProof | undefined;
  /** The client certificate of the connection, verified. */
  readonly peer: VerifiedPeer | undefined;
}

/** Attests callers of `POST /v1/identity/svids`, and holds them to their grant. */
export class Attestation {
  readonly #nodes: Nodes;
  readonly #proofs: NodeProofs;
  readonly #presence: Presence;
  readonly #open: boolean;

  constructor(options: { nodes: Nodes; proofs: NodeProofs; presence: Presence; open: boolean }) {
    this.#nodes = options.nodes;
    this.#proofs = options.proofs;
    this.#presence = options.presence;
    this.#open = options.open;
  }

  /**
   * Finds out who asks. What it may be is another question: `entitle`.
   * @throws MeshError SLV-2001 nothing shown, 2110 bad proof, 2111 unknown node, 2120 an SVID of another service, 2122 SVID can't renew
   */
  async attest(evidence: Evidence): Promise<Attested> {
    if (this.#open) return { kind: 'open' };
    if (evidence.proof !== undefined) return this.#proveByKey(evidence.proof, evidence);
    if (evidence.peer !== undefined) return this.#proveBySvid(evidence.peer, evidence.service);
    throw new MeshError('SLV-2001', 'Neither a proof of the node key nor an SVID was shown.');
  }

  async #proveByKey({ jws, body }: ShownProof, evidence: Evidence): Promise<Attested> {
    const nodeId = this.#proofs.claimedNode(jws);
    const node = (await this.#nodes.get(nodeId))?.node;
    if (node === undefined) throw new MeshError('SLV-2111', `There is no node ${quote(nodeId)}.`);
    await this.#proofs.verify(jws, createPublicKey(node.publicKey), { nodeId, content: body });
    const lastSeenMs = Math.max(node.joinedAtMs, node.lastIssuedAtMs ?? 0);
    if (this.#presence.awayMs(lastSeenMs) > nodeAbsenceMs) {
      throw new MeshError(
        'SLV-2111',
        `Node ${node.name} was last seen at ${new Date(lastSeenMs).toISOString()}, over 30 days ago.`,
      );
    }
    const serial = evidence.peer?.serialHex;
    const isShown = serial !== undefined && isRenewable(renewable(node, evidence.service), serial);
    return { kind: 'node-key', node, shown: isShown ? { serial, isProof: false } : undefined };
  }

  /** Renewal: the newest SVID of that very service, or the one before it. An older one is in hands that it should not be in. */
  async #proveBySvid(peer: VerifiedPeer, service: string): Promise<Attested> {
    if (serviceIdentityOf(peer.spiffeId)?.service !== service) {
      throw new MeshError('SLV-2120', `The SVID of ${peer.spiffeId} renews itself only, not ${quote(service)}.`);
    }
    const shown: ShownSvid = { serial: peer.serialHex, isProof: true };
    const node = (await this.#nodes.ofSerial(shown.serial))?.node;
    if (node === undefined || !isRenewable(renewable(node, service), shown.serial)) throw notRenewable(shown.serial);
    return { kind: 'svid', node, shown };
  }
}

/**
 * Holds a caller to its grant.
 * @throws MeshError SLV-2120 outside of it, 2121 revoked
 */
export function entitle(attested: Attested, service: string): void {
  if (attested.kind !== 'open') requireNotRevoked(attested.node);
  // In `dev` anybody is anything but the service that signs the trust bundle.
  const granted = attested.kind === 'open' ? ['*', 'selvedge-*'] : attested.node.services;
  if (grants(granted, service)) return;
  const who = attested.kind === 'open' ? 'Nobody may' : `Node ${attested.node.name} may not`;
  const why = service === identityServiceName ? 'its SVID signs the trust bundle' : 'that is outside of the grant';
  throw new MeshError('SLV-2120', `${who} be ${quote(service)}: ${why}.`, {
    detail: { service, granted },
  });
}
