import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findBao } from '#test/bao.ts';
import { createProcessGroup } from '../processes.ts';
import { rowsOf } from '../report.ts';
import { runHerdCase } from './herd-case.ts';
import { identitySuite } from './suite.ts';
import { openBenchVault } from './vault.ts';

/*
 * The suite in small, so that it works when it is wanted, and what must hold at any size: proxies that start at one moment are all served, however few may
 * join at once, and nobody logs an error.
 */

const directory = mkdtempSync(join(tmpdir(), 'selvedge-bench-test-'));
const world = {
  checkout: dirname(dirname(dirname(fileURLToPath(import.meta.url)))),
  processes: createProcessGroup(directory),
};
after(async () => {
  await world.processes.stopAll();
  rmSync(directory, { recursive: true, force: true });
});
const { skip } = await findBao();

test('100 proxies that start at once are all served', async () => {
  const { servedAfterMs, limited, flaws } = await runHerdCase(world, { proxies: 100, rates: 'one-host' });
  assert.deepEqual(flaws, []);
  assert.equal(servedAfterMs.length, 100);
  assert.equal(limited, 0);
});

test('30 that start where ten a second are let in are told to come back, and are all served', async () => {
  const { servedAfterMs, limited, retries, flaws } = await runHerdCase(world, { proxies: 30, rates: 'scarce' });
  assert.deepEqual(flaws, []);
  assert.equal(servedAfterMs.length, 30);
  assert.ok(limited > 0 && retries > 0, `${limited} were limited, ${retries} tried again`);
});

test('100 are all served by Vault, and it logs no error', { skip }, async () => {
  await using vault = await openBenchVault(directory, 'bench.selvedge');
  const { servedAfterMs, flaws } = await runHerdCase(world, { proxies: 100, rates: 'one-host', vault });
  assert.deepEqual(flaws, []);
  assert.equal(servedAfterMs.length, 100);
});

test('the suite measures leaves against OpenBao', { skip }, async () => {
  const cases = ['embedded-1', 'core'];
  const options = { rounds: 1, seconds: 1, cases, subjects: ['selvedge', 'openbao'], tell: () => undefined, ...world };
  const { samples, failures, missing } = await identitySuite.run(options);
  assert.deepEqual([failures, missing], [[], []]);
  const rates = rowsOf('identity', samples).filter(({ metric }) => metric === 'leaves/s');
  assert.deepEqual(
    rates.map((row) => [row.case, row.subject, row.value > 0, row.ratioToBest !== null]),
    cases.flatMap((name) => [
      [name, 'selvedge', true, true],
      [name, 'openbao', true, false],
    ]),
  );
});
