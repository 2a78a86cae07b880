import assert from 'node:assert/strict';
import { test } from 'node:test';
import { send, startTestCatalog } from '../testing/running-catalog.ts';
import { AnswerCache, questionOf } from './answer-cache.ts';

test('a body is rendered once for an index, and again for the next', () => {
  const cache = new AnswerCache();
  let rendered = 0;
  const body = (question: string, index: number): string =>
    new TextDecoder().decode(cache.body(question, index, () => `${question} ${++rendered}`));
  assert.equal(body('a', 1), 'a 1');
  assert.equal(body('a', 1), 'a 1');
  assert.equal(body('b', 1), 'b 2');
  assert.equal(body('a', 2), 'a 3');
  assert.equal(body('a', 2), 'a 3');
  assert.equal(body('b', 1), 'b 2');
});

test('what was not asked for lately makes room', () => {
  const cache = new AnswerCache();
  const large = 'x'.repeat(10 * 1024 * 1024);
  let rendered = 0;
  const ask = (question: string) =>
    cache.body(question, 1, () => {
      rendered += 1;
      return large;
    });
  for (const question of ['a', 'b', 'c']) ask(question);
  ask('a');
  ask('d'); // b goes
  assert.equal(rendered, 4);
  ask('a');
  assert.equal(rendered, 4);
  ask('b');
  assert.equal(rendered, 5);
  for (let i = 0; i < 5_000; i++) cache.body(`small-${i}`, 1, () => '');
  ask('b');
  assert.equal(rendered, 6);
});

test('questions are the same that differ in how, and different that differ in what', () => {
  const of = (path: string): string => questionOf(new URL(path, 'http://x'));
  const plain = of('/v1/health/service/web?passing&tag=a&tag=b');
  assert.equal(of('/v1/health/service/web?tag=a&tag=b&index=7&wait=5m&passing&stale&token=t'), plain);
  for (const other of [
    '/v1/health/service/web?passing&tag=a',
    '/v1/health/service/web?tag=a&tag=b',
    '/v1/health/service/web?passing&tag=b&tag=a&filter=x',
    '/v1/health/service/db?passing&tag=a&tag=b',
    '/v1/health/service/web?passing&tag=a%26tag%3Db',
  ])
    assert.notEqual(of(other), plain, other);
});

test('an answer out of the cache is never older than its index', async (t) => {
  const catalog = await startTestCatalog(t);
  const register = (port: number, status: string) =>
    send(catalog, 'PUT', '/v1/catalog/register', {
      body: {
        Node: 'n',
        Address: '10.0.0.1',
        Service: { Service: 'web', Port: port },
        Check: { CheckID: 'c', ServiceID: 'web', Status: status },
      },
    });
  const read = async (query = '') => {
    const { json, headers } = await send(catalog, 'GET', `/v1/health/service/web${query}`);
    const ports = (json as { Service: { Port: number } }[]).map(({ Service }) => Service.Port);
    return { ports, index: Number(headers.get('x-consul-index')) };
  };
  assert.deepEqual((await read()).ports, []);
  let last = 0;
  for (let port = 1; port <= 20; port++) {
    await register(port, port % 2 === 0 ? 'passing' : 'critical');
    const [all, again, passing] = [await read(), await read('?stale'), await read('?passing')];
    assert.deepEqual([all.ports, again.ports], [[port], [port]]);
    assert.deepEqual(passing.ports, port % 2 === 0 ? [port] : []);
    assert.ok(all.index > last);
    last = all.index;
  }
  await send(catalog, 'PUT', '/v1/catalog/register', { body: { Node: 'n', Address: '10.0.0.2' } });
  const { json } = await send(catalog, 'GET', '/v1/health/service/web');
  assert.equal((json as { Node: { Address: string } }[])[0]?.Node.Address, '10.0.0.2', 'its node is part of it');
});
