import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Compare, Operation, Store } from '#store/contract.ts';
import { storedRecord } from './stored-record.ts';

/** A node comes back by its key alone for this long after its last SVID; then it has to join again (blueprint section 6). */
export const nodeAbsenceMs = 30 * 86_400_000;
/** SVIDs of one node that are valid at once. A proxy of a hundred services has some four hundred. */
export const maxLiveSvids = 2_000;

/** Of what has run out, so much is forgotten with each new SVID: a transaction of the store has a limit (128). */
const maxDropped = 100;

/** Tries at a compare-and-swap of one node's record: a node asks for few SVIDs at once. */
const maxSwaps = 32;

const nodeSchema = z.object({
  id: z.string(),
  name: z.string(),
  /** SPKI PEM, EC P-256. */
  publicKey: z.string(),
  /** What it may be: grant.ts. */
  services: z.array(z.string()),
  attestation: z.enum(['join-token']),
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
    }),
  ),
});

/** A node as stored: `identity/nodes/<id>`. */
export type NodeRecord = z.infer<typeof nodeSchema>;

const nodes = storedRecord(nodeSchema);
const serials = storedRecord(z.object({ node: z.string() }));
const nodePrefix = 'identity/nodes/';
const nodeKey = (id: string): string => `${nodePrefix}${id}`;
const serialKey = (serial: string): string => `identity/serials/${serial}`;

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

  constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  async get(id: string): Promise<StoredNode | undefined> {
    // An id from outside is never a key before it looks like one.
    if (!/^[0-9a-f]{32}$/.test(id)) return undefined;
    const kv = await this.#store.get(nodeKey(id));
    return kv === undefined ? undefined : { node: nodes.decode(kv), modRevision: kv.modRevision };
  }

  async list(): Promise<NodeRecord[]> {
    return (await this.#store.range(nodePrefix)).kvs.map(nodes.decode);
  }

  /** The node that an SVID was issued to. */
  async ofSerial(serialHex: string): Promise<StoredNode | undefined> {
    const kv = await this.#store.get(serialKey(serialHex));
    return kv === undefined ? undefined : this.get(serials.decode(kv).node);
  }

  /**
   * The part of a transaction that makes a node, or gives a known one a new grant (its key joined again with another token).
   * @throws MeshError SLV-2121 when the node was revoked
   */
  async joining(
    key: NodeKey,
    grant: { name: string; services: readonly string[] },
  ): Promise<{ node: NodeRecord; compare: Compare; put: Operation }> {
    const known = await this.get(key.nodeId);
    if (known !== undefined) requireNotRevoked(known.node);
    const node: NodeRecord = {
      svids: {},
      live: [],
      ...known?.node,
      id: key.nodeId,
      name: grant.name,
      publicKey: key.pem,
      services: [...grant.services],
      attestation: 'join-token',
      joinedAtMs: this.#clock(),
    };
    const stored = nodeKey(node.id);
    const compare: Compare =
      known === undefined
        ? { kind: 'absent', key: stored }
        : { kind: 'mod-revision', key: stored, equals: known.modRevision };
    return { node, compare, put: { kind: 'put', key: stored, value: nodes.encode(node) } };
  }

  /**
   * Records an SVID that is about to be handed out, durably. Forgets those that have run out.
   * @param shown the serial that the node showed or held before; it may renew again, so that a lost answer costs nothing
   * @throws MeshError SLV-2121 (revoked meanwhile), SLV-2160 (too many at once)
   */
  async recordSvid(
    id: string,
    svid: { service: string; serial: string; notAfterMs: number; authority?: string | undefined },
    shown: string | undefined,
  ): Promise<void> {
    const { serial, notAfterMs, authority } = svid;
    await this.#swap(id, (node) => {
      requireNotRevoked(node);
      const nowMs = this.#clock();
      const { gone, live } = splitByTime(node, nowMs);
      requireRoom(live, nowMs);
      const dropped = gone.slice(0, maxDropped);
      const previous = shown ?? renewable(node, svid.service)?.current;
      // What has run out can't renew; forgetting it bounds the record, whatever names a wide grant allows.
      const alive = new Set(live.map(({ serial }) => serial));
      const kept = Object.entries(node.svids).filter(([, { current }]) => alive.has(current));
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
            { serial, notAfterMs, issuedAtMs: nowMs, ...(authority === undefined ? {} : { authority }) },
          ],
        },
        besides: [
          { kind: 'put', key: serialKey(svid.serial), value: serials.encode({ node: id }) },
          ...dropped.map(({ serial }): Operation => ({ kind: 'delete', key: serialKey(serial) })),
        ],
      };
    });
  }

  /**
   * Ends a node: nothing is issued to it any more. Its SVIDs are taken back by trust-publication.ts, which reads it from here.
   * @throws MeshError SLV-2170 when there is none
   */
  async revoke(id: string): Promise<NodeRecord> {
    return this.#swap(id, (node) => ({
      node: { ...node, revokedAtMs: node.revokedAtMs ?? this.#clock() },
      besides: [],
    }));
  }

  /** Compare-and-swap of one record: `change` sees the newest and may be asked again. */
  async #swap(
    id: string,
    change: (node: NodeRecord) => { node: NodeRecord; besides: readonly Operation[] },
  ): Promise<NodeRecord> {
    for (let tries = 0; tries < maxSwaps; tries++) {
      const stored = await this.get(id);
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

/** Serials of a node's SVIDs that are still valid. */
export function liveSerials(node: NodeRecord, nowMs: number): readonly string[] {
  return splitByTime(node, nowMs).live.map(({ serial }) => serial);
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
