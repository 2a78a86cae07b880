import type { Random } from '#runtime/clock.ts';
import type { Timers } from '../timers.ts';
import { clip, type Probe, type ProbeLimits, type ProbeResult, reasonOf } from './probe.ts';
import type { ProbeSlots } from './probe-slots.ts';

/** The first probe comes within this, so that a start is soon known to be well. */
const firstProbeWithinMs = 1000;

/** What all probes of an agent share. */
export interface ProbeWorld {
  readonly timers: Timers;
  readonly random: Random;
  readonly slots: ProbeSlots;
}

export interface ProbeSchedule extends ProbeLimits {
  readonly intervalMs: number;
}

/**
 * Runs a probe now and again, one at a time: first within a second, then at a part of the interval that chance picks, so that checks which begin together
 * do not stay together, and from then on an interval after each result (Consul).
 *
 * @param onResult told of each result; a probe that rejects or runs out of time is critical
 * @param signal ends it
 */
export function schedule(
  probe: Probe,
  { intervalMs, ...limits }: ProbeSchedule,
  world: ProbeWorld,
  onResult: (result: ProbeResult) => void,
  signal: AbortSignal,
): void {
  const { timers, random, slots } = world;
  let cancelNext = timers.after(random() * Math.min(intervalMs, firstProbeWithinMs), () => void round(true));
  signal.addEventListener('abort', () => cancelNext(), { once: true });

  // Never rejects: runOnce does not.
  const round = async (first: boolean): Promise<void> => {
    const result = await slots.run(() => runOnce(probe, limits, timers, signal), signal);
    if (result === undefined || signal.aborted) return;
    onResult(result);
    if (signal.aborted) return; // The result may have ended the check.
    cancelNext = timers.after(first ? intervalMs * (1 - random() / 2) : intervalMs, () => void round(false));
  };
}

/** One probe within its time. Never rejects: whatever goes wrong is a critical result. */
export async function runOnce(
  probe: Probe,
  { timeoutMs, maxOutputBytes }: ProbeLimits,
  timers: Timers,
  signal: AbortSignal,
): Promise<ProbeResult> {
  const late = new AbortController();
  const cancel = timers.after(timeoutMs, () => late.abort(new Error(`no answer within ${timeoutMs} ms`)));
  try {
    const { status, output } = await probe(AbortSignal.any([late.signal, signal]));
    return { status, output: clip(output, maxOutputBytes) };
  } catch (error) {
    const reason = reasonOf(late.signal.aborted ? late.signal.reason : error);
    return { status: 'critical', output: clip(reason, maxOutputBytes) };
  } finally {
    cancel();
  }
}
