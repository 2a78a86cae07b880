/** Waits `ms` milliseconds or until the signal aborts, whichever comes first; never rejects. Does not keep the process alive. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = (): void => {
    clearTimeout(timer);
    signal.removeEventListener('abort', done);
    resolve();
  };
  // What is left until a moment that is computed may be over by now; Node warns of less than nothing.
  const timer = setTimeout(done, Math.max(ms, 0));
  timer.unref();
  signal.addEventListener('abort', done);
  return promise;
}
