import { z } from 'zod';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { Store } from '#store/contract.ts';
import { storedRecord } from './stored-record.ts';

/** A gap that is no restart. Shorter ones are not worth remembering. */
const leastOutageMs = 600_000;
/** Outages remembered at most, the newest: a forgotten one only makes somebody join again. */
const maxOutages = 100;

const key = 'identity/presence';
const outageSchema = z.object({ fromMs: z.number(), toMs: z.number() });
const records = storedRecord(z.object({ seenAtMs: z.number(), outages: z.array(outageSchema).max(maxOutages) }));

type Known = ReturnType<typeof records.decode>;

/**
 * When this service itself was not there: off, suspended, or without its store. A node that is away for 30 days has to join again; one that could not come because
 * nobody was there to come to has not been away. One record for all instances on a store.
 */
export class Presence {
  readonly #store: Store;
  readonly #clock: ProcessContext['clock'];
  #known: Known;

  private constructor(store: Store, clock: ProcessContext['clock']) {
    this.#store = store;
    this.#clock = clock;
    this.#known = { seenAtMs: clock(), outages: [] };
  }

  /** Reads what is known and notes that the service is back. @throws MeshError as the store does, SLV-2143 for a record of another kind */
  static async open(store: Store, { clock }: Pick<ProcessContext, 'clock'>): Promise<Presence> {
    const presence = new Presence(store, clock);
    await presence.note();
    return presence;
  }

  /** For how long one that was seen last at `sinceMs` has been away while this service was there, in milliseconds. */
  awayMs(sinceMs: number): number {
    const nowMs = this.#clock();
    const { seenAtMs, outages } = this.#known;
    // The service woke a moment ago, and has not noted it yet.
    const all = nowMs - seenAtMs > leastOutageMs ? [...outages, { fromMs: seenAtMs, toMs: nowMs }] : outages;
    const missedMs = all.reduce((sum, { fromMs, toMs }) => {
      return sum + Math.max(0, Math.min(toMs, nowMs) - Math.max(fromMs, sinceMs));
    }, 0);
    return nowMs - sinceMs - missedMs;
  }

  /** Notes that the service is here now. @throws MeshError as the store does */
  async note(): Promise<void> {
    const kv = await this.#store.get(key);
    const nowMs = this.#clock();
    const known = kv === undefined ? { seenAtMs: nowMs, outages: [] } : records.decode(kv);
    this.#known = noted(known, nowMs);
    // Another instance that was quicker has noted the same.
    await this.#store.txn({
      compare: [kv === undefined ? { kind: 'absent', key } : { kind: 'mod-revision', key, equals: kv.modRevision }],
      success: [{ kind: 'put', key, value: records.encode(this.#known) }],
    });
  }
}

/** What is known after the service was seen at `nowMs`. */
function noted({ seenAtMs, outages }: Known, nowMs: number): Known {
  // What lies ahead of now was seen by a clock that was wrong: it never was.
  const past = outages.filter(({ toMs }) => toMs <= nowMs);
  const all = nowMs - seenAtMs > leastOutageMs ? [...past, { fromMs: seenAtMs, toMs: nowMs }] : past;
  return { seenAtMs: nowMs, outages: all.slice(-maxOutages) };
}
