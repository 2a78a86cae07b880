import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { findH2spec } from './find-h2spec.ts';

const h2spec = await findH2spec();
const missing = h2spec.path === undefined ? h2spec.reason : false;

test('h2spec: every case, strict', { skip: process.env['CI'] === 'true' ? false : missing }, async () => {
  assert.ok(h2spec.path !== undefined, String(missing));
  const server = spawn(process.execPath, [join(import.meta.dirname, 'server.ts')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [line] = await once(server.stdout, 'data');
    const port = String(line).trim();
    const { stdout } = await promisify(execFile)(h2spec.path, ['-h', '127.0.0.1', '-p', port, '--strict', '-o', '2'], {
      timeout: 120_000,
    });
    assert.match(stdout, /14\d tests, 14\d passed, 0 skipped, 0 failed/);
  } finally {
    server.kill();
    await once(server, 'exit');
  }
});
