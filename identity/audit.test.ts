import assert from 'node:assert/strict';
import { appendFile, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { createLogger } from '#runtime/logging.ts';
import { openAuditLog, verifyAuditLog } from './audit.ts';

const context = { clock: () => 1_700_000_000_000, log: createLogger({ process: 'test', level: 'silent' }) };
let folder = '';
let path = '';

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'selvedge-audit-'));
  path = join(folder, 'audit.jsonl');
});
afterEach(() => rm(folder, { recursive: true }));

test('what is written together or after a restart is one chain, in a file of this user alone', async () => {
  const first = await openAuditLog(path, context, { sync: true });
  await Promise.all(Array.from({ length: 50 }, (_, n) => first.append({ event: 'svid-issued', serial: String(n) })));
  await first.close();
  const second = await openAuditLog(path, context);
  await second.append({ event: 'svid-refused', code: 'SLV-2120' });
  await second.close();
  const text = await readFile(path, 'utf8');
  assert.equal(verifyAuditLog(text), 51);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  const line = JSON.parse(text.split('\n')[50] ?? '');
  assert.equal(line.sequence, 51);
  assert.equal(line.code, 'SLV-2120');
});

test('a changed, a missing and a swapped line are found, and named', async () => {
  const log = await openAuditLog(path, context);
  for (let n = 0; n < 5; n++) await log.append({ event: 'svid-issued', serial: `s${n}` });
  await log.close();
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  const at = (line: number) => (error: unknown) => isMeshError(error, 'SLV-2151') && error.detail['line'] === line;
  assert.throws(() => verifyAuditLog(lines.map((line) => line.replace('"s2"', '"s9"')).join('\n')), at(3));
  assert.throws(() => verifyAuditLog(lines.filter((_, n) => n !== 1).join('\n')), at(2));
  const [a = '', b = '', ...rest] = lines;
  assert.throws(() => verifyAuditLog([b, a, ...rest].join('\n')), at(1));
});

test('a line torn by a power cut is cut off, and that is recorded', async () => {
  const log = await openAuditLog(path, context);
  await log.append({ event: 'svid-issued', serial: 'a' });
  await log.close();
  await appendFile(path, '{"sequence":2,"time":"2026');
  const again = await openAuditLog(path, context);
  await again.append({ event: 'svid-issued', serial: 'b' });
  await again.close();
  const text = await readFile(path, 'utf8');
  assert.equal(verifyAuditLog(text), 3);
  assert.match(text, /"event":"log-repaired","tornBytes":26/);
});

test('a log whose end was changed is not gone on with', async () => {
  const log = await openAuditLog(path, context);
  await log.append({ event: 'svid-issued', serial: 'a' });
  await log.close();
  await writeFile(path, (await readFile(path, 'utf8')).replace('"a"', '"b"'));
  await assert.rejects(openAuditLog(path, context), (error) => isMeshError(error, 'SLV-2151'));
});

test('when the disk says no, the caller is told, and told again', async () => {
  const log = await openAuditLog('/dev/full', context);
  await assert.rejects(log.append({ event: 'svid-issued' }), (error) => isMeshError(error, 'SLV-2150'));
  await assert.rejects(log.append({ event: 'svid-issued' }), (error) => isMeshError(error, 'SLV-2150'));
  await log.close();
});
