/**
 * The writer of durability.test.ts: `writers` writers put keys one after the other until killed or `count` are done; each acknowledgement is
 * one write(2) of "ack <key>\n" to standard output, done when the store's promise resolves.
 *
 * argv: path, round (names the keys), writers, count in all
 */
import { writeSync } from 'node:fs';
import { createLogger } from '#runtime/logging.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';

const [path = '', round = '', writers = '1', count = '1'] = process.argv.slice(2);
const store = await openSqliteStore({ path, clock: Date.now, log: createLogger({ process: 'writer' }) });
let next = 0;

async function write(): Promise<void> {
  while (next < Number(count)) {
    const key = `<${round}.${next++}>`;
    await store.put(key, Buffer.from(`value of ${key}`));
    say(`ack ${key}\n`);
  }
}

/** The pipe does not block: while its reader has not come to reading, a few hundred lines fill it. */
function say(line: string): void {
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    try {
      writeSync(1, line);
      return;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
      Atomics.wait(sleeper, 0, 0, 1);
    }
  }
}

await Promise.all(Array.from({ length: Number(writers) }, write));
await store.close();
