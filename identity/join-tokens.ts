import { createHash } from 'node:crypto';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';
import type { CreateJoinToken } from '#policies/wire/identity-api.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { Store } from '#store/contract.ts';
import { requireGrantable } from './grant.ts';
import type { NodeKey, NodeRecord, Nodes } from './nodes.ts';
import { storedRecord } from './stored-record.ts';

/** How long a token that was redeemed or has run out is still listed. */
const keptMs = 7 * 86_400_000;
const maxRaces = 8;

const tokenSchema = z.object({
  id: z.string(),
  /** Hex SHA-256 of the whole token: the token itself is nowhere. */
  hash: z.string(),
  services: z.array(z.string()),
  node: z.string().optional(),
  description: z.string().optional(),
  createdAtMs: z.number(),
  expiresAtMs: z.number(),
  redeemed: z.object({ nodeId: z.string(), node: z.string(), atMs: z.number() }).optional(),
});

/** A token as stored: `identity/join-tokens/<id>`. */
export type JoinTokenRecord = z.infer<typeof tokenSchema>;

const tokens = storedRecord(tokenSchema);
const prefix = 'identity/join-tokens/';

/**
 * One-time join tokens: `slj_<id>_<secret>`, 64 and 256 random bits. The id finds the record, the hash of the whole proves the secret. A token is
 * redeemed by one compare-and-swap that also makes the node, so of any number of callers at once exactly one gets it, also over a restart.
 */
export class JoinTokens {
  readonly #store: Store;
  readonly #nodes: Nodes;
  readonly #context: Pick<ProcessContext, 'clock' | 'randomBytes'>;

  constructor(store: Store, nodes: Nodes, context: Pick<ProcessContext, 'clock' | 'randomBytes'>) {
    this.#store = store;
    this.#nodes = nodes;
    this.#context = context;
  }

  /**
   * Makes a token. It is in the answer and never again.
   * @throws MeshError SLV-2120 for a grant that can't be given
   */
  async create(asked: CreateJoinToken): Promise<{ token: string; record: JoinTokenRecord }> {
    requireGrantable(asked.services);
    await this.#dropOld();
    const nowMs = this.#context.clock();
    const id = Buffer.from(this.#context.randomBytes(8)).toString('hex');
    const token = `slj_${id}_${Buffer.from(this.#context.randomBytes(32)).toString('base64url')}`;
    const record: JoinTokenRecord = {
      id,
      hash: hashOf(token),
      services: asked.services,
      ...(asked.node === undefined ? {} : { node: asked.node }),
      ...(asked.description === undefined ? {} : { description: asked.description }),
      createdAtMs: nowMs,
      expiresAtMs: nowMs + asked.ttlSeconds * 1_000,
    };
    await this.#store.put(prefix + id, tokens.encode(record));
    return { token, record };
  }

  async list(): Promise<JoinTokenRecord[]> {
    return (await this.#store.range(prefix)).kvs.map(tokens.decode);
  }

  /** Withdraws a token. Nodes that redeemed it stay. @throws MeshError SLV-2170 when there is none */
  async withdraw(id: string): Promise<void> {
    const known = /^[0-9a-f]{16}$/.test(id) && (await this.#store.delete(prefix + id));
    if (!known) throw new MeshError('SLV-2170', 'There is no such join token.');
  }

  /**
   * Redeems a token for a node's key, whose possession the caller has proven.
   * @throws MeshError SLV-2101 unknown, 2102 already redeemed, 2103 redeemed by this very key (`nodeId` in its detail), 2104 expired, 2105 of another
   *   node, 2121 when the key is of a revoked node
   */
  async redeem(token: string, node: string, key: NodeKey): Promise<{ node: NodeRecord; tokenId: string }> {
    for (let race = 0; race < maxRaces; race++) {
      const { record, modRevision } = await this.#find(token);
      this.#requireRedeemable(record, node, key.nodeId);
      const joining = await this.#nodes.joining(key, { name: node, services: record.services });
      const redeemed = { nodeId: key.nodeId, node, atMs: this.#context.clock() };
      const { succeeded } = await this.#store.txn({
        compare: [{ kind: 'mod-revision', key: prefix + record.id, equals: modRevision }, ...joining.compare],
        success: [{ kind: 'put', key: prefix + record.id, value: tokens.encode({ ...record, redeemed }) }, joining.put],
      });
      if (succeeded) return { node: joining.node, tokenId: record.id };
      // Somebody was quicker: look again, and say what is so now.
    }
    throw new MeshError('SLV-3505', 'The node is being changed by many at once.');
  }

  async #find(token: string): Promise<{ record: JoinTokenRecord; modRevision: number }> {
    const id = /^slj_([0-9a-f]{16})_[A-Za-z0-9_-]{43}$/.exec(token)?.[1];
    const kv = id === undefined ? undefined : await this.#store.get(prefix + id);
    const record = kv === undefined ? undefined : tokens.decode(kv);
    // Two hashes are compared: how long that takes tells nothing of the secret.
    if (kv === undefined || record?.hash !== hashOf(token)) {
      throw new MeshError('SLV-2101', 'The join token is not one of this mesh.');
    }
    return { record, modRevision: kv.modRevision };
  }

  #requireRedeemable(record: JoinTokenRecord, node: string, nodeId: string): void {
    const { id, redeemed } = record;
    if (redeemed?.nodeId === nodeId) {
      throw new MeshError('SLV-2103', `This node's key has redeemed the join token ${id} already: it has joined.`, {
        detail: { nodeId },
      });
    }
    if (redeemed !== undefined) {
      throw new MeshError(
        'SLV-2102',
        `The join token ${id} was redeemed at ${iso(redeemed.atMs)} by node ${quote(redeemed.node)}.`,
      );
    }
    if (this.#context.clock() >= record.expiresAtMs) {
      throw new MeshError('SLV-2104', `The join token ${id} expired at ${iso(record.expiresAtMs)}.`);
    }
    if (record.node !== undefined && record.node !== node) {
      throw new MeshError(
        'SLV-2105',
        `The join token ${id} is for node ${quote(record.node)}, not for ${quote(node)}.`,
      );
    }
  }

  async #dropOld(): Promise<void> {
    const oldestMs = this.#context.clock() - keptMs;
    for (const record of await this.list()) {
      if (record.expiresAtMs < oldestMs) await this.#store.delete(prefix + record.id);
    }
  }
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

function iso(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
