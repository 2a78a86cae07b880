import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DnsFacts } from '#policies/wire/dns-facts.ts';
import { waitFor } from '#test/wait-for.ts';
import { send, startTestCatalog } from '../testing/running-catalog.ts';

const path = '/v1/mesh/feed/dns';

async function scene(t: Parameters<typeof startTestCatalog>[0]) {
  const catalog = await startTestCatalog(t);
  const register = async (Service: string, more: object = {}) => {
    const body = { Node: 'n1', Address: '10.0.0.1', Service: { Service, Port: 1 }, ...more };
    assert.equal((await send(catalog, 'PUT', '/v1/catalog/register', { body })).status, 200);
  };
  const ask = async (known: Record<string, string>, waitMs = 0): Promise<DnsFacts> => {
    const { status, json } = await send(catalog, 'POST', path, { body: { known, waitMs } });
    assert.equal(status, 200);
    return json as DnsFacts;
  };
  const tags = ({ facts }: DnsFacts) => Object.fromEntries(Object.entries(facts).map(([key, { tag }]) => [key, tag]));
  return { catalog, register, ask, tags };
}

test('answers what differs from what the asker has, and nothing else', async (t) => {
  const { register, ask, tags } = await scene(t);
  await register('Web');
  const all = await ask({
    'service/web': '',
    'connect/web': '',
    'node/n1': '',
    'address/0a000001': '',
    'mesh/web': '',
  });
  const place = { kind: 'node', hex: '0a000001' };
  const reach = { address: place, forA: place, forAaaa: place };
  const web = { node: 'n1', tags: [], port: 1, status: 'passing', weight: 1, reach };
  assert.deepEqual(Object.fromEntries(Object.entries(all.facts).map(([key, { value }]) => [key, value])), {
    'service/web': [web],
    'connect/web': [],
    'node/n1': { name: 'n1', reach, meta: {} },
    'address/0a000001': { kind: 'node', name: 'n1' },
    'mesh/web': null,
  });
  assert.deepEqual((await ask(tags(all))).facts, {});
  assert.deepEqual(Object.keys((await ask({ ...tags(all), 'node/n1': 'other' })).facts), ['node/n1']);
});

test('waits for a change of what is followed; other changes wake nobody', async (t) => {
  const { catalog, register, ask, tags } = await scene(t);
  await register('web');
  const known = tags(await ask({ 'service/web': '', 'service/late': '' }));
  let isAnswered = false;
  const waiting = ask(known, 60_000).finally(() => {
    isAnswered = true;
  });
  await register('db');
  await register('web', { Service: { Service: 'web', Port: 1, Meta: { of: 'no interest to DNS' } } });
  await send(catalog, 'PUT', '/v1/connect/intentions/exact?source=web&destination=db', { body: { Action: 'allow' } });
  assert.equal(isAnswered, false);
  await register('Late', { Node: 'n2', Address: '10.0.0.2' });
  assert.deepEqual(Object.keys((await waiting).facts), ['service/late']);
});

test('a wait ends without facts, and at once when the catalog stops', async (t) => {
  const { catalog, ask, tags } = await scene(t);
  const known = tags(await ask({ 'service/web': '' }));
  assert.deepEqual((await ask(known, 20)).facts, {});
  let isOver = false;
  const waiting = ask(known, 60_000).then(() => {
    isOver = true;
  });
  await catalog.close(5_000);
  await waitFor('the answer', () => isOver);
  await waiting;
});

test('refuses what is no fact, and more than it bears', async (t) => {
  const { catalog } = await scene(t);
  const many = Object.fromEntries(Array.from({ length: 1_025 }, (_, at) => [`service/s${at}`, '']));
  const bodies = [
    { known: { 'service/Web': '' } },
    { known: { 'kv/secret': '' } },
    { known: { 'service/': '' } },
    { known: { [`service/${'a'.repeat(254)}`]: '' } },
    { known: { 'service/web': 'x'.repeat(33) } },
    { known: many },
    { known: {}, waitMs: 60_001 },
    { known: {}, more: 1 },
  ];
  for (const body of bodies) assert.equal((await send(catalog, 'POST', path, { body })).status, 400);
});
