import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseWorkloadSocket } from './workload-socket.ts';

test('a path, or a descriptor that was passed on', () => {
  assert.deepEqual(parseWorkloadSocket('/run/web.sock'), { kind: 'path', path: '/run/web.sock' });
  assert.deepEqual(parseWorkloadSocket('fd:3'), { kind: 'fd', fd: 3 });
  for (const wrong of ['', 'fd:', 'fd:1', 'fd:x', 'fd:-3', '/run/\0x'])
    assert.throws(() => parseWorkloadSocket(wrong), { code: 'SLV-1002' });
});
