import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { type BreakerPolicy, defaultResiliencePolicy } from '#policies/resilience.ts';
import { Breaker } from './breaker.ts';
import type { BreakerTicket } from './breaker-ticket.ts';

const policy: BreakerPolicy = { ...defaultResiliencePolicy.breaker, volumeThreshold: 3, windowMs: 60_000, openMs: 500 };

const create = (change: Partial<BreakerPolicy> = {}) =>
  new Breaker({ policy: { ...policy, ...change }, clock: () => Date.now(), timeoutMs: 1_000 });

function admitted(breaker: Breaker): BreakerTicket {
  const ticket = breaker.admit();
  assert.ok(ticket !== 'open');
  return ticket;
}

const counted = (breaker: Breaker) => {
  const { calls, failures, underWay } = breaker.snapshot();
  return { calls, failures, underWay };
};

describe('a call that lasts', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: 1_000_000 }));
  afterEach(() => mock.timers.reset());

  for (const [state, end, calls, failures] of [
    ['answered', 'success', 1, 0],
    ['answered', 'failure', 2, 1],
    ['answered', 'cancelled', 1, 0],
    ['waiting', 'success', 1, 0],
    ['waiting', 'failure', 1, 1],
    ['waiting', 'cancelled', 0, 0],
  ] as const) {
    it(`${state}, in the end ${end}: ${calls} calls, ${failures} failures`, () => {
      const breaker = create();
      const ticket = admitted(breaker);
      ticket.lasts(state);
      assert.deepEqual(counted(breaker), { calls: state === 'answered' ? 1 : 0, failures: 0, underWay: 0 });
      mock.timers.tick(30_000); // its deadline holds no more
      ticket[end]();
      ticket.failure(); // settled already
      assert.deepEqual(counted(breaker), { calls, failures, underWay: 0 });
    });
  }

  it('counts at its end through an idle time, and opens', () => {
    const breaker = create();
    const tickets = [1, 2, 3].map(() => admitted(breaker));
    for (const ticket of tickets) ticket.lasts('waiting');
    assert.ok(breaker.idle);
    breaker.dispose();
    for (const ticket of tickets) ticket.failure();
    assert.equal(breaker.state, 'open');
  });

  it('counts for nothing once the breaker has opened or was reset', () => {
    const breaker = create();
    const ticket = admitted(breaker);
    ticket.lasts('answered');
    for (let n = 0; n < 2; n++) admitted(breaker).failure();
    assert.equal(breaker.state, 'open');
    breaker.reset();
    ticket.failure();
    assert.deepEqual(counted(breaker), { calls: 0, failures: 0, underWay: 0 });
  });

  it('is a probe that succeeded, or none, and says nothing more', () => {
    const breaker = create({ closeAfterSuccesses: 2 });
    for (let n = 0; n < 3; n++) admitted(breaker).failure();
    mock.timers.tick(600);
    const waiting = admitted(breaker);
    assert.equal(breaker.admit(), 'open');
    waiting.lasts('waiting');
    const answered = admitted(breaker);
    answered.lasts('answered');
    assert.equal(breaker.snapshot().probeSuccesses, 1);
    waiting.success();
    answered.failure();
    assert.equal(breaker.state, 'half-open');
    admitted(breaker).success();
    assert.equal(breaker.state, 'closed');
  });

  it('is slow by what it took to be answered', () => {
    const breaker = create({ slowCalls: { durationMs: 100, rate: 1 } });
    const ticket = admitted(breaker);
    mock.timers.tick(50);
    ticket.answered();
    mock.timers.tick(500);
    ticket.success();
    assert.equal(breaker.snapshot().slow, 0);
    const other = admitted(breaker);
    mock.timers.tick(50);
    other.answered();
    mock.timers.tick(50);
    other.answered();
    other.lasts('answered');
    assert.equal(breaker.snapshot().slow, 1);
  });
});
