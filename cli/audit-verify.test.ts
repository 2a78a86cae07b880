import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openAuditLog } from '#runtime/audit/audit-log.ts';
import { createLogger } from '#runtime/logging.ts';

const selvedge = join(import.meta.dirname, '..', 'bin', 'selvedge');
const context = { clock: () => 1_700_000_000_000, log: createLogger({ process: 'test', level: 'silent' }) };
let folder = '';
let path = '';

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'selvedge-audit-verify-'));
  path = join(folder, 'audit.jsonl');
  const log = await openAuditLog(path, context);
  for (const serial of ['a', 'b', 'c']) await log.append({ event: 'svid-issued', serial });
  await rename(path, `${path}.1`);
  await log.append({ event: 'svid-issued', serial: 'd' });
  await log.close();
});
after(() => rm(folder, { recursive: true }));

test('a whole log: exit code 0, and how much it is; of a part, how to check the seam', () => {
  const old = verify([`${path}.1`]);
  assert.match(
    old.stdout,
    /^whole: 3 lines, sequence 1 to 3, 2023-11-14T22:13:20.000Z to .*, last hash [0-9a-f]{64}\n$/,
  );
  assert.deepEqual([old.stderr, old.status], ['', 0]);
  const part = verify([path]);
  assert.match(part.stderr, /begins at sequence 4: --after FILE/);
  const seam = verify([path, '--after', `${path}.1`, '--output', 'json']);
  assert.deepEqual([seam.stderr, seam.status, JSON.parse(seam.stdout).first], ['', 0, 4]);
});

test('a broken one: exit code 3, and where; a file that is not there: exit code 1', async () => {
  const text = await readFile(`${path}.1`, 'utf8');
  const broken = verify(['-'], text.replace('"b"', '"x"'));
  assert.match(broken.stdout, /^broken: -: Line 2 of the audit log does not fit the chain: .*was changed/);
  assert.equal(broken.status, 3);
  await writeFile(`${path}.2`, text.split('\n').slice(0, 2).join('\n'));
  const seam = verify([path, '--after', `${path}.2`]);
  assert.match(seam.stdout, /2 lines are missing before it, from sequence 2/);
  assert.equal(seam.status, 3);
  const missing = verify([join(folder, 'none')]);
  assert.match(missing.stderr, /none: ENOENT[\s\S]*SLV-1005/);
  assert.equal(missing.status, 1);
});

function verify(args: readonly string[], input = ''): { stdout: string; stderr: string; status: number | null } {
  return spawnSync(selvedge, ['audit', 'verify', ...args], { input, encoding: 'utf8' });
}
