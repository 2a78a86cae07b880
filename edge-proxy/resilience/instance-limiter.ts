import type { InstanceLimit } from '#policies/routing/instance-limits.ts';
import type { Clock } from '#runtime/clock.ts';
import { RequestLimiter } from './request-limiter.ts';

/** Whoever calls: they share a bucket. */
const everybody = '';

/** A token bucket for each limit of this instance, shared by all of its callers. */
export class InstanceLimiter {
  readonly #clock: Clock;
  #limits: readonly { readonly limit: InstanceLimit; readonly bucket: RequestLimiter }[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** New limits. Of one that stays as it is, what was used up stays used up. */
  update(limits: readonly InstanceLimit[]): void {
    const before = new Map(this.#limits.map(({ limit, bucket }) => [limit.key, bucket]));
    this.#limits = limits.map((limit) => {
      const bucket = before.get(limit.key) ?? new RequestLimiter(this.#clock);
      bucket.update(limit.policy);
      return { limit, bucket };
    });
  }

  /** @param path canonical. @returns 0: the request may pass; else in how many ms one may again */
  take(path: string): number {
    for (const { limit, bucket } of this.#limits) if (limit.isFor(path)) return bucket.take(everybody);
    return 0;
  }
}
