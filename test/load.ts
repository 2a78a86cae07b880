/** What came of calls made one after the other on several lines. */
export interface LoadResult {
  readonly calls: number;
  /** Each call that went wrong, in words. */
  readonly failures: readonly string[];
}

/** Load that runs until it is stopped, or its scope is left. */
export interface Load extends AsyncDisposable {
  readonly calls: () => number;
  readonly failures: () => readonly string[];
  stop(): Promise<LoadResult>;
}

/**
 * Calls without a pause, on several lines at once, until stopped.
 *
 * @param call makes one call. @returns what went wrong, in words; undefined: it went well
 */
export function startLoad(call: () => Promise<string | undefined>, lines = 4): Load {
  let calls = 0;
  let stopped = false;
  const failures: string[] = [];
  const line = async (): Promise<void> => {
    while (!stopped) {
      const failure = await call().catch((error: unknown) => String(error));
      calls += 1;
      if (failure !== undefined && failures.length < 1_000) failures.push(failure);
    }
  };
  const running = Array.from({ length: lines }, line);
  const stop = async (): Promise<LoadResult> => {
    stopped = true;
    await Promise.all(running);
    return { calls, failures };
  };
  return {
    calls: () => calls,
    failures: () => failures,
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
    },
  };
}
