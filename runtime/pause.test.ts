import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pause } from './pause.ts';

test('what is over already is no reason for a warning of Node', async (t) => {
  const warnings: string[] = [];
  const listener = ({ name }: Error): void => void warnings.push(name);
  process.on('warning', listener);
  t.after(() => process.off('warning', listener));
  // An unref'd timer alone would let the process end.
  const alive = setInterval(() => undefined, 1_000);
  t.after(() => clearInterval(alive));
  await pause(-0.2, new AbortController().signal);
  await pause(-5_000, new AbortController().signal);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(warnings, []);
});
