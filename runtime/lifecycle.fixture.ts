import { runUntilSignal } from './lifecycle.ts';
import { createLogger } from './logging.ts';

/*
 * A process for lifecycle.test.ts, which opens nothing that would keep it alive: until it is told to stop it lives all the same. `slow` never finishes closing. Nor does `succeeded`, which is asked for a successor while it still starts, has one at once, and is asked for another and told to stop while it closes.
 * `fault` throws where nobody catches. `starting` is never up, and leaves what it has opened when it is told to stop.
 */
const mode = process.argv[2];
const log = createLogger({ process: 'test' });
await runUntilSignal(
  log,
  async (signal) => {
    process.stdout.write('up\n');
    if (mode === 'starting')
      await new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    if (mode === 'fault')
      setImmediate(() => {
        throw new Error('a fault with a reason');
      });
    if (mode === 'succeeded') process.kill(process.pid, 'SIGUSR2');
    return {
      async close() {
        if (mode === 'succeeded') for (const signal of ['SIGUSR2', 'SIGTERM']) process.kill(process.pid, signal);
        if (mode === 'slow' || mode === 'succeeded') await new Promise<never>(() => {});
      },
    };
  },
  100,
  mode === 'succeeded' ? () => Promise.resolve() : undefined,
);
process.stdout.write('end\n');
