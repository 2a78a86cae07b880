import { createHash } from 'node:crypto';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Compare, Operation, Store } from '#store/contract.ts';
import { storedRecord } from '../stored-record.ts';

const shownSchema = z.object({ node: z.string(), untilMs: z.number() });
const shown = storedRecord(shownSchema);
const prefix = 'identity/shown-tokens/';
const sweepEveryMs = 300_000;

/**
 * Which node key each token attested: a token is bound to the first, so one that was overheard or copied lets nobody else in. By hash, durably, until the
 * token has run out.
 */
export class ShownTokens {
  readonly #store: Store;
  readonly #clock: Clock;
  #sweptAtMs = Number.NEGATIVE_INFINITY;

  constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /**
   * @param secret what makes the token what it is
   * @returns the part of the transaction that makes the node, and whether this very key had shown it before
   * @throws MeshError SLV-2109 when another key has
   */
  async binding(secret: string, nodeId: string): Promise<TokenBinding> {
    const key = prefix + createHash('sha256').update(secret).digest('hex');
    const kv = await this.#store.get(key);
    const before = kv === undefined ? undefined : shown.decode(kv);
    const isOver = before !== undefined && before.untilMs < this.#clock();
    if (before !== undefined && !isOver && before.node !== nodeId) {
      throw new MeshError('SLV-2109', `The token has attested another node key before (node ${before.node}).`);
    }
    return {
      known: before !== undefined && !isOver,
      compare: kv === undefined ? { kind: 'absent', key } : { kind: 'mod-revision', key, equals: kv.modRevision },
      put: (untilMs) => ({ kind: 'put', key, value: shown.encode({ node: nodeId, untilMs }) }),
    };
  }

  /** Forgets what has run out; now and then, so that it costs little. */
  async sweep(): Promise<void> {
    const nowMs = this.#clock();
    if (Math.abs(nowMs - this.#sweptAtMs) < sweepEveryMs) return;
    this.#sweptAtMs = nowMs;
    for (const kv of (await this.#store.range(prefix)).kvs) {
      if (shown.decode(kv).untilMs < nowMs) await this.#store.delete(kv.key);
    }
  }
}

/** What binds a token to a node key. */
export interface TokenBinding {
  readonly known: boolean;
  readonly compare: Compare;
  put(untilMs: number): Operation;
}
