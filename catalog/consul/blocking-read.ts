import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Random } from '#runtime/clock.ts';
import type { Session } from '../access/token-sessions.ts';
import type { CatalogParts } from '../parts.ts';
import type { Topic } from '../state/topics.ts';
import type { QueryOptions } from './query-options.ts';
import type { CatalogRequest } from './route-table.ts';

/** Readers that may wait at once; each costs a timer and a connection. */
const maxWaiting = 20_000;
/** Parameters of a blocking query that depend on nothing but Consul's contract: the spread of its end, as a share of the wait. */
const jitterShare = 1 / 16;

/** Who waits: until the client is gone, or its token is over (the door, catalog-app.ts, then refuses the answer). */
export interface Reader {
  /** Made when it is asked for: most reads wait for nothing. */
  readonly gone: AbortSignal;
  readonly session: Session | undefined;
}

/** @returns the reader that a request is of */
export function readerOf(c: CatalogRequest): Reader {
  const { caller } = c.var;
  const { raw } = c.req;
  return {
    get gone() {
      return raw.signal;
    },
    session: caller.kind === 'token' ? caller.session : undefined,
  };
}

/**
 * Waits as a blocking query does: until one of the topics has an index above the client's, the wait is over, or the client is gone. With no index
 * it does not wait. A change of anything else wakes nobody.
 *
 * An index that is ahead of this catalog is another catalog's: the answer waits until this one is as far. An index that is ahead of the store is of
 * another life of the mesh; it is answered with a lower one, and clients begin anew (Consul).
 *
 * @returns the index to answer with: at least 1, never below what was answered before, nor below the client's
 * @throws MeshError SLV-3004 when too many wait already; SLV-35nn, SLV-3001 when this catalog can't get as far and the client did not ask for `?stale`
 */
export async function awaitChange(
  parts: CatalogParts,
  topics: readonly Topic[],
  options: QueryOptions,
  reader: Reader,
): Promise<number> {
  const behind = options.index > parts.state.revision && options.consistency !== 'stale';
  if (options.consistency === 'consistent' || behind) await parts.follower.catchUp();
  // A catalog that began later has given a higher index to what has not changed since; nothing has up to this one's revision.
  const answered = (index: number): number =>
    options.index <= parts.state.revision ? Math.max(index, options.index) : index;
  const index = indexOf(parts, topics);
  if (options.index === 0 || index > options.index || reader.gone.aborted || parts.stopping.aborted)
    return answered(index);
  if (parts.state.topics.waiting >= maxWaiting) throw new MeshError('SLV-3004', `${maxWaiting} readers wait already.`);
  const watch = (look: () => void): (() => void) => {
    const stops = topics.map((topic) => parts.state.topics.subscribe(topic, look));
    return () => {
      for (const stop of stops) stop();
    };
  };
  await blockWhile(parts, () => indexOf(parts, topics) <= options.index, watch, options, reader);
  return answered(indexOf(parts, topics));
}

/** @returns the wait and up to a sixteenth of it more: clients give up after that (Prometheus: 120 s of wait, 135 s for the answer) */
export function spread(waitMs: number, random: Random): number {
  return waitMs * (1 + random() * jitterShare);
}

/**
 * Waits until something is not so any more, the wait of the query is over, the client or its token is gone, or the catalog stops.
 * @param watch calls `look` at each change that may matter; returns the end of it
 */
export async function blockWhile(
  parts: CatalogParts,
  unchanged: () => boolean,
  watch: (look: () => void) => () => void,
  options: Pick<QueryOptions, 'waitMs'>,
  { gone, session }: Reader,
): Promise<void> {
  if (!unchanged() || gone.aborted || parts.stopping.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, spread(options.waitMs, parts.context.random));
  const stop = watch(() => {
    if (!unchanged()) resolve();
  });
  const onGone = (): void => resolve();
  gone.addEventListener('abort', onGone);
  parts.stopping.addEventListener('abort', onGone);
  const stopSession = session?.onOver(onGone);
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    stop();
    stopSession?.();
    gone.removeEventListener('abort', onGone);
    parts.stopping.removeEventListener('abort', onGone);
  }
}

function indexOf(parts: CatalogParts, topics: readonly Topic[]): number {
  return Math.max(...topics.map((topic) => parts.state.topics.indexOf(topic)));
}
