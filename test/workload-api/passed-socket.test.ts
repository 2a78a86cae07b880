import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Child } from '../child.ts';
import { whyNoGo } from '../go-program.ts';
import { MeshProcesses } from '../mesh-processes.ts';
import { buildGoWorkload, GoWorkload } from './go-workload.ts';

/** What systemd does for a .socket unit: makes the socket with its owner and mode, and passes it on as descriptor 3. */
const passOn = `
import os, socket, sys
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()
os.dup2(s.fileno(), 3); os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])`;

const noPython = spawnSync('python3', ['--version']).status === 0 ? undefined : 'python3 is not installed';
const missing = (await whyNoGo()) ?? noPython;
const skip = missing !== undefined && process.env['CI'] !== 'true' ? missing : false;

test('a socket that was passed on, as systemd does', { skip }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'slv-'));
  const mesh = new MeshProcesses(directory);
  t.after(async () => {
    await mesh.end();
    rmSync(directory, { recursive: true });
  });
  await mesh.startIdentity();
  const token = mesh.path('web.join-token');
  await mesh.joinTokenFile('web', token);
  const path = mesh.path('web.sock');
  const selvedge = join(import.meta.dirname, '..', '..', 'bin', 'selvedge');
  const flags = ['--service', 'web', '--workload-api-socket', 'fd:3', '--admin-addr', '127.0.0.1:0'];
  const joining = ['--identity', mesh.identityUrl, '--join-token-file', token, '--ca-pin', mesh.pin];
  const command = [selvedge, 'serve', 'edge-proxy', ...flags, ...joining, '--listen', '127.0.0.1:0'];
  const proxy = new Child('web', 'python3', ['-c', passOn, path, ...command], directory);
  t.after(() => proxy.end());
  await proxy.fact('admin');
  const web = new GoWorkload(await buildGoWorkload(), path);
  t.after(() => web.stop());
  assert.match(await web.line(/^svid /), /svc\/web /);
  await proxy.end();
  assert.ok(existsSync(path)); // the socket is its maker's
});
