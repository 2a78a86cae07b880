import { type DnsFactKind, type DnsFacts, maxDnsFacts } from '#policies/wire/dns-facts.ts';
import { pause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { type FactOf, readFact } from './fact-values.ts';

/** A question waits this long for the catalog; a resolver asks again after five seconds. */
const fetchMs = 2_000;
/** One query that waits for changes; so long it may take to see that a network swallows all. */
const followMs = 20_000;
const graceMs = 5_000;
const [firstRetryMs, longestRetryMs] = [250, 5_000];
/** What is new joins those that are followed at most so often. */
const joinMs = 500;
/** Questions of which the catalog is not asked at once while so many of others are on their way. */
const maxFetching = 256;
/** What nobody asked for this long is followed no more. */
const idleMs = 600_000;

/** Asks the catalog. Rejects when it can't be asked. */
export type AskFacts = (
  question: { known: Readonly<Record<string, string>>; waitMs: number },
  timeoutMs: number,
  signal: AbortSignal,
) => Promise<DnsFacts>;

interface Followed {
  tag: string;
  value: FactOf[DnsFactKind];
  usedAtMs: number;
}

/**
 * A bounded copy of what the catalog knows, of as much as this host asked for: fetched at the first question, then followed by one query for all of it, so that
 * an answer is at hand and as fresh as a blocking query makes it. While the catalog is away it stays as it was.
 */
export class FollowedFacts {
  /** In the order of their last use. */
  readonly #followed = new Map<string, Followed>();
  readonly #fetching = new Map<string, PromiseWithResolvers<void>>();
  readonly #ask: AskFacts;
  readonly #context: ProcessContext;
  readonly #stop = new AbortController();
  readonly #following: Promise<void>;
  #restart = Promise.withResolvers<void>();
  #joining: NodeJS.Timeout | undefined;
  #asking = false;
  #isCurrent = true;
  #revision = 0;

  constructor(ask: AskFacts, context: ProcessContext) {
    this.#ask = ask;
    this.#context = context;
    this.#following = this.#follow();
  }

  /** False: the catalog is away, and what is known may be old. */
  get current(): boolean {
    return this.#isCurrent;
  }

  get revision(): number {
    return this.#revision;
  }

  /** @returns what is known, or 'unknown': to be fetched */
  get<Kind extends DnsFactKind>(kind: Kind, name: string): { readonly value: FactOf[Kind] } | 'unknown' {
    const key = `${kind}/${name}`;
    const followed = this.#followed.get(key);
    if (followed === undefined) return 'unknown';
    followed.usedAtMs = performance.now();
    this.#followed.delete(key);
    this.#followed.set(key, followed);
    return { value: followed.value as FactOf[Kind] }; // it was read by the schema of its kind
  }

  /** Resolves once these are known, rejects when the catalog can't be asked or has too much to answer. */
  async fetch(keys: readonly string[]): Promise<void> {
    await Promise.all(keys.map((key) => this.#fetching.get(key)?.promise ?? this.#begin(key)));
  }

  async close(): Promise<void> {
    this.#stop.abort(new Error('closed'));
    clearTimeout(this.#joining);
    this.#restart.resolve();
    await this.#following;
  }

  #begin(key: string): Promise<void> {
    // While the catalog is away nothing is given up for what can't be had.
    const isFull = this.#followed.size >= maxDnsFacts && !this.#isCurrent;
    if (this.#stop.signal.aborted || isFull || this.#fetching.size >= maxFetching)
      return Promise.reject(new Error('not asked'));
    const fetching = Promise.withResolvers<void>();
    this.#fetching.set(key, fetching);
    if (!this.#asking) {
      this.#asking = true;
      // Not in this very turn: what is asked together is fetched together.
      setImmediate(() => void this.#fetchAll());
    }
    return fetching.promise;
  }

  /** One query after the other, each for all that came meanwhile. Settles every promise itself. */
  async #fetchAll(): Promise<void> {
    while (this.#fetching.size > 0) {
      const now = [...this.#fetching];
      try {
        const known = Object.fromEntries(now.map(([key]) => [key, '']));
        this.#take(await this.#ask({ known, waitMs: 0 }, fetchMs, this.#stop.signal));
        for (const [key, { resolve, reject }] of now) {
          if (this.#followed.has(key)) resolve();
          else reject(new Error('not answered'));
        }
        this.#joining ??= setTimeout(() => {
          this.#joining = undefined;
          this.#restart.resolve();
        }, joinMs);
      } catch (error) {
        this.#isAway(error);
        for (const [, { reject }] of now) reject(error);
      }
      for (const [key] of now) this.#fetching.delete(key);
    }
    this.#asking = false;
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stop;
    for (let failures = 0; !signal.aborted; ) {
      this.#restart = Promise.withResolvers<void>();
      this.#forgetIdle();
      if (this.#followed.size === 0) {
        await this.#restart.promise;
        continue;
      }
      const known = Object.fromEntries([...this.#followed].map(([key, { tag }]) => [key, tag]));
      const restarted = new AbortController();
      void this.#restart.promise.then(() => restarted.abort());
      const waitMs = this.#isCurrent ? followMs : 0;
      try {
        const ended = AbortSignal.any([signal, restarted.signal]);
        this.#take(await this.#ask({ known, waitMs }, waitMs + graceMs, ended));
        failures = 0;
      } catch (error) {
        if (restarted.signal.aborted || signal.aborted) continue;
        this.#isAway(error);
        const retryMs = Math.min(longestRetryMs, firstRetryMs * 2 ** failures);
        failures += 1;
        await pause(retryMs * (0.5 + this.#context.random() / 2), signal);
      }
    }
  }

  /** @throws what the schema of a kind says of a value that is none */
  #take({ revision, facts }: DnsFacts): void {
    for (const [key, { tag, value }] of Object.entries(facts)) {
      if (!this.#fetching.has(key) && !this.#followed.has(key)) continue; // given up meanwhile
      const read = readFact(key, value);
      this.#followed.delete(key);
      this.#followed.set(key, { tag, value: read, usedAtMs: performance.now() });
    }
    for (const oldest of this.#followed.keys()) {
      if (this.#followed.size <= maxDnsFacts) break;
      this.#followed.delete(oldest);
    }
    this.#revision = Math.max(this.#revision, revision);
    if (!this.#isCurrent) this.#context.log.info('catalog reached again: DNS answers are current');
    this.#isCurrent = true;
  }

  #isAway(err: unknown): void {
    if (this.#stop.signal.aborted) return;
    if (this.#isCurrent) this.#context.log.warn({ err }, 'catalog not reached: DNS answers what it knew');
    this.#isCurrent = false;
  }

  #forgetIdle(): void {
    // While the catalog is away, what is forgotten can't be had again.
    if (!this.#isCurrent) return;
    const sinceMs = performance.now() - idleMs;
    for (const [key, { usedAtMs }] of this.#followed) if (usedAtMs < sinceMs) this.#followed.delete(key);
  }
}
