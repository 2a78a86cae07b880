import type { Logger } from './logging.ts';

/** A running process, as its composition root hands it over. */
export interface Running {
  /** Drains and stops. Work in flight gets up to `graceMs`. After `succeeded` another process has taken its place already. */
  close(graceMs: number, succeeded?: boolean): Promise<void>;
  /** Closing already, and now it is to be quick: what is still under way gets up to `graceMs` from here on. */
  hasten?(graceMs: number): void;
}

/**
 * Starts the process that is to take this one's place, on SIGUSR2. Resolves once it serves; rejects when it does not, and then nothing has changed.
 */
export type StartSuccessor<R extends Running> = (running: R) => Promise<void>;

/** How long a stop may take before the process ends all the same. Linkerd's and Kubernetes' customs lie at 30 to 120 s; ours is the former. */
export const defaultGraceMs = 30_000;
/** How long a process that was succeeded may stay for what is under way. */
const succeededGraceMs = 600_000;

/**
 * Starts a process and keeps it until SIGTERM or SIGINT, then drains it. A second signal, or the end of the grace period, ends it at once. One that was succeeded has longer, but no longer than
 * others once a signal comes.
 * Sets `process.exitCode`; the event loop ends by itself when all is closed.
 *
 * @param start gets a signal that aborts when the process is to stop, also while still starting
 */
export async function runUntilSignal<R extends Running>(
  log: Logger,
  start: (signal: AbortSignal) => Promise<R>,
  graceMs: number = defaultGraceMs,
  startSuccessor?: StartSuccessor<R>,
): Promise<void> {
  const stopping = new AbortController();
  const { promise: asked, resolve: ask } = Promise.withResolvers<'stop' | 'succeeded'>();
  let signals = 0;
  let isStarting = true;
  let hasten: (() => void) | undefined;
  let deadline: NodeJS.Timeout | undefined;
  const endAfter = (patienceMs: number): void => {
    clearTimeout(deadline);
    deadline = setTimeout(() => {
      log.error({ graceMs: patienceMs }, 'not drained within the grace period: stopping at once');
      process.exit(1);
    }, patienceMs + 1_000).unref();
  };
  const onSignal = (name: NodeJS.Signals): void => {
    signals += 1;
    if (signals > 1) {
      log.warn({ signal: name }, 'second signal: stopping at once');
      process.exit(1);
    }
    log.info({ signal: name }, 'draining');
    stopping.abort(new Error(`stopped by ${name}`));
    ask('stop');
    if (isStarting) endAfter(graceMs);
    hasten?.();
  };
  let handingOver = false;
  const handOver = async (running: R, startIt: StartSuccessor<R>): Promise<void> => {
    if (handingOver || stopping.signal.aborted) return;
    handingOver = true;
    try {
      log.info('handing over to a successor');
      await startIt(running);
      ask('succeeded');
    } catch (err) {
      log.error({ err }, 'no successor: going on');
    } finally {
      handingOver = false;
    }
  };
  // From the beginning on: who hears that it serves may ask at once, and unheard this signal ends the process.
  let serving: R | undefined;
  let askedEarly = false;
  let leaving = false;
  const onHandOver = (): void => {
    if (startSuccessor === undefined) return;
    // Heard all the same: unheard it would end what is still under way, and who asks for an upgrade with `pkill -USR2` asks both.
    if (leaving) log.info('drains already, and hands nothing over');
    else if (serving === undefined) askedEarly = true;
    else void handOver(serving, startSuccessor);
  };
  if (startSuccessor !== undefined) process.on('SIGUSR2', onHandOver);
  // A fault of ours that nobody caught: said without a stack, and the process ends, for its supervisor to start it afresh in a known state.
  const onFault = (error: unknown): void => {
    log.fatal({ err: error }, 'internal error: stopping');
    process.exit(1);
  };
  process.on('uncaughtException', onFault);
  process.on('unhandledRejection', onFault);
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  // It lives until it is told to stop: while it waits for its turn, or before another try, there may be nothing else that keeps it, and Node would end it (exit code 13).
  const alive = setInterval(() => undefined, 60_000);
  try {
    const running = await start(stopping.signal);
    isStarting = false;
    serving = running;
    if (askedEarly) onHandOver();
    const succeeded = (await asked) === 'succeeded';
    leaving = true;
    const patienceMs = succeeded ? succeededGraceMs : graceMs;
    endAfter(patienceMs);
    if (succeeded) {
      hasten = () => {
        endAfter(graceMs);
        running.hasten?.(graceMs);
      };
    }
    await running.close(patienceMs, succeeded);
    clearTimeout(deadline);
    log.info('stopped');
  } catch (error) {
    if (!stopping.signal.aborted) throw error;
    if (!isStarting) {
      log.error({ err: error }, 'not everything was closed');
      return;
    }
    // What it had opened by then (a store, a lock on a data directory) must not keep it, deaf to further signals.
    log.info({ err: error }, 'stopped before it served');
    process.exit(0);
  } finally {
    clearInterval(alive);
    process.off('uncaughtException', onFault);
    process.off('unhandledRejection', onFault);
    process.off('SIGTERM', onSignal);
    process.off('SIGINT', onSignal);
    process.off('SIGUSR2', onHandOver);
  }
}
