import assert from 'node:assert/strict';
import { it } from 'node:test';
import { readTrace, unsyncedAcknowledgements } from './system-call-trace.ts';

const record = (key: string) => `7 pwrite64(20</d/s.db-wal>, "..<${key}>..", 4096, 0) = 4096`;
const acknowledge = (key: string) => `6 write(1<pipe:[9]>, "ack <${key}>\\n", 8) = 8`;

it('counts a sync from where it returned, not from where it was called', () => {
  const begun = '7 fdatasync(20</d/s.db-wal> <unfinished ...>';
  const ended = '7 <... fdatasync resumed>) = 0';
  const early = readTrace([record('a'), begun, acknowledge('a'), ended].join('\n'));
  assert.deepEqual(unsyncedAcknowledgements(early), ['<a>']);
  const late = readTrace([record('a'), begun, ended, acknowledge('a')].join('\n'));
  assert.deepEqual(unsyncedAcknowledgements(late), []);
});

it('counts neither a failed sync, nor one of another file, nor one before the record', () => {
  const others = ['7 fdatasync(20</d/s.db-wal>) = -1 EIO (Input/output error)', '7 fdatasync(21</d/s.db>) = 0'];
  const before = '7 fdatasync(20</d/s.db-wal>) = 0';
  const trace = readTrace([before, record('a'), ...others, acknowledge('a')].join('\n'));
  assert.deepEqual(unsyncedAcknowledgements(trace), ['<a>']);
});
