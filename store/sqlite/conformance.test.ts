import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { createLogger } from '#runtime/logging.ts';
import { type StoreUnderTest, storeConformance } from '../conformance.ts';
import { openSqliteStore } from './sqlite-store.ts';

const log = createLogger({ process: 'test', level: 'silent' });
const directory = await mkdtemp(join(tmpdir(), 'selvedge-store-'));
let files = 0;
after(() => rm(directory, { recursive: true }));

async function open(path: string | undefined): Promise<StoreUnderTest> {
  let nowMs = 1_000_000;
  const store = await openSqliteStore({ path, clock: () => nowMs, log });
  return {
    store,
    leaseMs: 60_000,
    modelRuns: 60,
    async passTime(ms) {
      nowMs += ms;
      // Longer than the sweep of the leases, so that "did not expire" is shown and not merely not yet seen.
      await wait(150);
    },
  };
}

storeConformance('sqlite on disk', () => open(join(directory, `store-${++files}.db`)));
storeConformance('sqlite in memory', () => open(undefined));
