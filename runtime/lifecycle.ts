import type { Logger } from './logging.ts';

/** A running process, as its composition root hands it over. */
export interface Running {
  /** Drains and stops. Work in flight gets up to `graceMs`. */
  close(graceMs: number): Promise<void>;
}

/** How long a stop may take before the process ends all the same. Linkerd's and Kubernetes' customs lie at 30 to 120 s; ours is the former. */
export const defaultGraceMs = 30_000;

/**
 * Starts a process and keeps it until SIGTERM or SIGINT, then drains it. A second signal, or the end of the grace period, ends it at once.
 * Sets `process.exitCode`; the event loop ends by itself when all is closed.
 *
 * @param start gets a signal that aborts when the process is to stop, also while still starting
 */
export async function runUntilSignal(
  log: Logger,
  start: (signal: AbortSignal) => Promise<Running>,
  graceMs: number = defaultGraceMs,
): Promise<void> {
  const stopping = new AbortController();
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
  let signals = 0;
  const onSignal = (name: NodeJS.Signals): void => {
    signals += 1;
    if (signals > 1) {
      log.warn({ signal: name }, 'second signal: stopping at once');
      process.exit(1);
    }
    log.info({ signal: name }, 'draining');
    stopping.abort(new Error(`stopped by ${name}`));
    ask();
  };
  // A fault of ours that nobody caught: said without a stack, and the process ends, for its supervisor to start it afresh in a known state.
  const onFault = (error: unknown): void => {
    log.fatal({ err: error }, 'internal error: stopping');
    process.exit(1);
  };
  process.on('uncaughtException', onFault);
  process.on('unhandledRejection', onFault);
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  try {
    const running = await start(stopping.signal);
    await asked;
    const deadline = setTimeout(() => {
      log.error({ graceMs }, 'not drained within the grace period: stopping at once');
      process.exit(1);
    }, graceMs + 1_000);
    deadline.unref();
    await running.close(graceMs);
    clearTimeout(deadline);
    log.info('stopped');
  } catch (error) {
    if (!stopping.signal.aborted) throw error;
  } finally {
    process.off('uncaughtException', onFault);
    process.off('unhandledRejection', onFault);
    process.off('SIGTERM', onSignal);
    process.off('SIGINT', onSignal);
  }
}
