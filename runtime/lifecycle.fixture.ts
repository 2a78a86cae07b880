import { runUntilSignal } from './lifecycle.ts';
import { createLogger } from './logging.ts';

// A process for lifecycle.test.ts: `slow` never finishes closing, `fault` throws where nobody catches.
const mode = process.argv[2];
const log = createLogger({ process: 'test' });
await runUntilSignal(
  log,
  async () => {
    const timer = setInterval(() => {}, 1_000);
    process.stdout.write('up\n');
    if (mode === 'fault')
      setImmediate(() => {
        throw new Error('a fault with a reason');
      });
    return {
      close: () => (mode === 'slow' ? new Promise<void>(() => {}) : Promise.resolve(clearInterval(timer))),
    };
  },
  100,
);
process.stdout.write('end\n');
