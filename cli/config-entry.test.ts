import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { startTestCatalog } from '#catalog/testing/running-catalog.ts';

const selvedge = join(import.meta.dirname, '..', 'bin', 'selvedge');

test('an entry by the command: stored, its writer told what it does not do; or refused, with the reason', async (t) => {
  const catalog = await startTestCatalog(t);
  const write = (entry: object) => {
    const { promise, resolve } = Promise.withResolvers<{ code: number; stderr: string }>();
    const child = execFile(selvedge, ['config-entry', 'write', '-', '--catalog', catalog.url], (_, __, stderr) =>
      resolve({ code: child.exitCode ?? -1, stderr }),
    );
    child.stdin?.end(JSON.stringify(entry));
    return promise;
  };
  const odd = (words: object) => ({ HTTP: { Incoming: { RequestNormalization: words } } });
  const [stored, refused] = await Promise.all([
    write({ Kind: 'mesh', TLS: { Incoming: { TLSMinVersion: 'TLSv1_3' } }, ...odd({ MergeSlashes: true }) }),
    write({ Kind: 'service-defaults', Name: 'db', ...odd({ InsecureDisablePathNormalization: true }) }),
  ]);
  assert.deepEqual(stored, {
    code: 0,
    stderr: 'warning: mesh mesh is stored; the proxies do not act on TLS\nmesh stored\n',
  });
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /InsecureDisablePathNormalization is not offered: .*KEEP_UNCHANGED/);
});
