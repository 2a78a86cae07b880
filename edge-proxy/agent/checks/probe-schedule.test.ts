import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ManualTime } from '../testing/manual-time.ts';
import type { Probe } from './probe.ts';
import { schedule } from './probe-schedule.ts';
import { ProbeSlots } from './probe-slots.ts';

const limits = { timeoutMs: 5_000, maxOutputBytes: 100 };

describe('schedule of probes', () => {
  it('probes within a second, then apart by chance, then at the interval; one at a time', async () => {
    const time = new ManualTime();
    const start = time.nowMs;
    const at: number[] = [];
    const world = { timers: time, random: () => 0.5, slots: new ProbeSlots(time) };
    const stop = new AbortController();
    const probe: Probe = async () => {
      at.push(time.nowMs - start);
      return { status: 'passing', output: '' };
    };
    schedule(probe, { ...limits, intervalMs: 10_000 }, world, () => undefined, stop.signal);
    await time.pass(30_000);
    assert.deepEqual(at, [500, 8_000, 18_000, 28_000]);
    stop.abort();
    await time.pass(100_000);
    assert.equal(at.length, 4);
  });

  it('lets no more run at once than there are slots, however many checks there are, and starves none', async () => {
    const time = new ManualTime();
    const world = { timers: time, random: () => 0, slots: new ProbeSlots(time, 4) };
    const stop = new AbortController();
    let running = 0;
    let most = 0;
    const seen = new Set<number>();
    for (let i = 0; i < 500; i++) {
      const probe: Probe = async () => {
        running += 1;
        most = Math.max(most, running);
        for (let turn = 0; turn < 10; turn++) await nextTurn();
        running -= 1;
        return { status: 'passing', output: '' };
      };
      schedule(probe, { ...limits, intervalMs: 10_000 }, world, () => seen.add(i), stop.signal);
    }
    await time.pass(0);
    for (let turn = 0; turn < 10_000 && seen.size < 500; turn++) await nextTurn();
    assert.deepEqual([most, seen.size, running], [4, 500, 0]);
    stop.abort();
  });

  it('is not held up by probes that wait for an answer', async () => {
    const time = new ManualTime();
    const world = { timers: time, random: () => 0, slots: new ProbeSlots(time, 2) };
    const stop = new AbortController();
    const silent: Probe = (signal) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
    let well = 0;
    for (let i = 0; i < 10; i++)
      schedule(silent, { ...limits, intervalMs: 10_000 }, world, () => undefined, stop.signal);
    const probe: Probe = async () => ({ status: 'passing', output: '' });
    schedule(probe, { ...limits, intervalMs: 10_000 }, world, () => (well += 1), stop.signal);
    await time.pass(1_000);
    assert.equal(well, 1);
    stop.abort();
  });

  it('is critical when the probe rejects or its time is over, and lets a stopped one wait no longer', async () => {
    const time = new ManualTime();
    const world = { timers: time, random: () => 0, slots: new ProbeSlots(time, 1) };
    const stop = new AbortController();
    const results: string[] = [];
    const stuck: Probe = (signal) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
    const broken: Probe = () => Promise.reject(new Error('x'.repeat(200)));
    const note = ({ status, output }: { status: string; output: string }) => void results.push(`${status} ${output}`);
    schedule(stuck, { ...limits, intervalMs: 60_000 }, world, note, stop.signal);
    schedule(broken, { ...limits, intervalMs: 60_000 }, world, note, stop.signal);
    const leaving = new AbortController();
    schedule(broken, { ...limits, intervalMs: 60_000 }, world, () => assert.fail('it was stopped'), leaving.signal);
    await time.pass(1);
    leaving.abort();
    await time.pass(5_000);
    await nextTurn();
    assert.deepEqual(results, [`critical ${'x'.repeat(100)}`, 'critical no answer within 5000 ms']);
    stop.abort();
  });
});
