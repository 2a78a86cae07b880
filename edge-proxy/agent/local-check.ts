import type { CheckStatus } from '#policies/consul/check-status.ts';
import { countResult, freshStreak, type Streak } from '#policies/consul/check-thresholds.ts';
import type { Clock } from '#runtime/clock.ts';
import type { CheckDefinition } from './check-definition.ts';
import type { Alias } from './checks/alias.ts';
import { openProbe } from './checks/open-probe.ts';
import { clip, type ProbeResult } from './checks/probe.ts';
import { type ProbeWorld, schedule } from './checks/probe-schedule.ts';

/** How often an alias of another node is looked up in the catalog. One of this node follows at once. */
const remoteAlias = { intervalMs: 10_000, timeoutMs: 10_000 } as const;

/** Status and output of a check, to be kept over a re-registration or a restart. */
export interface CheckState {
  readonly status: CheckStatus;
  readonly output: string;
  /** For a TTL that runs on over a restart: when it is over, in milliseconds since the epoch. */
  readonly ttlUntilMs?: number | undefined;
}

/** What a check needs of its surroundings. */
export interface CheckWorld extends ProbeWorld {
  readonly clock: Clock;
  /** How an alias is: at once for what is on this node, else asked of the catalog. */
  aliased(alias: Alias, check: CheckDefinition): ProbeResult | Promise<ProbeResult>;
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
  #streak: Streak;
  #ttlUntilMs: number | undefined;
  #cancelTtl: () => void = () => undefined;
  #cancelLost: (() => void) | undefined;

  /** Begins at once. @param before what the check said under its former definition, or before a restart */
  constructor(definition: CheckDefinition, world: CheckWorld, before?: CheckState) {
    this.definition = definition;
    this.#world = world;
    this.#streak = freshStreak(definition.thresholds);
    this.#state =
      before === undefined
        ? { status: definition.status, output: '' }
        : { status: before.status, output: before.output };
    this.#begin(before?.ttlUntilMs);
    this.#watchForLoss();
  }

  get state(): CheckState {
    return { ...this.#state, ttlUntilMs: this.#ttlUntilMs };
  }

  /** No more probes, no more changes. */
  stop(): void {
    this.#stopped.abort();
    this.#cancelTtl();
    this.#cancelLost?.();
  }

  /** A sign of life for a TTL check. @returns false when the check has no TTL */
  heard(status: CheckStatus, text: string): boolean {
    const { work, maxOutputBytes } = this.definition;
    if (work.kind !== 'ttl') return false;
    const length = Buffer.byteLength(text);
    const cut = length > maxOutputBytes;
    const output = cut ? `${clip(text, maxOutputBytes)} ... (captured ${maxOutputBytes} of ${length} bytes)` : text;
    this.#set(status, output);
    this.#awaitTtl(work.ttlMs);
    return true;
  }

  /** Looks again at what an alias of this node stands for. */
  refreshAlias(): void {
    const { work } = this.definition;
    if (work.kind !== 'alias' || this.#stopped.signal.aborted) return;
    const result = this.#world.aliased(work, this.definition);
    if (!(result instanceof Promise)) this.#set(result.status, clip(result.output, this.definition.maxOutputBytes));
  }

  #begin(ttlUntilMs: number | undefined): void {
    const { work, maxOutputBytes } = this.definition;
    const { signal } = this.#stopped;
    switch (work.kind) {
      case 'fixed':
        return;
      case 'ttl': {
        const { clock } = this.#world;
        this.#awaitTtl(ttlUntilMs === undefined ? work.ttlMs : Math.min(Math.max(0, ttlUntilMs - clock()), work.ttlMs));
        return;
      }
      case 'probe': {
        const { target, intervalMs, timeoutMs } = work;
        const limits = { timeoutMs, maxOutputBytes };
        const count = (result: ProbeResult) => this.#count(result);
        schedule(openProbe(target, limits), { ...limits, intervalMs }, this.#world, count, signal);
        return;
      }
      case 'alias': {
        const { aliased } = this.#world;
        const tell = ({ status, output }: ProbeResult) => this.#set(status, output);
        const look = async () => aliased(work, this.definition);
        if (work.node !== '') schedule(look, { ...remoteAlias, maxOutputBytes }, this.#world, tell, signal);
        return;
      }
    }
  }

  #awaitTtl(ttlMs: number): void {
    this.#cancelTtl();
    this.#ttlUntilMs = this.#world.clock() + ttlMs;
    this.#cancelTtl = this.#world.timers.after(ttlMs, () => {
      const last = this.#state.output;
      this.#set('critical', last === '' ? 'TTL expired' : `TTL expired (last output before timeout follows): ${last}`);
    });
  }

  #count({ status, output }: ProbeResult): void {
    const { streak, shown } = countResult(this.definition.thresholds, this.#streak, status);
    this.#streak = streak;
    // What a threshold holds back is not shown.
    if (shown !== undefined) this.#set(shown, output);
  }

  #set(status: CheckStatus, output: string): void {
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
