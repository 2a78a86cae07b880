import { readCertificate } from '#policies/svid-leaf.ts';
import type { Clock } from '#runtime/clock.ts';
import type { CaBackend } from '../ca-backend.ts';
import type { OwnSvid } from '../own-svid.ts';
import type { ProcessRoll } from '../processes/process-roll.ts';
import type { HeldSvids } from './held-svids.ts';
import { type Outage, outageOf } from './outage.ts';
import type { RecordKeeping } from './record-keeping.ts';

/** An end that is coming. */
export interface Ending {
  readonly what: 'issuing-ca' | 'own-svid' | 'root';
  readonly endMs: number;
}

/** Why nothing can be issued, and since when. */
export interface Failure {
  readonly sinceMs: number;
  readonly reason: string;
}

/** What health is read from. */
export interface HealthParts {
  readonly backend: CaBackend;
  readonly own: Pick<OwnSvid, 'current' | 'notAfterMs'>;
  readonly held: HeldSvids;
  readonly records: Pick<RecordKeeping, 'failures'>;
  readonly roll?: ProcessRoll | undefined;
  readonly clock: Clock;
}

/** How the service is, for status, readiness and metrics alike. */
export class ServiceHealth {
  readonly #parts: HealthParts;

  constructor(parts: HealthParts) {
    this.#parts = parts;
  }

  /** Who shares the store; undefined: it is this one's alone. */
  get roll(): ProcessRoll | undefined {
    return this.#parts.roll;
  }

  get outage(): Outage {
    const { held, clock } = this.#parts;
    return outageOf(held.all(), clock(), this.#failures[0]?.sinceMs);
  }

  /** Why nothing can be issued, the first that began first; empty: it can. */
  get #failures(): readonly Failure[] {
    const { backend, records } = this.#parts;
    const { health } = backend;
    const lostSinceMs = this.roll?.lostSinceMs;
    return [
      ...(health.state === 'unhealthy' ? [health] : []),
      ...(lostSinceMs === undefined ? [] : [{ sinceMs: lostSinceMs, reason: 'etcd can not be reached' }]),
      ...records.failures,
    ].sort((a, b) => a.sinceMs - b.sinceMs);
  }

  /** Why nothing can be issued, in words. */
  get failures(): readonly string[] {
    return this.#failures.map(inWords);
  }

  /**
   * Why the service is not ready, in words; empty: it is. A CA that is away, or a store, or one without room, becomes one at half of the outage budget: until then
   * nobody lacks anything.
   */
  get reasons(): readonly string[] {
    const { backend, own } = this.#parts;
    const { health } = backend;
    const grave = [
      ...(health.state === 'ending' ? [health] : []),
      ...(this.outage.state === 'red' ? this.#failures : []),
    ];
    const reasons = grave.map(inWords);
    if (own.current === undefined) reasons.push('the own SVID has run out');
    return reasons;
  }

  /** What ends when, of what the service itself lives by. */
  get endings(): readonly Ending[] {
    const { backend, own } = this.#parts;
    const known = [
      { what: 'issuing-ca', endMs: backend.issuingCaNotAfterMs },
      // Also one that has run out: nothing is worse, and it must not look as if its end were gone.
      { what: 'own-svid', endMs: own.notAfterMs },
      { what: 'root', endMs: Math.min(...backend.roots.map((root) => readCertificate(root).notAfterMs)) },
    ] as const;
    return known.flatMap(({ what, endMs }) => (endMs === undefined ? [] : [{ what, endMs }]));
  }

  /** The first of those ends, ms since the epoch. */
  get earliestEndMs(): number {
    return Math.min(...this.endings.map(({ endMs }) => endMs));
  }

  get issuedLastMinute(): number {
    return this.#parts.held.issuedLastMinute;
  }

  /** Until the token of the CA ends, ms; undefined: there is none, or it does not end. */
  get tokenLeftMs(): number | undefined {
    const { backend, clock } = this.#parts;
    return backend.tokenEndsAtMs === undefined ? undefined : Math.max(0, backend.tokenEndsAtMs - clock());
  }
}

function inWords({ sinceMs, reason }: Failure): string {
  return `since ${new Date(sinceMs).toISOString()}: ${reason}`;
}
