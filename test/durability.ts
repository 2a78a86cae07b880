import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { dice } from './fuzz/mutate.ts';
import { killLoop } from './kill-loop.ts';
import { traceSyncs } from './sync-trace.ts';
import { acknowledgements, unsyncedAcknowledgements } from './system-call-trace.ts';

/*
 * `npm run test:durability -- --kills 100`: a catalog is killed with -9 under writes, again and again, and has what it acknowledged; and a trace of its store's
 * system calls, in groups of all sizes, has a sync before each acknowledgement. Short runs are part of the tests (catalog/crash.test.ts, durability.test.ts).
 */

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000_007) },
  },
});
const roll = dice(Number(values.seed));
const say = (words: string): void =>
  void process.stdout.write(`${(performance.now() / 1_000).toFixed(1)} s: ${words}\n`);
const directory = await mkdtemp(join(tmpdir(), 'selvedge-durability-'));
try {
  say(`seed ${values.seed}`);
  for (const writers of [1, 4, 16, 64]) {
    const trace = traceSyncs(directory, writers, 640);
    const acknowledged = acknowledgements(trace).length;
    const unsynced = unsyncedAcknowledgements(trace);
    if (acknowledged !== 640 || unsynced.length > 0)
      throw new Error(
        `${writers} writers: ${acknowledged} of 640 acknowledged, before their sync: ${unsynced.join(' ')}`,
      );
    const syncs = trace.filter(({ name, file }) => name.endsWith('sync') && file.endsWith('-wal')).length;
    say(`${writers} writers: 640 writes, each synced before it was acknowledged; ${syncs} syncs`);
  }
  const random = (): number => roll(2 ** 30) / 2 ** 30;
  const result = await killLoop(Number(values.kills), directory, { random, say });
  say(
    `killed ${values.kills} times: ${result.acknowledged} writes acknowledged, none lost; ${result.unanswered} without an answer; ${result.auditLines} lines of the audit log verify`,
  );
} finally {
  await rm(directory, { recursive: true, force: true });
}
