import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { verifyAuditLog } from '#runtime/audit/verify-audit-log.ts';
import type { RunningCatalog } from '../main.ts';
import { send, startTestCatalog, workload } from '../testing/running-catalog.ts';

type Line = Readonly<Record<string, unknown>>;

async function start(t: TestContext, prepare: (path: string) => Promise<void> = async () => undefined) {
  const dataDir = await mkdtemp(join(tmpdir(), 'selvedge-catalog-audit-'));
  const path = join(dataDir, 'audit.jsonl');
  await prepare(path);
  const catalog = await startTestCatalog(t, { open: false, dataDir });
  t.after(() => rm(dataDir, { recursive: true }));
  const lines = async (): Promise<Line[]> => {
    const text = await readFile(path, 'utf8');
    await verifyAuditLog([Buffer.from(text)]);
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line));
  };
  return { catalog, path, lines, operator: { 'x-consul-token': catalog.operatorToken ?? '' } };
}

const instance = (service: string, more: object = {}) => ({
  Node: 'n1',
  Address: '10.0.0.1',
  Service: { Service: service, Port: 1 },
  ...more,
});
const check = (Status: string, Output: string) =>
  instance('web', { Check: { Node: 'n1', CheckID: 'c', Name: 'c', ServiceID: 'web', Status, Output } });
const register = (catalog: RunningCatalog, body: object, service = 'web') =>
  send(catalog, 'PUT', '/v1/catalog/register', { body, env: { ...workload(service), remoteAddress: '10.0.0.9' } });

test('each change is recorded: who, what, by which request; what changes nothing is not', async (t) => {
  const { catalog, lines, operator } = await start(t);
  await register(catalog, instance('web'));
  await register(catalog, instance('web'));
  await send(catalog, 'PUT', '/v1/connect/intentions/exact?source=web&destination=db', {
    body: { Action: 'allow' },
    headers: operator,
  });
  await send(catalog, 'PUT', `/v1/catalog/deregister?token=${catalog.operatorToken}&dc=dc1`, { body: { Node: 'n1' } });
  const recorded = await lines();
  assert.deepEqual(
    recorded.map(({ event, caller, remote, query, changes }) => [event, caller, remote, query, changes]),
    [
      [
        'changed',
        'spiffe://mesh.test/ns/default/dc/dc1/svc/web',
        '10.0.0.9',
        undefined,
        ['put nodes/n1', 'put services/n1/web'],
      ],
      ['changed', 'operator', '', 'source=web&destination=db', ['put config/service-intentions/db']],
      ['changed', 'operator', '', 'dc=dc1', ['delete services/n1/*', 'delete checks/n1/*', 'delete nodes/n1']],
    ],
  );
  assert.ok(recorded.every(({ revision }) => typeof revision === 'number'));
  assert.equal(JSON.stringify(recorded).includes(catalog.operatorToken ?? 'none'), false);
});

test('a check that says something else floods nothing; one that changes its verdict is recorded', async (t) => {
  const { catalog, lines } = await start(t);
  await register(catalog, check('passing', 'first'));
  for (let run = 0; run < 20; run++) await register(catalog, check('passing', `run ${run}`));
  await register(catalog, check('critical', 'down'));
  assert.deepEqual(
    (await lines()).slice(1).map(({ changes }) => changes),
    [['put checks/n1/c']],
  );
});

test('each refused change is recorded, with who asked and why; a flood of them is counted', async (t) => {
  const { catalog, lines } = await start(t);
  await register(catalog, instance('db'));
  await send(catalog, 'PUT', '/v1/config', { body: {}, headers: { 'x-consul-token': 'guessed-secret' } });
  await send(catalog, 'PUT', '/v1/mesh/resilience/web', { body: { unknown: 1 }, env: workload('web') });
  await send(catalog, 'GET', '/v1/connect/intentions');
  const [foreign, anonymous, invalid, ...rest] = await lines();
  assert.deepEqual(rest, []);
  assert.deepEqual(
    [foreign?.['event'], foreign?.['caller'], foreign?.['status']],
    ['refused', 'spiffe://mesh.test/ns/default/dc/dc1/svc/web', 403],
  );
  assert.match(String(foreign?.['reason']), /may not write service db/);
  assert.deepEqual([anonymous?.['caller'], anonymous?.['status']], ['anonymous', 403]);
  assert.equal(JSON.stringify(anonymous).includes('guessed-secret'), false);
  assert.deepEqual([invalid?.['status'], invalid?.['code']], [400, 'SLV-1009']);
  await Promise.all(Array.from({ length: 500 }, () => send(catalog, 'PUT', '/v1/config', { body: {} })));
  await catalog.close(0);
  const flood = (await lines()).slice(3);
  assert.ok(flood.length < 300, `${flood.length} lines of 500`);
  const counted = flood.map(({ event, count }) => (event === 'refused-more' ? Number(count) : 1));
  assert.equal(
    counted.reduce((sum, each) => sum + each, 0),
    500,
  );
});

test('while it can not be recorded nothing is changed; with space again it goes on by itself', async (t) => {
  const { catalog, path, lines, operator } = await start(t, (file) => symlink('/dev/full', file));
  const first = await send(catalog, 'PUT', '/v1/config', {
    body: { Kind: 'service-defaults', Name: 'a' },
    headers: operator,
  });
  assert.equal(first.status, 507);
  assert.match(first.text, /the disk is full \(ENOSPC\).*SLV-2150/);
  const second = await send(catalog, 'PUT', '/v1/config', {
    body: { Kind: 'service-defaults', Name: 'b' },
    headers: operator,
  });
  assert.equal(second.status, 507);
  const read = await send(catalog, 'GET', '/v1/config/service-defaults/b', { headers: operator });
  assert.equal(read.status, 404, 'what the log is known not to take is not done');
  await rm(path);
  const third = await register(catalog, instance('web'));
  assert.deepEqual([third.status, third.text], [200, 'true']);
  const events = (await lines()).map(({ event, late, changes }) => [event, late ?? false, changes ?? []]);
  assert.deepEqual(events.slice(0, 3), [
    ['log-continued', false, []],
    ['log-resumed', false, []],
    ['changed', true, ['put config/service-defaults/a']],
  ]);
  assert.deepEqual(events.at(-1), ['changed', false, ['put nodes/n1', 'put services/n1/web']]);
});
