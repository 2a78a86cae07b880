import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('fuzz.ts', import.meta.url));

test('no damaged input makes a reader crash, throw what is not declared, hang, or take memory without bound', () => {
  // As `npm run fuzz` does it: of the heap, the libraries that are loaded take about half.
  const args = ['--max-old-space-size=96', script, '--rounds', '120', '--seed', '20261123'];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  assert.equal(status, 0, `${stdout}\n${stderr}`);
  assert.match(stdout, /^\d{5,} inputs, slowest/m);
});
