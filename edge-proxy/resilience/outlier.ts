import type { OutlierPolicy } from '#policies/resilience.ts';
import type { Clock } from '#runtime/clock.ts';

interface Record {
  consecutiveFailures: number;
  /** Until when it is out; 0: in. */
  ejectedUntilMs: number;
  /** Ejections that count for the length of the next. */
  ejections: number;
  /** When the last ejection ended, for forgetting. */
  returnedMs: number;
}

/**
 * Passive health checking (Envoy's consecutive outlier detection): an endpoint that fails several times in a row is left out for a time
 * that grows with each ejection and is forgotten with good conduct. Never more than the policy's share are out, and one always stays.
 */
export class OutlierDetector {
  #policy: OutlierPolicy;
  readonly #clock: Clock;
  #records = new Map<string, Record>();
  /** Records with an ejection that was not yet seen to end. 0 spares the hot path any look-up. */
  #ejected = 0;

  constructor(policy: OutlierPolicy, clock: Clock) {
    this.#policy = policy;
    this.#clock = clock;
  }

  /** A new policy: those out beyond its cap come back, longest out first. */
  update(policy: OutlierPolicy): void {
    this.#policy = policy;
    this.#keepCap();
  }

  /** The endpoints there are. Those that stay keep their history. */
  setEndpoints(ids: readonly string[]): void {
    const before = this.#records;
    this.#records = new Map();
    for (const id of ids)
      this.#records.set(
        id,
        before.get(id) ?? { consecutiveFailures: 0, ejectedUntilMs: 0, ejections: 0, returnedMs: 0 },
      );
    this.#keepCap();
  }

  /** An outcome. Failures are what the breaker counts as such; a client's cancel and a mesh 403 are no outcome. */
  note(id: string, success: boolean): void {
    const record = this.#records.get(id);
    if (record === undefined) return; // gone from the catalog while the call was under way
    if (success) {
      record.consecutiveFailures = 0;
      return;
    }
    record.consecutiveFailures += 1;
    if (!this.#policy.enabled || record.consecutiveFailures < this.#policy.consecutiveFailures) return;
    this.#returnDue();
    if (record.ejectedUntilMs === 0 && this.#ejected < this.#cap()) this.#eject(record);
  }

  /** True while it is left out. */
  isEjected(id: string): boolean {
    if (this.#ejected === 0) return false;
    return (this.#records.get(id)?.ejectedUntilMs ?? 0) > this.#clock();
  }

  /** For the admin API: who is out until when (ms since the epoch). */
  snapshot(): readonly { readonly id: string; readonly ejectedUntilMs: number; readonly ejections: number }[] {
    this.#returnDue();
    return [...this.#records]
      .filter(([, record]) => record.ejectedUntilMs > 0)
      .map(([id, { ejectedUntilMs, ejections }]) => ({ id, ejectedUntilMs, ejections }));
  }

  #cap(): number {
    const count = this.#records.size;
    return this.#policy.enabled
      ? Math.max(0, Math.min(Math.floor(this.#policy.maxEjectedRatio * count), count - 1))
      : 0;
  }

  #eject(record: Record): void {
    const now = this.#clock();
    const { baseEjectionMs, maxEjectionMs } = this.#policy;
    const forgotten = Math.floor(Math.max(0, now - record.returnedMs) / Math.max(1, baseEjectionMs));
    record.ejections = Math.max(0, record.ejections - forgotten) + 1;
    record.consecutiveFailures = 0;
    record.ejectedUntilMs = now + Math.min(maxEjectionMs, baseEjectionMs * record.ejections);
    this.#ejected += 1;
  }

  #returnDue(): void {
    if (this.#ejected === 0) return;
    const now = this.#clock();
    for (const record of this.#records.values())
      if (record.ejectedUntilMs > 0 && record.ejectedUntilMs <= now) this.#return(record);
  }

  #return(record: Record): void {
    record.returnedMs = Math.min(record.ejectedUntilMs, this.#clock());
    record.ejectedUntilMs = 0;
    record.consecutiveFailures = 0;
    this.#ejected -= 1;
  }

  #keepCap(): void {
    const out = [...this.#records.values()].filter((record) => record.ejectedUntilMs > 0);
    this.#ejected = out.length;
    this.#returnDue();
    out.sort((left, right) => left.ejectedUntilMs - right.ejectedUntilMs);
    for (const record of out) if (record.ejectedUntilMs > 0 && this.#ejected > this.#cap()) this.#return(record);
  }
}
