/** Fills the small file system at the given path with a real audit log on it, frees it, and tells how the log took it. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { createLogger } from '../logging.ts';
import { openAuditLog } from './audit-log.ts';
import { verifyAuditLog } from './verify-audit-log.ts';

const directory = process.argv[2] ?? '';
const path = join(directory, 'audit.jsonl');
const ballast = join(directory, 'ballast');
writeFileSync(ballast, Buffer.alloc(900_000));
const log = await openAuditLog(
  path,
  { clock: Date.now, log: createLogger({ process: 'test', level: 'silent' }) },
  { sync: true },
);
let written = 0;
let failure: unknown;
while (failure === undefined && written < 10_000) {
  // Batches of an odd size, so that the disk is full in the middle of a line.
  const batch = Array.from({ length: 7 }, (_, n) => log.append({ event: 'svid-issued', serial: `s${written + n}` }));
  for (const outcome of await Promise.allSettled(batch)) {
    if (outcome.status === 'fulfilled') written += 1;
    else failure = outcome.reason;
  }
}
console.log(`full: ${isMeshError(failure) ? `${failure.code} ${failure.detail['reason']}` : failure}`);
const found = await verifyAuditLog([readFileSync(path)]);
console.log(`what was acknowledged and nothing else: ${found.lines === written && found.tornBytes === 0}`);
rmSync(ballast);
await log.append({ event: 'svid-issued', serial: 'after' });
await log.close();
const after = await verifyAuditLog([readFileSync(path)]);
console.log(`after freeing: ${after.lines - written} more`);
