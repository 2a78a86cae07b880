/**
 * Waits for a condition, looking every 20 ms. A condition that throws is not fulfilled yet.
 *
 * @param timeoutMs default: long for a busy machine, short of the time-out of a call (15 s), which might bring about what is waited for
 * @throws Error with what was waited for, and the last reason, when the deadline passes
 */
export async function waitFor<T>(
  what: string,
  condition: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 10_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let reason = '';
  for (;;) {
    try {
      const value = await condition();
      if (value !== undefined && value !== false) return value;
    } catch (error) {
      reason = `: ${error instanceof Error ? error.message : String(error)}`;
    }
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain for ${what}${reason}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
