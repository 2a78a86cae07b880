/** Lets something happen later. Passed in, so that tests own time. */
export interface Timers {
  /** Runs `action` once, `ms` milliseconds from now. @returns what cancels it; calling that twice, or after it ran, does nothing */
  after(ms: number, action: () => void): () => void;
}

/** The longest wait of setTimeout: beyond it Node fires at once. */
const longestMs = 2 ** 31 - 1;

/** Real time. Does not keep the process alive. */
export const systemTimers: Timers = {
  after(ms, action) {
    const timer = setTimeout(action, Math.min(ms, longestMs)).unref();
    return () => clearTimeout(timer);
  },
};
