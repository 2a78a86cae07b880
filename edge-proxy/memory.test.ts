import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

/** What bin/selvedge tells Node for an edge proxy. */
const settings = /'serve edge-proxy'\)\s+memory='([^']+)'/
  .exec(readFileSync(new URL('../bin/selvedge', import.meta.url), 'utf8'))?.[1]
  ?.split(' ');

/** The bit of V8's OptimizationStatus is kOptimized: by either compiler. */
const program = `
  const { endStart } = await import(${JSON.stringify(new URL('./memory.ts', import.meta.url).href)});
  const hot = (times) => { let sum = 0; for (let at = 0; at < times; at++) sum = (sum * 31 + at) | 0; return sum; };
  const isOptimised = () => (%GetOptimizationStatus(hot) & 8) !== 0;
  for (let round = 0; round < 300; round++) hot(5_000);
  const before = isOptimised();
  endStart();
  const deadline = Date.now() + 20_000;
  while (!isOptimised() && Date.now() < deadline) hot(10_000);
  process.stdout.write(JSON.stringify({ before, after: isOptimised() }));
`;

test('V8 optimises nothing before an edge proxy serves, and then what is called often', () => {
  assert.ok(settings);
  const run = spawnSync(process.execPath, [
    ...settings,
    ...['--allow-natives-syntax', '--disable-warning=ExperimentalWarning', '--input-type=module', '--eval', program],
  ]);
  assert.equal(run.stdout.toString(), '{"before":false,"after":true}', run.stderr.toString());
});
