import { EventEmitter } from 'node:events';
import CircuitBreaker from 'opossum';
import type { BreakerPolicy, SlowCallPolicy } from '#policies/resilience.ts';
import type { Clock } from '#runtime/clock.ts';
import { type BreakerTicket, type Outcome, Ticket, TicketList, type TicketOwner, untracked } from './breaker-ticket.ts';
import { SlowCalls } from './slow-calls.ts';

export type { BreakerTicket };

/** `closed`: calls pass; `open`: none does; `half-open`: one probe at a time does. */
export type BreakerState = 'closed' | 'open' | 'half-open';

/** What the admin API shows of a breaker. */
export interface BreakerSnapshot {
  readonly state: BreakerState;
  /** By an operator, until reset. */
  readonly forced: boolean;
  /** Since when it is forced, ms since the epoch; null where it is not. */
  readonly forcedSinceMs: number | null;
  /** Since when it is in this state, ms since the epoch. */
  readonly changedMs: number;
  /** Calls with an outcome in the window. */
  readonly calls: number;
  readonly failures: number;
  /** Of the calls in the window, those that took too long; 0 where the policy counts none. */
  readonly slow: number;
  /** Tickets not settled. */
  readonly underWay: number;
  readonly probing: boolean;
  /** Successful probes in a row. */
  readonly probeSuccesses: number;
  /** Calls turned away since it was made. */
  readonly rejected: number;
}

/**
 * The circuit breaker of one endpoint, around opossum, which no other file imports. opossum keeps the rolling window, decides when to
 * open, and times the way from open to half-open. What it would do wrong for a proxy is done here (read in opossum 10, lib/circuit.js):
 *
 * - Its half-open probe wedges when it never settles, and its `fires` count calls that were rejected or given up. Here opossum's `fire` is
 *   called only when the outcome of a call is known, and could change something, with a thenable that is settled already: no promise is awaited, cancelled calls
 *   leave no trace, and probes are ours (one at a time, `closeAfterSuccesses` in a row) until their verdict.
 * - Any late outcome settles its half-open state. Here an outcome counts only in the state in which its call was admitted.
 * - The window outlives closing, so that one failure would open it again. Here it is emptied.
 * - It opens above the threshold; ours at it. It sets two intervals a breaker; ours turns the window by the clock given.
 * - A promise, two readings of the clock and a dozen events for each success that changes nothing. Here that is counted in its window straight away.
 * - It keeps the latency of every call of the window, read or not. Here each bucket gets a list that takes nothing.
 *
 * One timer remains opossum's own, from open to half-open: `setTimeout`, unref'd, not the clock given. Tests mock it.
 */
export class Breaker implements TicketOwner {
  #policy: BreakerPolicy;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #onStateChange: (state: BreakerState, before: BreakerState) => void;
  #engine: Engine | undefined;
  #forced: 'open' | 'closed' | undefined;
  #forcedSinceMs = 0;
  #lastState: BreakerState = 'closed';
  #changedMs: number;
  /** Grows with each change of state: outcomes of tickets of an earlier one do not count. */
  #epoch = 0;
  #probe: Ticket | undefined;
  #probeSuccesses = 0;
  /** Made at the first call when the policy counts slow ones. */
  #slow: SlowCalls | undefined;
  #rejected = 0;
  /** Tickets under way, oldest first. */
  readonly #underWay = new TicketList();

  /** @param options.timeoutMs deadline of a ticket when `admit` is given none: a ticket not settled by then is a failure */
  constructor(options: {
    policy: BreakerPolicy;
    clock: Clock;
    timeoutMs?: number;
    onStateChange?: (state: BreakerState, before: BreakerState) => void;
  }) {
    this.#policy = options.policy;
    this.#clock = options.clock;
    this.#timeoutMs = options.timeoutMs ?? 60_000;
    this.#onStateChange = options.onStateChange ?? (() => {});
    this.#changedMs = options.clock();
  }

  get state(): BreakerState {
    return this.#forced ?? this.#engine?.state ?? 'closed';
  }

  /**
   * Asks whether a call may be made. A ticket must be told how the call went; from its deadline on it counts as failed, at the latest
   * when the next call asks.
   *
   * @param timeoutMs how long the call may take to its head
   * @param nowMs by the clock given, where that was read just now
   */
  admit(timeoutMs: number = this.#timeoutMs, nowMs: number = this.#clock()): BreakerTicket | 'open' {
    if (this.#forced === 'open') return this.#reject();
    if (!this.#policy.enabled || this.#forced === 'closed') return untracked;
    this.#engine ??= this.#start();
    this.#expire(nowMs);
    const { state } = this.#engine;
    if (state === 'open' || (state === 'half-open' && this.#probe !== undefined)) return this.#reject();
    const ticket = new Ticket(this, this.#epoch, nowMs, nowMs + timeoutMs);
    this.#underWay.push(ticket);
    if (state === 'half-open') this.#probe = ticket;
    return ticket;
  }

  /** A new policy. Another window or volume begins with an empty window; one that was not closed then waits `openMs` anew. What is forced stays. */
  update(policy: BreakerPolicy): void {
    const before = this.#policy;
    this.#policy = policy;
    if (policy.windowMs !== before.windowMs || policy.slowCalls === undefined) this.#slow = undefined;
    if (this.#engine === undefined) return;
    if (!policy.enabled) this.dispose();
    else if (policy.windowMs === before.windowMs && policy.volumeThreshold === before.volumeThreshold)
      this.#engine.tune(policy);
    else {
      const { state } = this.#engine;
      this.#engine.stop();
      this.#engine = this.#start();
      if (state !== 'closed') this.#engine.open();
      this.#noteState();
    }
  }

  /**
   * Open, or closed whatever happens, until `reset` or forced otherwise.
   * @param sinceMs when an operator said so, ms since the epoch: before this process began, maybe
   */
  force(state: 'open' | 'closed', sinceMs: number = this.#clock()): void {
    this.#forced = state;
    this.#forcedSinceMs = sinceMs;
    this.#noteState();
  }

  /** Closed, with an empty window, and on its own again. */
  reset(): void {
    this.#forced = undefined;
    this.dispose();
  }

  /** Closed, not forced, nothing under way, nothing in the window: `dispose` loses nothing. */
  get idle(): boolean {
    this.#expire(this.#clock());
    return (
      this.#forced === undefined && this.state === 'closed' && this.#underWay.size === 0 && this.#counts().calls === 0
    );
  }

  /** Shuts opossum down. The next call begins anew: closed, with an empty window. */
  dispose(): void {
    // A call that lasts through an idle time counts at its end all the same.
    if (!this.idle) this.#epoch += 1;
    this.#engine?.stop();
    this.#engine = undefined;
    this.#probe = undefined;
    this.#noteState();
  }

  /** For the admin API. */
  snapshot(): BreakerSnapshot {
    this.#expire(this.#clock());
    const { calls, failures } = this.#counts();
    return {
      state: this.state,
      forced: this.#forced !== undefined,
      forcedSinceMs: this.#forced === undefined ? null : this.#forcedSinceMs,
      changedMs: this.#changedMs,
      calls,
      failures,
      slow: this.#slow?.counts(this.#clock()).slow ?? 0,
      underWay: this.#underWay.size,
      probing: this.#probe !== undefined,
      probeSuccesses: this.#probeSuccesses,
      rejected: this.#rejected,
    };
  }

  /** @internal By a ticket, once. */
  settle(ticket: Ticket, outcome: Outcome): void {
    this.#underWay.remove(ticket);
    if (ticket.epoch !== this.#epoch || this.#forced !== undefined) return;
    const { slowCalls } = this.#policy;
    if (slowCalls !== undefined && outcome !== 'cancelled') this.#settleTimed(ticket, outcome, slowCalls);
    else this.#take(ticket, outcome);
  }

  /** @internal By a ticket that lasted, once. Only a breaker that has been closed all the time hears of it. */
  settleLate(ticket: Ticket, outcome: 'success' | 'failure'): void {
    if (ticket.epoch !== this.#epoch || this.#forced !== undefined || this.state !== 'closed') return;
    this.#engine ??= this.#start();
    this.#engine.record(outcome, this.#clock());
    this.#noteState();
  }

  /** @internal By a ticket. */
  answered(ticket: Ticket): void {
    if (this.#policy.slowCalls !== undefined) ticket.answeredMs = this.#clock();
  }

  #take(ticket: Ticket, outcome: Outcome): void {
    if (ticket === this.#probe) {
      this.#probe = undefined;
      if (outcome === 'success' && ++this.#probeSuccesses < this.#policy.closeAfterSuccesses) return;
    }
    if (outcome === 'cancelled') return;
    this.#engine?.record(outcome, this.#clock());
    this.#noteState();
  }

  /** With slow calls counted: a slow probe has failed, and too large a share of slow calls opens as failures do. */
  #settleTimed(ticket: Ticket, outcome: 'success' | 'failure', { durationMs, rate }: SlowCallPolicy): void {
    const now = this.#clock();
    const slow = (ticket.answeredMs ?? now) - ticket.admittedMs >= durationMs;
    if (ticket === this.#probe) {
      this.#take(ticket, slow ? 'failure' : outcome);
      return;
    }
    this.#slow ??= new SlowCalls(this.#policy.windowMs, now);
    this.#slow.note(slow, now);
    this.#take(ticket, outcome);
    const { calls, slow: slowOnes } = this.#slow?.counts(now) ?? { calls: 0, slow: 0 };
    if (this.state !== 'closed' || calls < this.#policy.volumeThreshold || slowOnes < rate * calls) return;
    this.#engine?.open();
    this.#noteState();
  }

  #counts(): { calls: number; failures: number } {
    return this.#engine?.counts(this.#clock()) ?? { calls: 0, failures: 0 };
  }

  #start(): Engine {
    return new Engine(this.#policy, this.#clock(), () => this.#noteState());
  }

  #reject(): 'open' {
    this.#rejected += 1;
    return 'open';
  }

  /** Settles those past their deadline, from the oldest to the first that is not, and the probe wherever it stands. */
  #expire(now: number): void {
    for (
      let ticket = this.#underWay.oldest;
      ticket !== undefined && ticket.deadlineMs <= now;
      ticket = this.#underWay.oldest
    )
      ticket.failure();
    if (this.#probe !== undefined && this.#probe.deadlineMs <= now) this.#probe.failure();
  }

  #noteState(): void {
    const { state } = this;
    const before = this.#lastState;
    if (state === before) return;
    this.#lastState = state;
    this.#changedMs = this.#clock();
    this.#epoch += 1;
    this.#probe = undefined;
    this.#probeSuccesses = 0;
    this.#slow = undefined;
    this.#onStateChange(state, before);
  }
}

const buckets = 10;

/** opossum, fed with outcomes. Its state and its window are read from here alone. */
class Engine {
  readonly #options: CircuitBreaker.Options<[Promise<void>]>;
  readonly #circuit: CircuitBreaker<[Promise<void>], void>;
  /** opossum turns its window by one bucket at each `rotate`. */
  readonly #turning = new EventEmitter();
  readonly #bucketMs: number;
  #turnedMs: number;

  /** @param onHalfOpen the one change that no call here brings about */
  constructor(policy: BreakerPolicy, nowMs: number, onHalfOpen: () => void) {
    this.#bucketMs = Math.max(1, Math.floor(policy.windowMs / buckets));
    this.#turnedMs = nowMs;
    // opossum keeps this very object and reads the threshold and the reset time from it at each use: `tune` rests on that.
    this.#options = {
      timeout: false,
      volumeThreshold: policy.volumeThreshold,
      rollingCountTimeout: policy.windowMs,
      rollingCountBuckets: buckets,
      rollingPercentilesEnabled: false,
      enableSnapshots: false,
      rotateBucketController: this.#turning,
    };
    this.tune(policy);
    this.#circuit = new CircuitBreaker((outcome) => outcome, this.#options);
    this.#dropLatencies();
    this.#circuit.on('close', () => this.#empty());
    this.#circuit.on('halfOpen', onHalfOpen);
  }

  get state(): BreakerState {
    if (this.#circuit.closed) return 'closed';
    return this.#circuit.opened ? 'open' : 'half-open';
  }

  tune(policy: BreakerPolicy): void {
    this.#options.errorThresholdPercentage = policy.errorRate * 100 - 1e-9; // opossum opens above, we at the rate
    this.#options.resetTimeout = policy.openMs;
  }

  /** Opens without a failure. */
  open(): void {
    this.#circuit.open();
  }

  /** An outcome of a call that was admitted in the present state. */
  record(outcome: 'success' | 'failure', nowMs: number): void {
    if (this.#circuit.opened) return;
    this.#turn(nowMs);
    if (outcome === 'success') this.#succeed();
    else this.#circuit.fire(failed).catch(() => {}); // the rejection says what we have just said
  }

  /**
   * While opossum is closed all that a success does is to be counted in the present bucket of its window: done here, without the promise, the two readings of the
   * clock and the events of `fire`, which cost 1.3 µs of a request's 19 in the calling proxy.
   */
  #succeed(): void {
    const [present] = this.#circuit.status.window;
    if (present === undefined || !this.#circuit.closed) {
      void this.#circuit.fire(succeeded);
      return;
    }
    present.fires += 1;
    present.successes += 1;
  }

  /** What the window holds. */
  counts(nowMs: number): { calls: number; failures: number } {
    this.#turn(nowMs);
    const { fires, failures } = this.#circuit.stats;
    return { calls: fires, failures };
  }

  stop(): void {
    this.#circuit.shutdown();
  }

  #turn(nowMs: number): void {
    const steps = Math.floor((nowMs - this.#turnedMs) / this.#bucketMs);
    if (steps === 0) return;
    // A clock set back by more than a bucket turns nothing: the window then lasts a little longer.
    this.#turnedMs = steps < 0 ? nowMs : this.#turnedMs + steps * this.#bucketMs;
    for (let step = 0; step < Math.min(steps, buckets); step++) this.#turning.emit('rotate');
    this.#dropLatencies();
  }

  #empty(): void {
    for (let step = 0; step < buckets; step++) this.#turning.emit('rotate');
    this.#dropLatencies();
  }

  #dropLatencies(): void {
    const [present] = this.#circuit.status.window;
    if (present !== undefined) present.latencyTimes = nowhere;
  }
}

/** A list that takes nothing. */
class Nowhere extends Array<number> {
  override push(): number {
    return 0;
  }
}
const nowhere = new Nowhere();

/**
 * Outcomes as opossum's `fire` takes them: it calls `then(…).catch(…)` on what its action returns. These two answer in the same tick, so
 * that the state is right when `record` returns.
 */
const callFailed = new Error('the call failed'); // opossum hands it back to us alone
const succeeded = {
  // biome-ignore lint/suspicious/noThenProperty: a thenable is what opossum takes
  then(done: (value: undefined) => void) {
    done(undefined);
    return succeeded;
  },
  catch: () => undefined,
} as unknown as Promise<void>;
const failed = {
  // biome-ignore lint/suspicious/noThenProperty: a thenable is what opossum takes
  then: () => failed,
  catch(done: (error: Error) => void) {
    done(callFailed);
  },
} as unknown as Promise<void>;
