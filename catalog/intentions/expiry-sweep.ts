import { isExpired } from '#policies/intention-expiry.ts';
import type { CatalogParts } from '../parts.ts';
import { planIntentionEnd } from './plan.ts';

/** How often is looked for what has expired: so long may it still be listed, without effect. */
const everyMs = 1_000;

/**
 * Deletes intentions that have expired. Proxies and catalog judge by the clock and need no sweep; it is for whoever reads the list, Consul's clients among them,
 * whose forms have no end of an intention. Several catalogs over one store may meet in it: the second finds nothing to do.
 */
export class ExpirySweep {
  readonly #parts: Pick<CatalogParts, 'state' | 'writer' | 'context'>;
  readonly #timer: NodeJS.Timeout;
  #sweeping: Promise<void> | undefined;
  #failed = false;

  constructor(parts: Pick<CatalogParts, 'state' | 'writer' | 'context'>) {
    this.#parts = parts;
    this.#timer = setInterval(() => {
      this.#sweeping ??= this.#sweep().finally(() => {
        this.#sweeping = undefined;
      });
    }, everyMs).unref();
  }

  /** Resolves when nothing is being swept any more. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#sweeping;
  }

  async #sweep(): Promise<void> {
    const { state, writer, context } = this.#parts;
    const nowMs = context.clock();
    for (const destination of state.intentions.destinationsWithExpired(nowMs)) {
      const change = { by: 'catalog', how: 'expired', nowMs } as const;
      try {
        await writer.commit(() => planIntentionEnd(state, destination, change, (one) => isExpired(one, nowMs)));
        context.log.info({ destination }, 'expired intentions deleted');
        this.#failed = false;
      } catch (error) {
        // They have no effect in any case; told once, tried again every second.
        if (!this.#failed) context.log.warn({ err: error, destination }, 'expired intentions not deleted');
        this.#failed = true;
        return;
      }
    }
  }
}
