import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Logger } from '#runtime/logging.ts';
import type { Lease } from '../contract.ts';

/** How often leases are looked at, in real milliseconds: the most by which an expiry is late. */
const sweepMs = 100;

type Deadline =
  | { readonly kind: 'held'; readonly ttlMs: number; readonly deadlineMs: number }
  /** Over, and still to be ended in the store. */
  | { readonly kind: 'expired' }
  /** Being ended in the store. */
  | { readonly kind: 'ending' };

/**
 * When each lease expires, by a clock that nobody sets. Deadlines live in memory only, as etcd's do: a keep-alive costs no write, and a store that
 * was started again gives every lease its whole time to live afresh.
 */
export class LeaseDeadlines {
  readonly #leases = new Map<string, Deadline>();
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #revoke: (id: string) => Promise<unknown>;
  #timer: NodeJS.Timeout | undefined;

  /** @param revoke ends the lease in the store, with its keys */
  constructor(clock: Clock, log: Logger, revoke: (id: string) => Promise<unknown>) {
    this.#clock = clock;
    this.#log = log;
    this.#revoke = revoke;
  }

  /** Begins the lease's time to live. */
  start(lease: Lease): void {
    this.#leases.set(lease.id, { kind: 'held', ttlMs: lease.ttlMs, deadlineMs: this.#clock() + lease.ttlMs });
    this.#timer ??= setInterval(() => this.#sweep(), sweepMs).unref();
  }

  /** Begins it again. Throws SLV-3503 when it is over. */
  renew(id: string): void {
    const lease = this.#leases.get(id);
    if (lease?.kind !== 'held' || lease.deadlineMs <= this.#clock()) {
      throw new MeshError('SLV-3503', `The lease ${id.slice(0, 64)} has expired.`);
    }
    this.start({ id, ttlMs: lease.ttlMs });
  }

  /** The lease was ended by its owner. */
  forget(id: string): void {
    this.#leases.delete(id);
    if (this.#leases.size === 0) this.stop();
  }

  /** No expiry comes any more. */
  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #sweep(): void {
    const now = this.#clock();
    for (const [id, lease] of this.#leases) {
      if (lease.kind === 'ending' || (lease.kind === 'held' && lease.deadlineMs > now)) continue;
      this.#leases.set(id, { kind: 'ending' });
      this.#revoke(id).then(
        () => this.forget(id),
        (error: unknown) => {
          // A full disk, or a store that is closing: the lease is over for its owner, and its keys go at a later sweep.
          this.#log.warn({ err: error, lease: id }, 'an expired lease could not be ended yet');
          this.#leases.set(id, { kind: 'expired' });
        },
      );
    }
  }
}
