import { readFileSync } from 'node:fs';

/**
 * Loaded into a process of a test by `NODE_OPTIONS=--import`: its wall clock is off by the milliseconds that stand in the file `TEST_CLOCK_OFFSET_FILE`
 * names, and follows that file. Monotonic time and timers stay as they are, as they do when a real clock is set, or a machine wakes from suspend (CLOCK_MONOTONIC stops
 * there). So real processes travel in time, and the product knows nothing of it.
 */
const path = process.env['TEST_CLOCK_OFFSET_FILE'];
if (path !== undefined) {
  const RealDate = Date;
  let offsetMs = 0;
  const look = (): void => {
    try {
      offsetMs = Number(readFileSync(path, 'utf8'));
    } catch {
      // It is being replaced, or not there yet: the last one holds.
    }
  };
  look();
  setInterval(look, 20).unref();
  const now = (): number => RealDate.now() + offsetMs;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, given, newTarget) => Reflect.construct(target, given.length === 0 ? [now()] : given, newTarget),
    apply: () => new RealDate(now()).toString(),
    get: (target, name) => (name === 'now' ? now : Reflect.get(target, name, target)),
  });
}
