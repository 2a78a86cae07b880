import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { appendFile, mkdtemp, readFile, rename, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { createLogger } from '../logging.ts';
import type { AuditEvent, AuditLog } from './audit-event.ts';
import { openAuditLog } from './audit-log.ts';
import { type VerifiedLog, verifyAuditLog } from './verify-audit-log.ts';

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
  await Promise.all(Array.from({ length: 50 }, (_, n) => first.append(issued(String(n)))));
  await first.close();
  const second = await openAuditLog(path, context);
  await second.append({ event: 'svid-refused', code: 'SLV-2120' });
  await second.close();
  assert.equal((await verified(path)).lines, 51);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  const [line] = (await linesOf(path)).slice(-1);
  assert.deepEqual([line?.['sequence'], line?.['code'], line?.['event']], [51, 'SLV-2120', 'svid-refused']);
});

test('when an append is acknowledged its line is in the file', async () => {
  const log = await openAuditLog(path, context);
  for (let n = 1; n <= 20; n++) {
    await log.append(issued(`s${n}`));
    assert.equal((await verified(path)).lines, n);
  }
  await log.close();
});

test('no fact passes for the place of a line, and a long one is cut', async () => {
  const log = await openAuditLog(path, context);
  await log.append({ event: 'refused', sequence: 9, previous: 'x', hash: 'y', reason: 'r'.repeat(100_000) });
  await log.append({ event: 'created', services: Array.from({ length: 10_000 }, () => '\u0001'.repeat(10_000)) });
  await log.close();
  assert.equal((await verified(path)).lines, 2);
  assert.equal(String((await linesOf(path))[0]?.['reason']).length, 1_025);
});

test('a line torn by a power cut is cut off, and that is recorded', async () => {
  await write(path, ['a']);
  await appendFile(path, '{"sequence":2,"time":"2026');
  await write(path, ['b']);
  assert.equal((await verified(path)).lines, 3);
  assert.match(await readFile(path, 'utf8'), /"event":"log-repaired","tornBytes":26/);
});

test('wherever a crash cut the file, the log goes on and the whole verifies', async () => {
  await write(path, ['a', 'b']);
  const whole = await readFile(path);
  const firstEnd = whole.indexOf(0x0a) + 1;
  for (const cut of [0, 1, firstEnd - 1, firstEnd, firstEnd + 1, whole.length - 1]) {
    await writeFile(path, whole.subarray(0, cut));
    await write(path, ['c']);
    const torn = cut !== 0 && cut !== firstEnd;
    assert.equal((await verified(path)).lines, (cut >= firstEnd ? 1 : 0) + (torn ? 1 : 0) + 1, `cut at ${cut}`);
  }
});

test('a log whose end was changed is not gone on with', async () => {
  await write(path, ['a']);
  await writeFile(path, (await readFile(path, 'utf8')).replace('"a"', '"b"'));
  await assert.rejects(openAuditLog(path, context), (error) => isMeshError(error, 'SLV-2151'));
});

test('while the disk is full each caller is told why; with space again it goes on by itself, with what was refused', async () => {
  await symlink('/dev/full', path);
  const log = await openAuditLog(path, context);
  const full = (error: unknown) => isMeshError(error, 'SLV-2150') && error.detail['reason'] === 'ENOSPC';
  await log.ready();
  await assert.rejects(log.append(issued('a')), full);
  await assert.rejects(log.ready(), full);
  assert.match(log.failure?.reason ?? '', /^SLV-2150: .*ENOSPC/);
  await assert.rejects(log.append(issued('b')), full);
  await rm(path);
  await log.ready();
  assert.equal(log.failure, undefined);
  await log.append(issued('c'));
  await log.close();
  assert.equal((await verified(path)).lines, 5);
  assert.deepEqual(
    (await linesOf(path)).map(({ event, serial, late, reason }) => [event, serial ?? reason, late]),
    [
      ['log-continued', undefined, undefined],
      ['log-resumed', 'ENOSPC', undefined],
      ['svid-issued', 'a', true],
      ['svid-issued', 'b', true],
      ['svid-issued', 'c', undefined],
    ],
  );
});

test('on a disk that is really full nothing half-written stays, and it goes on when there is space', (t) => {
  const mount = ['--user', '--map-root-user', '--mount', 'sh', '-c'];
  const script = 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"';
  const probe = spawnSync('unshare', [...mount, script, folder, 'true']);
  if (probe.status !== 0) return t.skip('no right to mount a small file system (unshare --user --mount)');
  const child = new URL('./full-disk.fixture.ts', import.meta.url).pathname;
  const run = spawnSync('unshare', [...mount, script, folder, process.execPath, child, folder], { encoding: 'utf8' });
  const acknowledged = 'what was acknowledged and nothing else: true';
  // log-resumed, the seven of the batch that did not fit, and the one after.
  assert.equal(run.stdout, `full: SLV-2150 ENOSPC\n${acknowledged}\nafter freeing: 9 more\n`, run.stderr);
});

test('of a flood while the disk is full a bounded part is kept, and the rest is counted', async () => {
  await symlink('/dev/full', path);
  const log = await openAuditLog(path, context);
  const flood = await Promise.allSettled(Array.from({ length: 1_500 }, (_, n) => log.append(issued(`s${n}`))));
  assert.ok(flood.every(({ status }) => status === 'rejected'));
  await rm(path);
  await log.ready();
  await log.close();
  const resumed = (await linesOf(path)).find(({ event }) => event === 'log-resumed');
  assert.deepEqual([resumed?.['kept'], resumed?.['lost']], [1_024, 476]);
});

test('renamed away (logrotate), the next line begins a new file, and the two are one chain', async () => {
  const log = await openAuditLog(path, context, { sync: true });
  await log.append(issued('a'));
  await rename(path, `${path}.1`);
  await log.append(issued('b'));
  await rename(`${path}.1`, `${path}.2`);
  await rename(path, `${path}.1`);
  await writeFile(path, '', { mode: 0o600 });
  await log.append(issued('c'));
  await log.close();
  const oldest = await verified(`${path}.2`);
  const older = await verified(`${path}.1`, oldest);
  const newest = await verified(path, older);
  assert.deepEqual([oldest.lines, older.first, newest.first, newest.end.sequence], [1, 2, 4, 5]);
  await assert.rejects(verified(path, oldest), /2 lines are missing before it, from sequence 2/);
});

test('renamed away while the process was down, the chain goes on from the rotated file', async () => {
  await write(path, ['a', 'b']);
  await rename(path, `${path}-20260131`);
  await write(path, ['c']);
  assert.equal((await verified(path, await verified(`${path}-20260131`))).first, 3);
});

test('cut off while it is written (copytruncate), the chain goes on and says so', async () => {
  const log = await openAuditLog(path, context);
  await log.append(issued('a'));
  await truncate(path, 0);
  await log.append(issued('b'));
  await log.close();
  assert.equal((await verified(path)).first, 2);
  assert.match(await readFile(path, 'utf8'), /"event":"log-truncated","bytesBefore":\d+,"bytesFound":0/);
});

test('what somebody else wrote into it is not built upon', async () => {
  const log = await openAuditLog(path, context);
  await log.append(issued('a'));
  const before = (await stat(path)).size;
  await appendFile(path, '{}\n');
  await assert.rejects(log.append(issued('b')), (error) => isMeshError(error, 'SLV-2151'));
  await truncate(path, before);
  await log.append(issued('c'));
  await log.close();
  assert.equal((await verified(path)).lines, 4, 'a, log-resumed, b (late), c');
});

function issued(serial: string): AuditEvent {
  return { event: 'svid-issued', serial };
}

/** Opens, writes and closes. */
async function write(to: string, serials: readonly string[]): Promise<void> {
  const log: AuditLog<AuditEvent> = await openAuditLog(to, context);
  for (const serial of serials) await log.append(issued(serial));
  await log.close();
}

async function verified(of: string, after?: VerifiedLog): Promise<VerifiedLog> {
  return verifyAuditLog([await readFile(of)], after?.end);
}

async function linesOf(of: string): Promise<Record<string, unknown>[]> {
  const text = await readFile(of, 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}
