import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import fc from 'fast-check';
import { type BreakerPolicy, defaultResiliencePolicy } from '#policies/resilience.ts';
import { Breaker, type BreakerState, type BreakerTicket } from './breaker.ts';

/** The breaker, by example and as a state machine. In one file: both are of one class. */

const policy: BreakerPolicy = {
  ...defaultResiliencePolicy.breaker,
  volumeThreshold: 4,
  windowMs: 1_000,
  openMs: 500,
  closeAfterSuccesses: 2,
};

/** The clock of both sides: opossum's own timer and the one given. */
const tick = (ms: number) => mock.timers.tick(ms);

function create(change: Partial<BreakerPolicy> = {}) {
  const changes: string[] = [];
  const onStateChange = (state: BreakerState, before: BreakerState) => void changes.push(`${before} > ${state}`);
  const breaker = new Breaker({
    policy: { ...policy, ...change },
    clock: () => Date.now(),
    timeoutMs: 10_000,
    onStateChange,
  });
  return { breaker, changes };
}

function admitted(breaker: Breaker, timeoutMs?: number): BreakerTicket {
  const ticket = breaker.admit(timeoutMs);
  assert.ok(ticket !== 'open');
  return ticket;
}

function call(breaker: Breaker, outcome: 'success' | 'failure' | 'cancelled', times = 1): void {
  for (let time = 0; time < times; time++) admitted(breaker)[outcome]();
}

describe('Breaker', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: 1_000_000 }));
  afterEach(() => mock.timers.reset());

  it('opens at the rate, given the volume', () => {
    const { breaker, changes } = create();
    call(breaker, 'failure', 3);
    assert.equal(breaker.state, 'closed');
    call(breaker, 'failure');
    assert.equal(breaker.state, 'open');
    assert.equal(breaker.admit(), 'open');
    assert.deepEqual(changes, ['closed > open']);
  });

  it('opens at exactly the rate, and at a rate of 1', () => {
    const half = create().breaker;
    call(half, 'success', 2);
    call(half, 'failure');
    assert.equal(half.state, 'closed');
    call(half, 'failure');
    assert.equal(half.state, 'open');
    const whole = create({ errorRate: 1 }).breaker;
    call(whole, 'failure', 4);
    assert.equal(whole.state, 'open');
  });

  it('forgets what is older than the window', () => {
    const { breaker } = create();
    call(breaker, 'failure', 3);
    tick(1_001);
    call(breaker, 'failure', 3);
    assert.deepEqual([breaker.state, breaker.snapshot().calls], ['closed', 3]);
  });

  it('lets one probe through at a time and closes after enough of them', () => {
    const { breaker, changes } = create();
    call(breaker, 'failure', 4);
    tick(499);
    assert.equal(breaker.admit(), 'open');
    tick(1);
    assert.equal(breaker.state, 'half-open');
    const probe = admitted(breaker);
    assert.equal(breaker.admit(), 'open');
    probe.success();
    assert.equal(breaker.state, 'half-open');
    call(breaker, 'success');
    assert.equal(breaker.state, 'closed');
    assert.deepEqual(changes, ['closed > open', 'open > half-open', 'half-open > closed']);
    call(breaker, 'failure', 3); // the failures that opened it are forgotten
    assert.equal(breaker.state, 'closed');
  });

  it('opens again with a failed probe', () => {
    const { breaker } = create();
    call(breaker, 'failure', 4);
    for (let round = 0; round < 3; round++) {
      tick(500);
      call(breaker, 'success');
      call(breaker, 'failure');
      assert.equal(breaker.state, 'open');
    }
  });

  it('is not wedged by a cancelled probe, nor by one that is never settled', () => {
    const { breaker } = create();
    call(breaker, 'failure', 4);
    tick(500);
    call(breaker, 'cancelled', 5);
    assert.equal(breaker.state, 'half-open');
    admitted(breaker, 100); // and never settled
    tick(99);
    assert.equal(breaker.admit(), 'open');
    tick(1);
    assert.equal(breaker.admit(), 'open');
    assert.equal(breaker.state, 'open');
    tick(500);
    call(breaker, 'success', 2);
    assert.equal(breaker.state, 'closed');
  });

  it('gives up on a probe at its own deadline, whatever older calls may take', () => {
    const { breaker } = create();
    admitted(breaker, 60_000);
    call(breaker, 'failure', 4);
    tick(500);
    admitted(breaker, 100);
    tick(100);
    assert.equal(breaker.snapshot().state, 'open');
  });

  it('takes no late outcome of an earlier state for a verdict', () => {
    const { breaker } = create();
    const late = [admitted(breaker), admitted(breaker), admitted(breaker)];
    call(breaker, 'failure', 4);
    late[0]?.success();
    assert.equal(breaker.state, 'open');
    tick(500);
    late[1]?.success();
    assert.equal(breaker.state, 'half-open');
    late[2]?.failure();
    assert.equal(breaker.state, 'half-open');
    assert.equal(breaker.snapshot().probeSuccesses, 0);
  });

  it('counts a ticket once, and a cancelled one never', () => {
    const { breaker } = create();
    const ticket = admitted(breaker);
    ticket.failure();
    ticket.failure();
    ticket.success();
    call(breaker, 'cancelled', 10);
    const { calls, failures, underWay } = breaker.snapshot();
    assert.deepEqual([calls, failures, underWay], [1, 1, 0]);
  });

  it('takes a ticket past its deadline for failed', () => {
    const { breaker } = create();
    const tickets = Array.from({ length: 4 }, () => admitted(breaker, 200));
    tick(200);
    assert.equal(breaker.admit(), 'open');
    tickets[0]?.success();
    assert.equal(breaker.state, 'open');
  });

  it('can be forced and reset', () => {
    const { breaker, changes } = create();
    breaker.force('open');
    assert.deepEqual([breaker.admit(), breaker.state, breaker.snapshot().forced], ['open', 'open', true]);
    tick(5_000);
    assert.equal(breaker.state, 'open');
    breaker.force('closed');
    call(breaker, 'failure', 20);
    assert.equal(breaker.state, 'closed');
    breaker.reset();
    assert.deepEqual([breaker.snapshot().forced, breaker.snapshot().calls], [false, 0]);
    call(breaker, 'failure', 4);
    breaker.reset();
    assert.equal(breaker.state, 'closed');
    tick(5_000);
    assert.deepEqual(changes, ['closed > open', 'open > closed', 'closed > open', 'open > closed']);
  });

  it('opens for calls that are slow, at the share and given the volume, and a slow probe opens it again', () => {
    const { breaker } = create({ slowCalls: { durationMs: 100, rate: 0.5 } });
    const slow = (ms: number, outcome: 'success' | 'failure' = 'success') => {
      const ticket = admitted(breaker);
      tick(ms);
      ticket[outcome]();
    };
    call(breaker, 'success', 2);
    slow(100);
    assert.equal(breaker.state, 'closed');
    assert.equal(breaker.snapshot().slow, 1);
    slow(150);
    assert.equal(breaker.state, 'open');
    tick(500);
    slow(100);
    assert.equal(breaker.state, 'open', 'a slow probe');
    tick(500);
    call(breaker, 'success', 2);
    assert.equal(breaker.state, 'closed');
    assert.equal(breaker.snapshot().slow, 0);
    slow(99);
    call(breaker, 'success', 9);
    assert.equal(breaker.state, 'closed', 'not long enough');
    slow(100);
    tick(1_100);
    slow(100);
    call(breaker, 'success', 2);
    assert.equal(breaker.state, 'closed', 'what is older than the window is forgotten');
    breaker.update({ ...policy, volumeThreshold: 4 });
    for (let time = 0; time < 8; time++) slow(100);
    assert.equal(breaker.state, 'closed', 'no call is slow without the policy');
  });

  it('is open when forced, even while the policy switches it off', () => {
    const { breaker } = create({ enabled: false });
    breaker.force('open');
    assert.equal(breaker.admit(), 'open');
    breaker.reset();
    assert.notEqual(breaker.admit(), 'open');
  });

  it('takes a new policy live', () => {
    const { breaker } = create();
    call(breaker, 'failure', 3);
    breaker.update({ ...policy, errorRate: 0.9, openMs: 100 });
    call(breaker, 'failure');
    assert.equal(breaker.state, 'open');
    breaker.update({ ...policy, openMs: 100, volumeThreshold: 2 }); // another volume: waits anew
    tick(99);
    assert.equal(breaker.state, 'open');
    tick(1);
    assert.equal(breaker.state, 'half-open');
    call(breaker, 'success', 2);
    call(breaker, 'failure', 2);
    assert.equal(breaker.state, 'open');
    breaker.update({ ...policy, enabled: false });
    call(breaker, 'failure', 20);
    assert.equal(breaker.state, 'closed');
  });

  it('rests, and begins anew', () => {
    const { breaker } = create();
    assert.equal(breaker.idle, true);
    const ticket = admitted(breaker);
    assert.equal(breaker.idle, false);
    ticket.failure();
    assert.equal(breaker.idle, false);
    tick(1_001);
    assert.equal(breaker.idle, true);
    call(breaker, 'failure', 3);
    const late = admitted(breaker);
    breaker.dispose();
    late.failure();
    assert.deepEqual([breaker.state, breaker.snapshot().calls, breaker.snapshot().underWay], ['closed', 0, 0]);
    call(breaker, 'failure', 4);
    assert.equal(breaker.state, 'open');
    breaker.dispose();
    tick(1_000);
    assert.equal(breaker.state, 'closed');
  });

  it('keeps no latencies and awaits no promise', async () => {
    const unhandled = mock.fn();
    process.on('unhandledRejection', unhandled);
    const { breaker } = create({ volumeThreshold: 1_000_000 });
    call(breaker, 'failure', 100);
    await new Promise((resolve) => setImmediate(resolve));
    process.off('unhandledRejection', unhandled);
    assert.equal(unhandled.mock.callCount(), 0);
    assert.equal(breaker.snapshot().failures, 100);
  });

  describe('as a state machine', () => {
    it('does what its model does, cancelled probes and late outcomes included', () => {
      fc.assert(
        fc.property(fc.commands(commands, { maxCommands: 120 }), (run) => {
          fc.modelRun(() => {
            const { breaker } = create();
            return { model: new Model(), real: { breaker, tickets: new Map() } };
          }, run);
        }),
        { numRuns: 300 },
      );
    });
  });
});

interface ModelTicket {
  readonly id: number;
  readonly epoch: number;
  readonly deadline: number;
}

/** The breaker as it should be, without opossum. */
class Model {
  state: BreakerState = 'closed';
  epoch = 0;
  now = 0;
  halfOpenAt = 0;
  successes = 0;
  probe: ModelTicket | undefined;
  /** In the order of admission. */
  underWay: ModelTicket[] = [];
  nextId = 0;
  /** Outcomes by bucket, from the time the window began. */
  began = 0;
  outcomes: { bucket: number; failed: boolean }[] = [];

  enter(state: BreakerState): void {
    this.state = state;
    this.epoch += 1;
    this.probe = undefined;
    this.successes = 0;
    if (state === 'open') this.halfOpenAt = this.now + policy.openMs;
    if (state === 'closed') this.outcomes = [];
  }

  wait(ms: number): void {
    const until = this.now + ms;
    if (this.state === 'open' && this.halfOpenAt <= until) {
      this.now = this.halfOpenAt;
      this.enter('half-open');
    }
    this.now = until;
  }

  expire(): void {
    for (let oldest = this.underWay[0]; oldest !== undefined && oldest.deadline <= this.now; oldest = this.underWay[0])
      this.settle(oldest, 'failure');
    if (this.probe !== undefined && this.probe.deadline <= this.now) this.settle(this.probe, 'failure');
  }

  admit(timeoutMs: number): ModelTicket | 'open' {
    this.expire();
    if (this.state === 'open' || (this.state === 'half-open' && this.probe !== undefined)) return 'open';
    const ticket = { id: this.nextId++, epoch: this.epoch, deadline: this.now + timeoutMs };
    this.underWay.push(ticket);
    if (this.state === 'half-open') this.probe = ticket;
    return ticket;
  }

  settle(ticket: ModelTicket, outcome: 'success' | 'failure' | 'cancelled'): void {
    if (!this.underWay.includes(ticket)) return;
    this.underWay = this.underWay.filter((other) => other !== ticket);
    if (ticket.epoch !== this.epoch) return;
    if (this.state === 'half-open') {
      this.probe = undefined;
      if (outcome === 'failure') this.enter('open');
      else if (outcome === 'success' && ++this.successes === policy.closeAfterSuccesses) this.enter('closed');
    } else if (outcome !== 'cancelled') {
      const bucket = Math.floor((this.now - this.began) / (policy.windowMs / 10));
      this.outcomes = this.outcomes.filter((other) => bucket - other.bucket < 10);
      this.outcomes.push({ bucket, failed: outcome === 'failure' });
      const failures = this.outcomes.filter(({ failed }) => failed).length;
      if (
        outcome === 'failure' &&
        this.outcomes.length >= policy.volumeThreshold &&
        failures / this.outcomes.length >= policy.errorRate
      )
        this.enter('open');
    }
  }
}

interface Real {
  readonly breaker: Breaker;
  readonly tickets: Map<number, { readonly model: ModelTicket; readonly real: BreakerTicket }>;
}

class Admit implements fc.Command<Model, Real> {
  readonly timeoutMs: number;
  constructor(timeoutMs: number) {
    this.timeoutMs = timeoutMs;
  }
  check = () => true;
  run(model: Model, { breaker, tickets }: Real): void {
    if (model.nextId === 0) model.began = model.now; // the window begins with the first call
    const expected = model.admit(this.timeoutMs);
    const actual = breaker.admit(this.timeoutMs);
    assert.equal(actual === 'open', expected === 'open');
    if (expected !== 'open' && actual !== 'open') tickets.set(expected.id, { model: expected, real: actual });
    assert.equal(breaker.state, model.state);
  }
  toString = () => `admit(${this.timeoutMs})`;
}

class Settle implements fc.Command<Model, Real> {
  readonly which: number;
  readonly outcome: 'success' | 'failure' | 'cancelled';
  constructor(which: number, outcome: 'success' | 'failure' | 'cancelled') {
    this.which = which;
    this.outcome = outcome;
  }
  check = (model: Readonly<Model>) => model.nextId > 0;
  run(model: Model, { breaker, tickets }: Real): void {
    // Counted from the newest, settled ones too: a second outcome must change nothing.
    const ticket = tickets.get(model.nextId - 1 - (this.which % Math.min(model.nextId, 8)));
    if (ticket === undefined) return;
    model.settle(ticket.model, this.outcome);
    ticket.real[this.outcome]();
    assert.equal(breaker.state, model.state);
  }
  toString = () => `${this.outcome}(${this.which})`;
}

class Wait implements fc.Command<Model, Real> {
  readonly ms: number;
  constructor(ms: number) {
    this.ms = ms;
  }
  check = () => true;
  run(model: Model, { breaker }: Real): void {
    model.wait(this.ms);
    tick(this.ms);
    assert.equal(breaker.state, model.state);
  }
  toString = () => `wait(${this.ms})`;
}

const commands = [
  fc.constantFrom(50, 300, 5_000).map((timeoutMs) => new Admit(timeoutMs)),
  fc.constant(5_000).map((timeoutMs) => new Admit(timeoutMs)),
  fc
    .tuple(fc.nat(7), fc.constantFrom('success' as const, 'failure' as const, 'failure' as const, 'cancelled' as const))
    .map(([which, outcome]) => new Settle(which, outcome)),
  fc.constantFrom('success' as const, 'failure' as const, 'failure' as const).map((outcome) => new Settle(0, outcome)),
  fc.constantFrom(10, 100, 250, 500, 1_100).map((ms) => new Wait(ms)),
];
