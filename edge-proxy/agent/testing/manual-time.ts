import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Timers } from '../timers.ts';

/** Time that stands until a test moves it. */
export class ManualTime implements Timers {
  nowMs = 1_000_000;
  readonly #waiting = new Set<{ readonly atMs: number; readonly action: () => void }>();

  after(ms: number, action: () => void): () => void {
    const entry = { atMs: this.nowMs + ms, action };
    this.#waiting.add(entry);
    return () => this.#waiting.delete(entry);
  }

  /** Lets `ms` pass: everything that is due runs in its order, with what it starts. */
  async pass(ms: number): Promise<void> {
    const end = this.nowMs + ms;
    for (;;) {
      const due = [...this.#waiting].filter((entry) => entry.atMs <= end).sort((a, b) => a.atMs - b.atMs);
      const [next] = due;
      if (next === undefined) break;
      this.#waiting.delete(next);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.action();
      await nextTurn();
    }
    this.nowMs = end;
  }
}

/** Lets time pass in steps until a promise, which real sockets hold up too, has settled. */
export async function passUntil<T>(time: ManualTime, stepMs: number, promise: Promise<T>): Promise<T> {
  let settled = false;
  const noted = promise.finally(() => {
    settled = true;
  });
  await until(
    async () => {
      if (!settled) await time.pass(stepMs);
      return settled;
    },
    (done) => done,
  );
  return noted;
}

/** Waits for something that real sockets bring about. Fails after twenty seconds with what is there instead. */
export async function until<T>(read: () => T | Promise<T>, wanted: (value: T) => boolean): Promise<T> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const value = await read();
    if (wanted(value)) return value;
    if (performance.now() > deadline) assert.fail(`still ${JSON.stringify(value)} after twenty seconds`);
    await nextTurn();
  }
}
