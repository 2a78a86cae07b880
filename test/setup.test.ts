import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

/** A checkout with an npm that only tells that it was called. @returns runs bin/setup: whether it installed */
function makeCheckout(directory: string): () => boolean {
  for (const folder of ['bin', 'tools', 'node_modules']) mkdirSync(join(directory, folder));
  copyFileSync(new URL('../bin/setup', import.meta.url), join(directory, 'bin/setup'));
  const npm = join(directory, 'tools/npm');
  writeFileSync(npm, '#!/bin/sh\ntouch called\n');
  chmodSync(npm, 0o755);
  writeFileSync(join(directory, 'package-lock.json'), '{}');
  const called = join(directory, 'called');
  return () => {
    rmSync(called, { force: true });
    const env = { ...process.env, PATH: `${join(directory, 'tools')}:${process.env['PATH']}` };
    const run = spawnSync('sh', [join(directory, 'bin/setup')], { env, encoding: 'utf8' });
    assert.equal(run.status, 0, run.stderr);
    return existsSync(called);
  };
}

test('bin/setup installs once for each lock file, and not over an npm ci that was done by hand', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-setup-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const installs = makeCheckout(directory);
  const lock = join(directory, 'package-lock.json');
  const installed = join(directory, 'node_modules/.package-lock.json');
  writeFileSync(installed, '{}');
  utimesSync(installed, 1_000, 1_000);
  assert.equal(installs(), true, 'what is installed is of an older lock file');
  assert.equal(installs(), false);
  writeFileSync(lock, '{"changed": true}');
  assert.equal(installs(), true);
  rmSync(join(directory, 'node_modules/.selvedge-lock'));
  utimesSync(lock, 500, 500);
  assert.equal(installs(), false, 'by hand');
  writeFileSync(lock, '{"changed": "again"}');
  assert.equal(installs(), true);
});

test('without a Node of its own bin/node looks for one on the PATH, and never finds itself', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-setup-'));
  t.after(() => rmSync(directory, { recursive: true }));
  mkdirSync(join(directory, 'bin'));
  const script = join(directory, 'bin/node');
  copyFileSync(new URL('../bin/node', import.meta.url), script);
  chmodSync(script, 0o755);
  // `timeout` ends all that was started: a script that starts itself does so without end.
  const run = (path: string) =>
    spawnSync('timeout', ['-s', 'KILL', '60', script, '-p', '40 + 2'], { env: { PATH: path }, encoding: 'utf8' });
  const other = run(`${join(directory, 'bin')}:/usr/bin:/bin`);
  assert.match(other.stdout + other.stderr, /^42$|Node 26 or newer is needed/m);
  const found = run(`${join(directory, 'bin')}:${dirname(process.execPath)}:/usr/bin:/bin`);
  assert.equal(found.stdout, '42\n', found.stderr);
});

test('the first start of an edge proxy of a version compiles in a process of its own, if what it compiles can be kept', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-setup-'));
  t.after(() => rmSync(directory, { recursive: true }));
  for (const folder of ['bin', 'cli', 'edge-proxy']) mkdirSync(join(directory, folder));
  const manifest = join(directory, 'package.json');
  writeFileSync(manifest, '{}');
  copyFileSync(new URL('../bin/selvedge', import.meta.url), join(directory, 'bin/selvedge'));
  // A Node that only tells what it was to do, and whether it would take the channel to the process that it succeeds for its own.
  const node = join(directory, 'bin/node');
  writeFileSync(node, '#!/bin/sh\necho "channel:$NODE_CHANNEL_FD $*" >&2\n');
  chmodSync(node, 0o755);
  const starts = (cache: string): string[] => {
    const env = { ...process.env, NODE_COMPILE_CACHE: join(directory, cache), NODE_CHANNEL_FD: '3' };
    const run = spawnSync('sh', [join(directory, 'bin/selvedge'), 'serve', 'edge-proxy', '--service', 'web'], {
      env,
      encoding: 'utf8',
    });
    assert.equal(run.status, 0, run.stderr);
    return run.stderr.trim().split('\n');
  };
  const [apart, itself, ...more] = starts('cache');
  assert.match(apart ?? '', /^channel: .*--import \S+edge-proxy\/main\.ts .*serve edge-proxy --help$/);
  assert.match(itself ?? '', /^channel:3 .*cli\/main\.ts serve edge-proxy --service web$/);
  assert.deepEqual(more, []);
  assert.deepEqual(starts('cache'), [itself]);
  utimesSync(manifest, Date.now() / 1_000 + 60, Date.now() / 1_000 + 60);
  assert.deepEqual(starts('cache'), [apart, itself], 'another version');
  assert.deepEqual(starts('package.json/is-no-directory'), [itself], 'nothing can be kept there');
});
