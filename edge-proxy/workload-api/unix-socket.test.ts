import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { listenAtSocket } from './unix-socket.ts';

function directory(t: TestContext): string {
  const made = mkdtempSync(join(tmpdir(), 'slv-'));
  t.after(() => rmSync(made, { recursive: true }));
  return made;
}

async function listen(t: TestContext, path: string): Promise<() => Promise<void>> {
  const server: Server = createServer();
  const end = await listenAtSocket(server, { kind: 'path', path });
  t.after(() => server.close());
  return end;
}

const modeOf = (path: string) => statSync(path).mode & 0o777;

describe('a socket at a path', () => {
  test('is this user alone, whatever the umask; leaves nothing else; goes away at the end', async (t) => {
    const before = process.umask(0);
    t.after(() => process.umask(before));
    const at = directory(t);
    const path = join(at, 'web.sock');
    const end = await listen(t, path);
    assert.equal(modeOf(path), 0o600);
    assert.deepEqual(readdirSync(at), ['web.sock']);
    await end();
    assert.deepEqual(readdirSync(at), []);
  });

  test('is open to the group of a directory with the setgid bit', async (t) => {
    const at = join(directory(t), 'web');
    mkdirSync(at);
    chmodSync(at, 0o2750);
    await listen(t, join(at, 'web.sock'));
    assert.equal(modeOf(join(at, 'web.sock')), 0o660);
  });

  test('a missing directory is made for this user alone', async (t) => {
    const at = join(directory(t), 'web');
    await listen(t, join(at, 'web.sock'));
    assert.equal(modeOf(at), 0o700);
  });

  for (const [mode, what] of [
    [0o777, 'everybody'],
    [0o1777, 'everybody, sticky'],
    [0o770, 'its group'],
  ] as const)
    test(`a directory that ${what} can write is refused`, async (t) => {
      const at = directory(t);
      chmodSync(at, mode);
      await assert.rejects(listen(t, join(at, 'web.sock')), { code: 'SLV-1005', message: /writable by others/ });
      assert.deepEqual(readdirSync(at), []);
    });

  test('a directory in one that everybody can write, not sticky, is refused', async (t) => {
    const above = directory(t);
    chmodSync(above, 0o777);
    mkdirSync(join(above, 'web'), { mode: 0o700 });
    await assert.rejects(listen(t, join(above, 'web', 'web.sock')), { code: 'SLV-1005' });
  });

  test("a dead process' socket is replaced; a live one's is not", async (t) => {
    const path = join(directory(t), 'web.sock');
    const child = spawn(process.execPath, [
      '-e',
      `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.stdout.write('up'))`,
    ]);
    await new Promise((resolve) => child.stdout.once('data', resolve));
    await assert.rejects(listen(t, path), { code: 'SLV-1004', message: /another process serves/ });
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('exit', resolve));
    assert.ok(existsSync(path));
    const end = await listen(t, path);
    await end();
    assert.ok(!existsSync(path));
  });

  test("the end takes only what is its own: a successor's socket stays", async (t) => {
    const path = join(directory(t), 'web.sock');
    const end = await listen(t, path);
    rmSync(path);
    await listen(t, path);
    await end();
    assert.ok(existsSync(path));
  });

  test('a file in its place, a path that is too long', async (t) => {
    const path = join(directory(t), 'web.sock');
    writeFileSync(path, '');
    await assert.rejects(listen(t, path), { code: 'SLV-1004', message: /no socket/ });
    await assert.rejects(listen(t, join(directory(t), 'x'.repeat(90))), { code: 'SLV-1002' });
  });
});

test('a descriptor that is no listening UNIX socket is refused', async (t) => {
  const server = createServer();
  t.after(() => server.close());
  await assert.rejects(listenAtSocket(server, { kind: 'fd', fd: 0 }), { code: 'SLV-1004' });
  await assert.rejects(listenAtSocket(server, { kind: 'fd', fd: 999 }), { code: 'SLV-1004' });
});
