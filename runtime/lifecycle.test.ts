import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';

async function start(mode: string): Promise<{
  child: ChildProcessWithoutNullStreams;
  ended: Promise<{ code: number | null; out: string; err: string }>;
}> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'lifecycle.fixture.ts'), mode]);
  let out = '';
  let err = '';
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk.toString();
  });
  const up = new Promise<void>((resolve) => {
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
      if (out.includes('up')) resolve();
    });
  });
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, out, err }));
  await up;
  return { child, ended };
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`${signal} drains and ends with 0`, async () => {
    const { child, ended } = await start('plain');
    child.kill(signal);
    const { code, out, err } = await ended;
    assert.equal(code, 0);
    assert.match(out, /end/);
    assert.match(err, /draining[\s\S]*stopped/);
  });
}

test('one that is told to stop while it starts ends, whatever it had opened by then', async () => {
  const { child, ended } = await start('starting');
  child.kill('SIGTERM');
  const { code, err } = await ended;
  assert.equal(code, 0);
  assert.match(err, /draining[\s\S]*stopped before it served/);
});

test('a second signal ends it at once', async () => {
  const { child, ended } = await start('slow');
  child.stderr.once('data', () => child.kill('SIGTERM'));
  child.kill('SIGTERM');
  assert.equal((await ended).code, 1);
});

test('what does not drain within the grace period is ended', async () => {
  const { child, ended } = await start('slow');
  child.kill('SIGTERM');
  const { code, err } = await ended;
  assert.equal(code, 1);
  assert.match(err, /not drained within the grace period/);
});

test('one that was succeeded has ten minutes, but from a signal on no longer than any other; asked for a successor again it goes on', async () => {
  const { ended } = await start('succeeded');
  const { code, err } = await ended;
  assert.equal(code, 1);
  assert.match(err, /drains already/);
  assert.match(err, /"graceMs":100,"msg":"not drained within the grace period/);
});

test('a fault that nobody caught ends the process, with its reason and without a stack', async () => {
  const { ended } = await start('fault');
  const { code, err } = await ended;
  assert.equal(code, 1);
  assert.match(err, /a fault with a reason/);
  assert.doesNotMatch(err, /\bat .*\.ts:\d+/);
});
