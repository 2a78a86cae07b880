import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { createFileOnceSync, ensurePrivateDirectory, readFileBounded, writeFileAtomic } from './atomic-file.ts';
import { loadOrCreateOperatorToken } from './operator-token.ts';

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'selvedge-'));
});
after(() => rm(directory, { recursive: true }));
const unusable = (error: unknown) => isMeshError(error, 'SLV-1005');

test('replaces whole files, 0600, and leaves nothing beside them', async () => {
  const path = join(directory, 'a', 'file');
  await ensurePrivateDirectory(join(directory, 'a'));
  await writeFileAtomic(path, 'one');
  await writeFileAtomic(path, Buffer.from('two'));
  assert.equal(await readFile(path, 'utf8'), 'two');
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.equal((await stat(join(directory, 'a'))).mode & 0o777, 0o700);
  assert.deepEqual(await readdir(join(directory, 'a')), ['file']);
});

test('a write that fails leaves the old file and says which', async () => {
  await assert.rejects(writeFileAtomic(join(directory, 'missing', 'file'), 'x'), unusable);
  const path = join(directory, 'b', 'file');
  await ensurePrivateDirectory(join(path, 'is-a-directory'));
  await assert.rejects(writeFileAtomic(path, 'x'), unusable);
  assert.deepEqual(await readdir(join(directory, 'b')), ['file']);
});

test('reads up to the bound, not beyond', async () => {
  const path = join(directory, 'c');
  await writeFileAtomic(path, '12345');
  assert.equal((await readFileBounded(path, 5))?.toString(), '12345');
  await assert.rejects(readFileBounded(path, 4), unusable);
  assert.equal(await readFileBounded(join(directory, 'none'), 4), undefined);
  await assert.rejects(readFileBounded(directory, 4), unusable);
  await symlink('/dev/zero', join(directory, 'endless'));
  await assert.rejects(readFileBounded(join(directory, 'endless'), 1_000), unusable);
});

test('of many who create a file one does', () => {
  const path = join(directory, 'd', 'once');
  assert.deepEqual([createFileOnceSync(path, 'first'), createFileOnceSync(path, 'second')], [true, false]);
});

test('a file that is there is not written for, so that a full disk keeps no process from starting', async () => {
  const path = join(directory, 'e', 'once');
  createFileOnceSync(path, 'first');
  const { mtimeNs } = await stat(join(directory, 'e'), { bigint: true });
  assert.equal(createFileOnceSync(path, 'second'), false);
  assert.equal((await stat(join(directory, 'e'), { bigint: true })).mtimeNs, mtimeNs);
});

test('the operator token is made once, kept, and compared whole', async () => {
  const data = join(directory, 'data');
  const made = loadOrCreateOperatorToken(data);
  const read = loadOrCreateOperatorToken(data);
  assert.equal(made.token, read.token);
  assert.equal((await stat(join(data, 'operator.token'))).mode & 0o777, 0o600);
  assert.deepEqual(await readdir(data), ['operator.token']);
  assert.equal(read.check(made.token), true);
  for (const wrong of [undefined, '', made.token.slice(1), `${made.token}x`, made.token.toUpperCase()])
    assert.equal(read.check(wrong), false);
  await writeFileAtomic(join(data, 'operator.token'), 'short');
  assert.throws(() => loadOrCreateOperatorToken(data), unusable);
  assert.notEqual(loadOrCreateOperatorToken(undefined).token, loadOrCreateOperatorToken(undefined).token);
});
