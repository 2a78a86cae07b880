/** Waits `ms` milliseconds or until the signal aborts, whichever comes first; never rejects. Does not keep the process alive. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = (): void => {
    clearTimeout(timer);
    signal.removeEventListener('abort', done);
    resolve();
  };
  const timer = setTimeout(done, ms);
  timer.unref();
  signal.addEventListener('abort', done);
  return promise;
}
