import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import type { Logger } from '#runtime/logging.ts';
import { pause } from '#runtime/pause.ts';
import type { WatchBatch } from '../contract.ts';
import { watchPath, watchRequest, watchResponse } from './etcd-api.ts';
import type { EtcdMembers } from './etcd-members.ts';
import type { KeySpace } from './key-space.ts';

/** How often a quiet watch is asked whether it lives, and how long it may be silent. A watch that died in silence is etcd clients' oldest fault. */
const askEveryMs = 2_000;
const silenceMs = 6_000;
const beforeSecondTryMs = 100;

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
 * @throws MeshError SLV-3502 when that revision is compacted, SLV-3505 when a second stream broke without a word, SLV-3509 when etcd refuses us
 */
export async function* watchEtcd(options: EtcdWatchOptions): AsyncGenerator<WatchBatch, void, undefined> {
  const { signal, log } = options;
  let { fromRevision } = options;
  const heard = { since: false };
  while (!signal.aborted) {
    heard.since = false;
    try {
      for await (const batch of watchOnce({ ...options, fromRevision }, heard)) {
        yield batch;
        fromRevision = batch.revision + 1;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!isMeshError(error, 'SLV-3505') || !heard.since) throw error;
      log.warn({ err: error, prefix: options.prefix, fromRevision }, 'watch broken; opening another');
    }
    await pause(beforeSecondTryMs, signal);
  }
}

/** One stream; throws SLV-3505 when it broke. Sets `heard.since` once etcd has said something. */
async function* watchOnce(
  options: EtcdWatchOptions,
  heard: { since: boolean },
): AsyncGenerator<WatchBatch, void, undefined> {
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
      heard.since = true;
      if (response.canceled) throw canceled(response, keys);
      for (const batch of keys.batches(response.events)) {
        if (signal.aborted) return;
        yield batch;
      }
    }
    throw new MeshError('SLV-3505', 'etcd ended a watch without a word.');
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
    return new MeshError('SLV-3502', `The history before revision ${keys.revision(compactRevision) + 1} is compacted.`);
  return new MeshError('SLV-3505', `etcd ended the watch: ${cancelReason || 'it gave no reason'}.`);
}
