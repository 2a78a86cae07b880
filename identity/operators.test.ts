import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { createLogger } from '#runtime/logging.ts';
import type { IdentityEvent } from './audit-events.ts';
import { Operators } from './operators.ts';
import { RunningService } from './testing/running-service.ts';

const log = createLogger({ process: 'test', level: 'silent' });
const wrong = { shown: 'not the token', remote: '192.0.2.1', method: 'GET', path: '/v1/identity/nodes' };

describe('who is no operator', () => {
  let nowMs = 1_000_000;
  const stage = (append: (event: IdentityEvent) => Promise<void>) =>
    new Operators(
      { check: (shown: string | undefined) => shown === 'the token' },
      { append, ready: async () => undefined, failure: undefined, close: async () => undefined },
      { clock: () => nowMs, log },
    );

  test('is recorded when a wrong token was shown, and refused either way', async () => {
    const events: IdentityEvent[] = [];
    const operators = stage(async (event) => void events.push(event));
    await operators.admit({ ...wrong, shown: 'the token' });
    await assert.rejects(operators.admit({ ...wrong, shown: undefined }), { code: 'SLV-2001' });
    await assert.rejects(operators.admit(wrong), { code: 'SLV-2001' });
    await assert.rejects(operators.admit({ ...wrong, path: 'x'.repeat(9_999) }), { code: 'SLV-2001' });
    const paths = events.map((event) => ('path' in event ? String(event.path).length : 0));
    assert.deepEqual(paths, [wrong.path.length, 256]);
    assert.ok(!JSON.stringify(events).includes('not the token'));
  });

  test('does not fill the disk: beyond a hundred they are counted', async () => {
    const events: IdentityEvent[] = [];
    const operators = stage(async (event) => void events.push(event));
    for (let i = 0; i < 500; i++) await assert.rejects(operators.admit(wrong));
    assert.equal(events.length, 100);
    nowMs += 1_000;
    await assert.rejects(operators.admit(wrong));
    assert.deepEqual(events[100], { event: 'operator-refused-more', count: 400 });
    assert.equal(events.length, 102);
  });

  test('is refused by the same answer when that can not be recorded', async () => {
    const operators = stage(() => Promise.reject(new MeshError('SLV-2150', 'The disk is full.')));
    await assert.rejects(operators.admit(wrong), { code: 'SLV-2001' });
  });
});

test('over HTTP: 401, and a line in the audit log that does not hold the token', async () => {
  await using service = await RunningService.start();
  const headers = { 'x-consul-token': 'a-token-that-was-replaced' };
  const answer = await service.ask('/v1/identity/nodes', { headers });
  assert.equal(answer.status, 401);
  const log = await service.auditLog();
  assert.match(log, /"operator-refused","remote":"127.0.0.1","method":"GET","path":"\/v1\/identity\/nodes"/);
  assert.ok(!log.includes('a-token'));
});
