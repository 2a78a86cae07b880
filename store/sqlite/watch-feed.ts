import type { MeshError } from '#policies/errors/mesh-error.ts';
import type { WatchBatch, WatchEvent } from '../contract.ts';
import type { HistoryPage } from './protocol.ts';

/** What of the recent past is kept in memory for the watchers: at most so many revisions, and bytes of values (the newest always stays). */
const recentRevisions = 1024;
const recentBytes = 16 * 1024 * 1024;

/** Reads revisions of the past (both inclusive). Rejects with SLV-3502 when they are compacted. */
export type ReadHistory = (prefix: string, fromRevision: number, toRevision: number) => Promise<HistoryPage>;

/**
 * Fans committed revisions out to watchers. A watcher is nothing but the next revision that it wants, and takes it from the recent past in
 * memory, or from the history on disk when it lags further behind. So it neither skips nor repeats a revision, whatever its speed, and a
 * slow one costs no memory.
 */
export class WatchFeed {
  /** Consecutive revisions, the last of which is #revision. */
  #recent: WatchBatch[] = [];
  #recentBytes = 0;
  #revision: number;
  #end: MeshError | undefined;
  #watchers = 0;
  readonly #wakers = new Set<() => void>();
  readonly #readHistory: ReadHistory;

  /** @param revision the store's, at start */
  constructor(revision: number, readHistory: ReadHistory) {
    this.#revision = revision;
    this.#readHistory = readHistory;
  }

  /** Whether anybody watches. */
  get isWatched(): boolean {
    return this.#watchers > 0;
  }

  /**
   * Takes new revisions: in order, without a hole. Or only how far they go, where nobody watched: who does by now reads them from the history.
   * @param revision the newest
   */
  publish(commits: readonly WatchBatch[], revision: number): void {
    if (revision === this.#revision) return;
    if (commits.length === 0) {
      this.#drop(this.#recent.length);
      this.#revision = revision;
      this.#wake();
      return;
    }
    for (const commit of commits) {
      this.#recent.push(commit);
      this.#recentBytes += batchBytes(commit);
      this.#revision = commit.revision;
    }
    let drop = 0;
    let bytes = this.#recentBytes;
    while (drop < this.#recent.length - 1 && (this.#recent.length - drop > recentRevisions || bytes > recentBytes)) {
      bytes -= batchBytes(this.#recent[drop]);
      drop += 1;
    }
    this.#drop(drop);
    this.#wake();
  }

  /** The history before `revision` was compacted: a watcher that still wants it is told so by the history. */
  forgetBefore(revision: number): void {
    const keep = this.#recent.findIndex((batch) => batch.revision >= revision);
    this.#drop(keep === -1 ? this.#recent.length : keep);
  }

  /** No more will come: every watcher is thrown this, after what it still has to read. */
  end(error: MeshError): void {
    this.#end = error;
    this.#wake();
  }

  /** See Store.watch. */
  async *watch(prefix: string, fromRevision: number, signal: AbortSignal): AsyncGenerator<WatchBatch, void, undefined> {
    this.#watchers += 1;
    try {
      let next = fromRevision;
      while (!signal.aborted) {
        if (next > this.#revision) {
          if (this.#end !== undefined) throw this.#end;
          await this.#change(signal);
          continue;
        }
        const { batches, nextRevision } =
          this.#fromRecent(prefix, next) ?? (await this.#readHistory(prefix, next, this.#revision));
        next = nextRevision;
        for (const batch of batches) {
          if (signal.aborted) return;
          yield batch;
        }
      }
    } finally {
      this.#watchers -= 1;
    }
  }

  #fromRecent(prefix: string, from: number): HistoryPage | undefined {
    const oldest = this.#recent[0];
    if (oldest === undefined || from < oldest.revision) return undefined;
    const batches: WatchBatch[] = [];
    for (const { revision, events } of this.#recent.slice(from - oldest.revision)) {
      const touching = events.filter((event) => eventKey(event).startsWith(prefix));
      if (touching.length > 0) batches.push({ revision, events: touching });
    }
    return { batches, nextRevision: this.#revision + 1 };
  }

  #drop(count: number): void {
    for (const batch of this.#recent.splice(0, count)) this.#recentBytes -= batchBytes(batch);
  }

  /** Resolves at the next publish, end or abort. */
  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#wakers.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#wakers.add(wake);
      signal.addEventListener('abort', wake);
    });
  }

  #wake(): void {
    for (const wake of [...this.#wakers]) wake();
  }
}

function eventKey(event: WatchEvent): string {
  return event.kind === 'put' ? event.kv.key : event.key;
}

function batchBytes(batch: WatchBatch | undefined): number {
  return (batch?.events ?? []).reduce((sum, event) => sum + (event.kind === 'put' ? event.kv.value.byteLength : 0), 0);
}
