import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestCatalog } from '../testing/running-catalog.ts';

test('a body that is not said to be JSON is refused, never passed over: its schema would not have been asked', async (t) => {
  const catalog = await startTestCatalog(t);
  const url = `${catalog.url}/v1/mesh/resilience/web`;
  const json = { 'content-type': 'application/json' };
  assert.equal((await fetch(url, { method: 'PUT', headers: json, body: '{"maxConcurrent": 7}' })).status, 200);
  const refused: readonly RequestInit[] = [
    {},
    { body: '' },
    { body: '{"balancer": "nonsense"}' },
    { body: '{"maxConcurrent": 8}', headers: { 'content-type': 'text/plain' } },
    { body: 'maxConcurrent=8', headers: { 'content-type': 'application/x-www-form-urlencoded' } },
    { body: '', headers: json },
  ];
  for (const request of refused) {
    const answer = await fetch(url, { method: 'PUT', ...request });
    assert.deepEqual([answer.status, ((await answer.json()) as { code: string }).code], [400, 'SLV-1009']);
  }
  const { written } = (await (await fetch(url)).json()) as { written: unknown };
  assert.deepEqual(written, { maxConcurrent: 7 });
});
