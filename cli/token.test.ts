import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { startTestCatalog } from '#catalog/testing/running-catalog.ts';

const selvedge = join(import.meta.dirname, '..', 'bin', 'selvedge');

test('a token from its making to its end, by the command', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'selvedge-cli-token-'));
  t.after(() => rm(dir, { recursive: true }));
  const catalog = await startTestCatalog(t, { open: false, dataDir: dir });
  const editorFile = join(dir, 'editor.token');
  const run = (tokenFile: string | undefined, ...args: readonly string[]) => {
    const { promise, resolve } = Promise.withResolvers<{ code: number; stdout: string; stderr: string }>();
    const file = tokenFile === undefined ? [] : ['--token-file', tokenFile];
    const child = execFile(selvedge, [...args, '--catalog', catalog.url, ...file], (_, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    );
    return promise;
  };
  const operator = catalog.operatorTokenPath;

  const made = await run(
    operator,
    ...['token', 'create', '--role', 'intentions:billing-*', '--role', 'service:web', '--expires-after', '30d'],
  );
  assert.equal(made.code, 0, made.stderr);
  assert.match(made.stdout, /^slvt_[0-9a-f]{32}_[\w-]{43}\n$/);
  const [, accessor = ''] =
    /^token ([0-9a-f-]{36}): intentions:billing-\*, service:web; good until 20/.exec(made.stderr) ?? [];
  await writeFile(editorFile, made.stdout, { mode: 0o600 });

  const [allowed, refused, listed, shown] = await Promise.all([
    run(editorFile, 'intention', 'create', 'web', 'billing-api', '--allow'),
    run(editorFile, 'intention', 'create', 'web', '*', '--allow'),
    run(operator, 'token', 'list'),
    run(operator, 'token', 'show', accessor),
  ]);
  assert.equal(allowed.code, 0, allowed.stderr);
  assert.equal(refused.code, 4);
  assert.match(refused.stderr, new RegExp(`token ${accessor} may not write intentions to \\*`));
  assert.match(listed.stdout, new RegExp(`^ACCESSOR .*\\n${accessor}  intentions:billing-\\*,service:web  20`));
  assert.equal(JSON.parse(shown.stdout).createdBy, 'operator');
  assert.equal(`${listed.stdout}${shown.stdout}`.includes(made.stdout.trim().slice(-43)), false);

  const revoked = await run(operator, 'token', 'revoke', accessor);
  assert.deepEqual([revoked.code, revoked.stderr], [0, `token ${accessor} revoked\n`]);
  const [after, twice] = await Promise.all([
    run(editorFile, 'intention', 'list'),
    run(operator, 'token', 'revoke', accessor),
  ]);
  assert.deepEqual([after.code, twice.code], [4, 3]);
  assert.match(twice.stderr, /SLV-3008/);
});
