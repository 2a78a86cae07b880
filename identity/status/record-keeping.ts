import { pause as realPause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { IdentityAudit } from '../audit-events.ts';
import type { Presence } from '../presence.ts';
import type { Failure } from './service-health.ts';
import type { WitnessedStore } from './witnessed-store.ts';

/** How often it is written down that the service is here. */
const noteEveryMs = 60_000;
/** How often that is tried while nothing can be written down: so it is noticed that there is room again. */
const lookEveryMs = 5_000;

/** What is kept. */
export interface RecordKeepingParts {
  readonly store: Pick<WitnessedStore, 'failure'>;
  readonly audit: Pick<IdentityAudit, 'failure' | 'ready'>;
  readonly presence: Pick<Presence, 'note'>;
  readonly context: Pick<ProcessContext, 'log'>;
  /** How to wait; tests pass their own. */
  readonly pause?: typeof realPause;
}

/** Whether what the service does can be written down, in its store and in the audit log: what can't be is not done. */
export class RecordKeeping {
  readonly #parts: RecordKeepingParts;

  constructor(parts: RecordKeepingParts) {
    this.#parts = parts;
  }

  /** Why it can't be; empty: it can. */
  get failures(): readonly Failure[] {
    const { store, audit } = this.#parts;
    return [store.failure, audit.failure].filter((each) => each !== undefined);
  }

  /** Notes every minute that the service is here, and tries more often while nothing can be written down, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { presence, audit, context, pause = realPause } = this.#parts;
    let isTold = false;
    for (let waitedMs = lookEveryMs; ; waitedMs += lookEveryMs) {
      await pause(lookEveryMs, signal);
      if (signal.aborted) return;
      if (waitedMs < noteEveryMs && this.failures.length === 0) continue;
      waitedMs = 0;
      try {
        await presence.note();
        await audit.ready();
        isTold = false;
      } catch (err) {
        if (!isTold) context.log.warn({ err }, 'that the service is here could not be noted; trying again');
        isTold = true;
      }
    }
  }
}
