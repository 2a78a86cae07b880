import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';
import { type AttestationMethod, attestationMethods } from '#policies/wire/attest-api.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Compare, Operation, Store } from '#store/contract.ts';
import { grants } from './grant.ts';
import { type ShownSvid, stillRenewable } from './shown-svid.ts';
import { storedRecord } from './stored-record.ts';

/** A node comes back by its key alone for this long after its last SVID; then it has to join again (blueprint section 6). */
export const nodeAbsenceMs = 30 * 86_400_000;
/** SVIDs of one node that are valid at once. A proxy of a hundred services has some four hundred. */
export const maxLiveSvids = 2_000;

/** Of what has run out, so much is forgotten with each new SVID: a transaction of the store has a limit (128). */
const maxDropped = 100;

/** Tries at a compare-and-swap of one node's record: a node asks for few SVIDs at once. */
const maxSwaps = 32;

/** Serials whose node is remembered: which node one was issued to never changes, so it needs to be asked once. */
const maxRememberedSerials = 20_000;

const nodeSchema = z.object({
  id: z.string(),
  name: z.string(),
  /** SPKI PEM, EC P-256. */
  publicKey: z.string(),
  /** What it may be: grant.ts. */
  services: z.array(z.string()),
  attestation: z.enum(attestationMethods),
  /** Who vouched for it, and whom for: node-attestation/attested.ts. Absent with a join token. */
  source: z.string().optional(),
  subject: z.string().optional(),
  joinedAtMs: z.number(),
  lastIssuedAtMs: z.number().optional(),
  revokedAtMs: z.number().optional(),
  /** By service: the serial of its newest SVID, and the one that was shown or held when that was issued. Both may renew. */
  svids: z.record(z.string(), z.object({ current: z.string(), previous: z.string().optional() })),
  /** Every SVID that is still valid, oldest first: what is to be revoked with the node. */
  live: z.array(
    z.object({
      serial: z.string(),
      notAfterMs: z.number(),
      issuedAtMs: z.number().optional(),
      /** Which authority signed it, where that is known. */
      authority: z.string().optional(),
      /** Absent in what an older release wrote. */
      service: z.string().optional(),
      /** Taken back: the grant does not hold its service any more. */
      withdrawn: z.literal(true).optional(),
    }),
  ),
});

/** A node as stored: `identity/nodes/<id>`. */
export type NodeRecord = z.infer<typeof nodeSchema>;

const nodes = storedRecord(nodeSchema);
const serials = storedRecord(z.object({ node: z.string() }));
const nodePrefix = 'identity/nodes/';
const nodeKey = (id: string): string => `${nodePrefix}${id}`;
/** Node names that no node may take by this method, because the one that did was revoked. */
const barKey = (method: AttestationMethod, name: string): string => `identity/barred/${method}/${name}`;
const bars = storedRecord(z.object({ node: z.string(), atMs: z.number() }));
const serialKey = (serial: string): string => `identity/serials/${serial}`;

/** By what a node joined that has no join token. */
export interface Vouched {
  readonly method: Exclude<AttestationMethod, 'join-token'>;
  readonly source: string;
  readonly subject: string;
}

/** A record with the revision that a change of it compares. */
export interface StoredNode {
  readonly node: NodeRecord;
  readonly modRevision: number;
}

/** The public key of a node, checked. */
export interface NodeKey {
  readonly key: KeyObject;
  /** SPKI PEM, encoded anew. */
  readonly pem: string;
  /** The node's id: the first 128 bits of SHA-256 over its SPKI, hex. One key is one node, whatever it calls itself. */
  readonly nodeId: string;
}

/**
 * Reads a node's public key.
 * @param pem SPKI, EC P-256
 * @throws MeshError SLV-2110
 */
export function readNodeKey(pem: string): NodeKey {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: pem, format: 'pem', type: 'spki' });
  } catch (cause) {
    throw new MeshError('SLV-2110', 'The public key of the node can not be read: SPKI in PEM is needed.', { cause });
  }
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    throw new MeshError('SLV-2110', 'The public key of the node is not EC P-256.');
  }
  const der = key.export({ format: 'der', type: 'spki' });
  const nodeId = createHash('sha256').update(der).digest('hex').slice(0, 32);
  return { key, pem: key.export({ format: 'pem', type: 'spki' }).toString(), nodeId };
}

/** The nodes of the mesh, in the store. Reads are linearizable: a revocation holds from the moment that it was answered. */
export class Nodes {
  readonly #store: Store;
  readonly #clock: Clock;
  /** The revision that a record was read at: who has the record can change it without reading it again. */
  readonly #readAt = new WeakMap<NodeRecord, number>();
  /** Node ids by serial, the one used longest ago first. */
  readonly #nodeOfSerial = new Map<string, string>();

  constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  async get(id: string): Promise<StoredNode | undefined> {
    // An id from outside is never a key before it looks like one.
    if (!/^[0-9a-f]{32}$/.test(id)) return undefined;
    const kv = await this.#store.get(nodeKey(id));
    if (kv === undefined) return undefined;
    const node = nodes.decode(kv);
    this.#readAt.set(node, kv.modRevision);
    return { node, modRevision: kv.modRevision };
  }

  async list(): Promise<NodeRecord[]> {
    return (await this.#store.range(nodePrefix)).kvs.map(nodes.decode);
  }

  /** The node that an SVID was issued to. */
  async ofSerial(serialHex: string): Promise<StoredNode | undefined> {
    const known = this.#nodeOfSerial.get(serialHex);
    if (known !== undefined) return this.get(known);
    const kv = await this.#store.get(serialKey(serialHex));
    if (kv === undefined) return undefined;
    const { node } = serials.decode(kv);
    this.#nodeOfSerial.set(serialHex, node);
    if (this.#nodeOfSerial.size > maxRememberedSerials) {
      for (const oldest of this.#nodeOfSerial.keys()) {
        this.#nodeOfSerial.delete(oldest);
        break;
      }
    }
    return this.get(node);
  }

  /**
   * The part of a transaction that makes a node, or gives a known one a new grant (its key joined again).
   * @param grant.by absent: a join token
   * @throws MeshError SLV-2121 when the node was revoked, or the one that had its name by the same method
   */
  async joining(
    key: NodeKey,
    grant: { readonly name: string; readonly services: readonly string[]; readonly by?: Vouched },
  ): Promise<{ node: NodeRecord; compare: readonly Compare[]; put: Operation }> {
    const known = await this.get(key.nodeId);
    if (known !== undefined) requireNotRevoked(known.node);
    const bar = grant.by === undefined ? undefined : barKey(grant.by.method, grant.name);
    if (bar !== undefined) await this.#requireNoBar(bar, grant.name);
    const { source: _source, subject: _subject, ...before } = known?.node ?? { svids: {}, live: [] };
    const node: NodeRecord = withGrant(
      {
        ...before,
        id: key.nodeId,
        name: grant.name,
        publicKey: key.pem,
        services: [],
        attestation: grant.by?.method ?? 'join-token',
        ...(grant.by === undefined ? {} : { source: grant.by.source, subject: grant.by.subject }),
        joinedAtMs: this.#clock(),
      },
      grant.services,
    );
    const stored = nodeKey(node.id);
    const compare: Compare =
      known === undefined
        ? { kind: 'absent', key: stored }
        : { kind: 'mod-revision', key: stored, equals: known.modRevision };
    return {
      node,
      compare: [compare, ...(bar === undefined ? [] : [{ kind: 'absent', key: bar } as const])],
      put: { kind: 'put', key: stored, value: nodes.encode(node) },
    };
  }

  async #requireNoBar(bar: string, name: string): Promise<void> {
    const kv = await this.#store.get(bar);
    if (kv === undefined) return;
    const { node, atMs } = bars.decode(kv);
    throw new MeshError(
      'SLV-2121',
      `The node that was ${quote(name)} (${node}) was revoked at ${new Date(atMs).toISOString()}. An operator lets one of that name in again: selvedge identity node readmit ${node}.`,
      { detail: { nodeId: node } },
    );
  }

  /**
   * Gives a node another grant. SVIDs of services that are no longer in it are taken back with the next trust bundle.
   * @throws MeshError SLV-2170 when there is none, SLV-2121 when it was revoked
   */
  changeGrant(id: string, services: readonly string[]): Promise<NodeRecord> {
    return this.#swap(id, (node) => {
      requireNotRevoked(node);
      return { node: withGrant(node, services), besides: [] };
    });
  }

  /**
   * Lets a node of the name of a revoked one in again, with a new key. The revoked key stays what it is.
   * @throws MeshError SLV-2170 when there is none
   */
  async readmit(id: string): Promise<NodeRecord> {
    const stored = await this.get(id);
    if (stored === undefined) throw new MeshError('SLV-2170', 'There is no such node.');
    const { attestation, name } = stored.node;
    await this.#store.delete(barKey(attestation, name));
    return stored.node;
  }

  /**
   * Records an SVID that is about to be handed out, durably. Forgets those that have run out.
   * @param of the node's id; or the node as read when it attested, which is read anew only if it was changed meanwhile
   * @param shown what the node showed or held before; it may renew again, so that a lost answer costs nothing
   * @throws MeshError SLV-2120, SLV-2121, SLV-2122 (it was narrowed, revoked, renewed meanwhile), SLV-2160 (too many at once)
   */
  async recordSvid(
    of: NodeRecord | string,
    svid: { service: string; serial: string; notAfterMs: number; authority?: string | undefined },
    shown: ShownSvid | undefined,
  ): Promise<void> {
    const { serial, notAfterMs, authority } = svid;
    const id = typeof of === 'string' ? of : of.id;
    const change = (node: NodeRecord): Change => {
      requireNotRevoked(node);
      // The grant may have been narrowed while the CA signed.
      if (!grants(node.services, svid.service)) {
        throw new MeshError('SLV-2120', `Node ${node.name} may not be ${quote(svid.service)} any more.`);
      }
      const nowMs = this.#clock();
      const { gone, live } = splitByTime(node, nowMs);
      requireRoom(live, nowMs);
      const dropped = gone.slice(0, maxDropped);
      const previous = stillRenewable(renewable(node, svid.service), shown);
      // What has run out can't renew; forgetting it bounds the record, whatever names a wide grant allows. The newest are at the end.
      const kept = Object.entries(node.svids).filter(([, { current }]) =>
        live.findLast(({ serial }) => serial === current),
      );
      return {
        node: {
          ...node,
          lastIssuedAtMs: nowMs,
          svids: {
            ...Object.fromEntries(kept),
            [svid.service]: { current: svid.serial, ...(previous ? { previous } : {}) },
          },
          live: [
            ...gone.slice(maxDropped),
            ...live,
            {
              serial,
              notAfterMs,
              issuedAtMs: nowMs,
              service: svid.service,
              ...(authority === undefined ? {} : { authority }),
            },
          ],
        },
        besides: [
          { kind: 'put', key: serialKey(svid.serial), value: serials.encode({ node: id }) },
          ...dropped.map(({ serial }): Operation => ({ kind: 'delete', key: serialKey(serial) })),
        ],
      };
    };
    const modRevision = typeof of === 'string' ? undefined : this.#readAt.get(of);
    await this.#swap(
      id,
      change,
      typeof of === 'string' || modRevision === undefined ? undefined : { node: of, modRevision },
    );
  }

  /**
   * Ends a node: nothing is issued to it any more. Its SVIDs are taken back by trust-publication.ts, which reads it from here. What vouched for it would vouch
   * for a new key just so, therefore its name is barred for that method.
   * @throws MeshError SLV-2170 when there is none
   */
  async revoke(id: string): Promise<NodeRecord> {
    return this.#swap(id, (node) => {
      // Once: who was readmitted is not barred again by a second call.
      if (node.revokedAtMs !== undefined) return { node, besides: [] };
      const atMs = this.#clock();
      const bar: Operation = {
        kind: 'put',
        key: barKey(node.attestation, node.name),
        value: bars.encode({ node: id, atMs }),
      };
      return {
        node: { ...node, revokedAtMs: atMs },
        besides: node.attestation === 'join-token' ? [] : [bar],
      };
    });
  }

  /**
   * Compare-and-swap of one record: `change` sees the newest and may be asked again.
   * @param inHand the record as last read; that it is still the newest is what the first try compares
   */
  async #swap(id: string, change: (node: NodeRecord) => Change, inHand?: StoredNode): Promise<NodeRecord> {
    for (let tries = 0; tries < maxSwaps; tries++) {
      const stored = tries === 0 && inHand !== undefined ? inHand : await this.get(id);
      if (stored === undefined) throw new MeshError('SLV-2170', 'There is no such node.');
      const changed = change(stored.node);
      const key = nodeKey(id);
      const { succeeded } = await this.#store.txn({
        compare: [{ kind: 'mod-revision', key, equals: stored.modRevision }],
        success: [{ kind: 'put', key, value: nodes.encode(changed.node) }, ...changed.besides],
      });
      if (succeeded) return changed.node;
    }
    throw new MeshError('SLV-3505', `The record of node ${id} is being changed by many at once.`);
  }
}

/** What a record becomes, and what is written along with it. */
interface Change {
  readonly node: NodeRecord;
  readonly besides: readonly Operation[];
}

/** @throws MeshError SLV-2121 */
export function requireNotRevoked(node: NodeRecord): void {
  if (node.revokedAtMs === undefined) return;
  const when = new Date(node.revokedAtMs).toISOString();
  throw new MeshError('SLV-2121', `Node ${node.name} (${node.id}) was revoked at ${when}.`, {
    detail: { nodeId: node.id },
  });
}

/** The serials by which a node may renew the SVID of a service. */
export function renewable(node: NodeRecord, service: string): NodeRecord['svids'][string] | undefined {
  return Object.hasOwn(node.svids, service) ? node.svids[service] : undefined;
}

/** Serials of a node's SVIDs that are valid by their dates, but taken back: all when it was revoked. */
export function takenBack(node: NodeRecord, nowMs: number): readonly string[] {
  const { live } = splitByTime(node, nowMs);
  return live
    .filter(({ withdrawn }) => withdrawn === true || node.revokedAtMs !== undefined)
    .map(({ serial }) => serial);
}

/** Whether a node that joined again, with less of a grant, has SVIDs to be taken back: then the trust bundle has to be looked at anew. */
export function hasWithdrawn(node: NodeRecord): boolean {
  return node.live.some(({ withdrawn }) => withdrawn === true);
}

/** The node with another grant: what that does not hold is taken back, and does not renew any more. */
function withGrant(node: NodeRecord, services: readonly string[]): NodeRecord {
  const lost = Object.entries(node.svids).filter(([service]) => !grants(services, service));
  const lostSerials = new Set(lost.flatMap(([, { current, previous }]) => [current, previous]));
  const lostNames = new Set(lost.map(([service]) => service));
  return {
    ...node,
    services: [...services],
    svids: Object.fromEntries(Object.entries(node.svids).filter(([service]) => !lostNames.has(service))),
    live: node.live.map((svid) => {
      const gone = svid.service === undefined ? lostSerials.has(svid.serial) : !grants(services, svid.service);
      return gone ? { ...svid, withdrawn: true } : svid;
    }),
  };
}

type Live = NodeRecord['live'];

/** A verifier lets 60 s of skew pass; two minutes after its end an SVID is gone for everybody. */
function splitByTime(node: NodeRecord, nowMs: number): { gone: Live; live: Live } {
  const isGone = ({ notAfterMs }: Live[number]): boolean => notAfterMs + 120_000 < nowMs;
  return { gone: node.live.filter(isGone), live: node.live.filter((svid) => !isGone(svid)) };
}

/** What can't be revoked must not be issued, so the list is bounded by refusing, not by forgetting. */
function requireRoom(live: Live, nowMs: number): void {
  if (live.length < maxLiveSvids) return;
  const firstEndMs = Math.min(...live.map(({ notAfterMs }) => notAfterMs)) + 120_000;
  const retryAfterSeconds = Math.max(Math.ceil((firstEndMs - nowMs) / 1_000), 1);
  throw new MeshError('SLV-2160', `The node has ${live.length} valid SVIDs, which is the limit.`, {
    detail: { retryAfterSeconds },
  });
}
