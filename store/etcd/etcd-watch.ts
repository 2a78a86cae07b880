import type { MeshError } from '#policies/errors/mesh-error.ts';
import { isMeshError, MeshError as StoreError } from '#policies/errors/mesh-error.ts';
import type { Logger } from '#runtime/logging.ts';
import { pause } from '#runtime/pause.ts';
import type { WatchBatch } from '../contract.ts';
import { watchPath, watchRequest, watchResponse } from './etcd-api.ts';
import type { EtcdMembers } from './etcd-members.ts';
import type { KeySpace } from './key-space.ts';

/** How often a quiet watch is asked whether it lives, and how long it may be silent. A watch that died in silence is etcd clients' oldest fault. */
const askEveryMs = 5_000;
const silenceMs = 15_000;
const firstRetryMs = 100;
const longestRetryMs = 2_000;

/** One watch, over as many streams as it takes. */
export interface EtcdWatchOptions {
  readonly members: EtcdMembers;
  readonly keys: KeySpace;
  readonly prefix: string;
  readonly fromRevision: number;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/**
 * Yields every revision that touches the prefix, once and in order, until the signal aborts. A stream that breaks, or falls silent, is replaced by one that
 * begins behind the last revision that was yielded; on another member, which may be behind, and then waits.
 *
 * @throws MeshError SLV-3502 when that revision is compacted, SLV-3509 when etcd refuses us
 */
export async function* watchEtcd(options: EtcdWatchOptions): AsyncGenerator<WatchBatch, void, undefined> {
  const { signal, log } = options;
  let { fromRevision } = options;
  let retryMs = firstRetryMs;
  while (!signal.aborted) {
    try {
      for await (const batch of watchOnce({ ...options, fromRevision })) {
        retryMs = firstRetryMs;
        yield batch;
        fromRevision = batch.revision + 1;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!isMeshError(error, 'SLV-3505')) throw error;
      log.warn({ err: error, prefix: options.prefix, fromRevision }, 'watch broken; opening another');
    }
    await pause(retryMs, signal);
    retryMs = Math.min(retryMs * 2, longestRetryMs);
  }
}

/** One stream. Ends, or throws SLV-3505, when it broke. */
async function* watchOnce(options: EtcdWatchOptions): AsyncGenerator<WatchBatch, void, undefined> {
  const { members, keys, prefix, fromRevision, signal } = options;
  const { call, fail } = await members.stream(watchPath, watchRequest, watchResponse);
  let heardAtMs = performance.now();
  const cancel = (): void => call.cancel();
  const watchdog = setInterval(() => {
    if (performance.now() - heardAtMs > silenceMs) cancel();
    else call.write({ progress: {} });
  }, askEveryMs);
  watchdog.unref();
  signal.addEventListener('abort', cancel);
  try {
    if (signal.aborted) return;
    call.write({ create: { ...keys.prefix(prefix), startRevision: keys.etcdRevision(fromRevision) } });
    for await (const response of call as AsyncIterable<MessageOfWatch>) {
      heardAtMs = performance.now();
      if (response.canceled) throw canceled(response, keys);
      for (const batch of keys.batches(response.events)) {
        if (signal.aborted) return;
        yield batch;
      }
    }
  } catch (error) {
    throw isMeshError(error) ? error : fail(error).error;
  } finally {
    clearInterval(watchdog);
    signal.removeEventListener('abort', cancel);
    // What the stream still says of its end is of no interest.
    call.on('error', () => undefined);
    call.cancel();
  }
}

type MessageOfWatch = ReturnType<typeof watchResponse.decode>;

function canceled({ compactRevision, cancelReason }: MessageOfWatch, keys: KeySpace): MeshError {
  if (compactRevision > 0n)
    return new StoreError(
      'SLV-3502',
      `The history before revision ${keys.revision(compactRevision) + 1} is compacted.`,
    );
  return new StoreError('SLV-3505', `etcd ended the watch: ${cancelReason || 'it gave no reason'}.`);
}
