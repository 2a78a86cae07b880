import { pause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { Store } from '#store/contract.ts';
import type { Place } from './place.ts';
import { processesPrefix, type SeenProcess, seenProcess } from './process-record.ts';

/** How often it looks. A process that was killed is there until its lease has ended, so looking more often shows nothing sooner. */
const lookEveryMs = 1_000;
/** What is older says nothing of now. */
const staleMs = 15_000;

/** Who shares the store, as of a moment. */
export interface RollCall {
  readonly atMs: number;
  /** Who serves first, then who waits, each by name. */
  readonly processes: readonly (SeenProcess & { readonly isSelf: boolean })[];
}

/** The processes that share the store with this one: who serves, as what, and who waits. Read from the store again and again; a store that is away leaves the last one. */
export class ProcessRoll {
  readonly #store: Store;
  readonly #place: Pick<Place, 'key'>;
  readonly #context: Pick<ProcessContext, 'clock' | 'log'>;
  #last: RollCall | undefined;

  constructor(store: Store, place: Pick<Place, 'key'>, context: Pick<ProcessContext, 'clock' | 'log'>) {
    this.#store = store;
    this.#place = place;
    this.#context = context;
  }

  /** The last that was read; undefined: none yet. */
  get last(): RollCall | undefined {
    return this.#last;
  }

  /** The last one, unless it says nothing of now. */
  get current(): RollCall | undefined {
    const last = this.#last;
    return last !== undefined && this.#context.clock() - last.atMs <= staleMs ? last : undefined;
  }

  /** Since when the store can't be asked, ms since the epoch; then nothing is issued, for what is handed out is recorded first. Undefined: it can. */
  get lostSinceMs(): number | undefined {
    return this.current === undefined ? this.#last?.atMs : undefined;
  }

  /** Reads it now. @throws MeshError SLV-3505 when the store can't be asked, SLV-2143 for a record that is none */
  async look(): Promise<void> {
    const { kvs } = await this.#store.range(processesPrefix);
    const processes = kvs.map((kv) => ({ ...seenProcess(kv), isSelf: kv.key === this.#place.key }));
    processes.sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
    const before = this.#last;
    this.#last = { atMs: this.#context.clock(), processes };
    if (before !== undefined) this.#tell(before.processes, processes);
  }

  /** Reads it until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    for (let isLost = false; !signal.aborted; ) {
      try {
        await this.look();
        isLost = false;
      } catch (err) {
        if (!isLost) this.#context.log.warn({ err }, 'which processes share the store is not known; looking again');
        isLost = true;
      }
      await pause(lookEveryMs, signal);
    }
  }

  #tell(before: readonly SeenProcess[], now: readonly SeenProcess[]): void {
    const { log } = this.#context;
    for (const { key, name, role } of now)
      if (!before.some((each) => each.key === key)) log.info({ name, role }, 'another identity process is there');
    for (const { key, name, role } of before)
      if (!now.some((each) => each.key === key)) log.warn({ name, role }, 'an identity process is gone');
  }
}

function rank({ role }: SeenProcess): number {
  return role === 'standby' ? 1 : 0;
}
