import type { Random } from '#runtime/clock.ts';
import type { CheckDefinition, CheckStatus } from './check-definition.ts';
import { clip, type ProbeResult, runProbe } from './probe.ts';
import type { Timers } from './timers.ts';

/** The first probe comes within this, so that a start is soon known to be well, and not everything is probed in the same moment. */
const firstProbeWithinMs = 1000;

/** Status and output of a check, to be kept over a re-registration. */
export interface CheckState {
  readonly status: CheckStatus;
  readonly output: string;
}

/** What a check needs of its surroundings. */
export interface CheckWorld {
  readonly timers: Timers;
  readonly random: Random;
  /** Told of every change of status, or of output alone. */
  onChange(check: LocalCheck, change: 'status' | 'output'): void;
  /** The check was critical for its whole DeregisterCriticalServiceAfter. */
  onLost(check: LocalCheck): void;
}

/** A check that runs: probes at its interval or waits for its TTL, counts, and says what it found only when that changed. */
export class LocalCheck {
  readonly definition: CheckDefinition;
  readonly #world: CheckWorld;
  readonly #stopped = new AbortController();
  #state: CheckState;
  #successes = 0;
  #failures = 0;
  #cancelNext: () => void = () => undefined;
  #cancelLost: (() => void) | undefined;

  /** Begins at once. @param before what the check said under its former definition */
  constructor(definition: CheckDefinition, world: CheckWorld, before?: CheckState) {
    this.definition = definition;
    this.#world = world;
    this.#state = before ?? { status: definition.status, output: '' };
    const { work } = definition;
    if (work.kind === 'ttl') this.#awaitTtl(work.ttlMs);
    else if (work.kind === 'probe') {
      this.#probeAfter(world.random() * Math.min(work.intervalMs, firstProbeWithinMs));
    } else this.#state = { ...this.#state, output: definition.notes };
    this.#watchForLoss();
  }

  get state(): CheckState {
    return this.#state;
  }

  /** No more probes, no more changes. */
  stop(): void {
    this.#stopped.abort();
    this.#cancelNext();
    this.#cancelLost?.();
  }

  /** A sign of life for a TTL check. @returns false when the check has no TTL */
  heard(status: CheckStatus, output: string): boolean {
    const { work } = this.definition;
    if (work.kind !== 'ttl') return false;
    this.#set(status, output);
    this.#awaitTtl(work.ttlMs);
    return true;
  }

  #awaitTtl(ttlMs: number): void {
    this.#cancelNext();
    this.#cancelNext = this.#world.timers.after(ttlMs, () => {
      const last = this.#state.output;
      this.#set('critical', last === '' ? 'TTL expired' : `TTL expired (last output before timeout follows): ${last}`);
    });
  }

  #probeAfter(ms: number): void {
    this.#cancelNext = this.#world.timers.after(ms, () => void this.#probe());
  }

  /** runProbe never rejects, so neither does this. */
  async #probe(): Promise<void> {
    const { work, maxOutputBytes } = this.definition;
    if (work.kind !== 'probe') return;
    const { signal } = this.#stopped;
    const result = await runProbe(work.probe, { timeoutMs: work.timeoutMs, maxOutputBytes, signal });
    if (signal.aborted) return;
    this.#count(result);
    this.#probeAfter(work.intervalMs);
  }

  /** Consul's thresholds: so many in a row before the status changes; what they hold back is not shown. */
  #count({ status, output }: ProbeResult): void {
    const { successBeforePassing, failuresBeforeWarning, failuresBeforeCritical } = this.definition;
    if (status === 'critical') {
      this.#failures += 1;
      this.#successes = 0;
      if (this.#failures >= failuresBeforeCritical) this.#set('critical', output);
      else if (this.#failures >= failuresBeforeWarning) this.#set('warning', output);
    } else {
      this.#successes += 1;
      this.#failures = 0;
      if (this.#successes >= successBeforePassing) this.#set(status, output);
    }
  }

  #set(status: CheckStatus, text: string): void {
    const output = clip(text, this.definition.maxOutputBytes);
    const before = this.#state;
    this.#state = { status, output };
    if (before.status !== status) {
      this.#watchForLoss();
      this.#world.onChange(this, 'status');
    } else if (before.output !== output) this.#world.onChange(this, 'output');
  }

  #watchForLoss(): void {
    const { deregisterAfterMs, serviceId } = this.definition;
    if (this.#state.status !== 'critical' || serviceId === '') {
      this.#cancelLost?.();
      this.#cancelLost = undefined;
    } else if (deregisterAfterMs !== undefined) {
      this.#cancelLost ??= this.#world.timers.after(deregisterAfterMs, () => this.#world.onLost(this));
    }
  }
}
