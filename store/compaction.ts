import type { Clock } from '#runtime/clock.ts';
import type { Logger } from '#runtime/logging.ts';
import type { Store } from './contract.ts';

/** How much history stays: whoever was away for less than this goes on where it was, without reading everything afresh. */
const keepMs = 3_600_000;
const everyMs = 300_000;

/**
 * Forgets history older than an hour, every five minutes (etcd's periodic auto-compaction), so that a store grows with what it holds and not with how often
 * that was written. A failure is logged and made up for the next time.
 *
 * @returns stops it
 */
export function keepCompact(store: Store, options: { clock: Clock; log: Logger }): () => void {
  const { clock, log } = options;
  /** Revisions by the time at which they were the newest, oldest first. */
  const marks: { readonly atMs: number; readonly revision: number }[] = [];
  let running = false;
  const look = async (): Promise<void> => {
    const nowMs = clock();
    const { revision, compactRevision } = await store.status();
    marks.push({ atMs: nowMs, revision });
    let old: number | undefined;
    while (marks[0] !== undefined && (marks[0].atMs <= nowMs - keepMs || marks[0].atMs > nowMs))
      old = marks.shift()?.revision;
    if (old === undefined || old <= compactRevision) return;
    await store.compact(old);
    log.debug({ revision: old }, 'store compacted');
  };
  const timer = setInterval(() => {
    if (running) return;
    running = true;
    look()
      .catch((err: unknown) => log.warn({ err }, 'store not compacted; tried again in five minutes'))
      .finally(() => {
        running = false;
      });
  }, everyMs);
  timer.unref();
  return () => clearInterval(timer);
}
