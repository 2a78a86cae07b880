import type { Intention } from './intention.ts';

/** What is in force at one moment, and until when that stays so. */
export interface InForce {
  readonly intentions: readonly Intention[];
  /** The next end of one of them, ms since the epoch; undefined: none has an end. */
  readonly untilMs: number | undefined;
}

/** From its `expiresAtMs` on an intention is as if it did not exist: what stands behind it decides, or the default. */
export function isExpired({ expiresAtMs }: Pick<Intention, 'expiresAtMs'>, nowMs: number): boolean {
  return expiresAtMs !== undefined && !(expiresAtMs > nowMs);
}

/** Takes out what has ended. */
export function inForce(intentions: readonly Intention[], nowMs: number): InForce {
  const lasting = intentions.filter((intention) => !isExpired(intention, nowMs));
  let untilMs: number | undefined;
  for (const { expiresAtMs } of lasting) {
    if (expiresAtMs !== undefined && (untilMs === undefined || expiresAtMs < untilMs)) untilMs = expiresAtMs;
  }
  return { intentions: lasting, untilMs };
}
