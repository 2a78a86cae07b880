import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

test('a disk that is really full: nothing is lost, the reason has a code, and with space again everything goes on by itself', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-full-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const mount = ['--user', '--map-root-user', '--mount', 'sh', '-c'];
  const script = 'mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@"';
  const probe = spawnSync('unshare', [...mount, script, directory, 'true']);
  if (probe.status !== 0) return t.skip('no right to mount a small file system (unshare --user --mount)');
  const child = new URL('./full-disk.fixture.ts', import.meta.url).pathname;
  const run = spawnSync('unshare', [...mount, script, directory, process.execPath, child, directory], {
    encoding: 'utf8',
    timeout: 120_000,
  });
  assert.deepEqual(
    run.stdout.trim().split('\n'),
    [
      'rotate: 500 SLV-1005, journal as before: true',
      'join token: 507 SLV-3504, health: failing SLV-3504',
      'status: 200, bundle: 200',
      'half-written files: 0',
      'freed, join token: 200, rotate: 200',
      'started anew, the root is kept: true, status: 200',
      'prepare: SLV-1005, as before: true, then: prepared',
      'publish: SLV-1005, as before: true, then: published',
      'see: SLV-1005, as before: true, then: seen',
      'activate: SLV-1005, as before: true, then: activated',
      'retire: SLV-1005, as before: true, then: idle',
    ],
    run.stderr,
  );
});
