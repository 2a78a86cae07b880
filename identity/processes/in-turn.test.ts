import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { createLogger } from '#runtime/logging.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { waitFor } from '#test/wait-for.ts';
import { OneOfSeveral } from '../testing/one-of-several.ts';

/** An embedded CA that several processes have in turn. One store in memory serves both: what matters here is the contract, not the engine. */

const log = createLogger({ process: 'test', level: 'silent' });
const openStore = () => openSqliteStore({ path: undefined, clock: Date.now, log });

test('the next stands by and takes over; one whose lease has ended signs nothing, before it has noticed itself', async (t) => {
  await using store = await openStore();
  await using one = await OneOfSeveral.start(store);
  const [node, other] = [await one.node('web'), await one.node('db')];
  const operatorToken = await one.operatorToken;
  const sequence = one.trust?.sequence ?? 0;

  let stoodBy = false;
  const { signal } = t;
  const next = OneOfSeveral.start(store, {
    signal,
    caOf: one,
    operatorToken,
    onStandby: () => {
      stoodBy = true;
    },
  });
  await waitFor('the second to stand by', () => stoodBy, 10_000);
  assert.equal((await one.issue(node, { service: 'web' })).status, 200);
  await waitFor('the first to see it', async () => (await one.processes()).length === 2, 10_000);
  assert.deepEqual(await one.processes(), ['lead, asked', 'standby']);

  // As when it slept: the lease ends in the store, and it does not know yet.
  const lead = await store.get(one.admitted.place.key);
  await store.revokeLease(lead?.lease ?? '');
  assert.equal(one.admitted.place.lost.aborted, false);
  const late = await one.issue(other, { service: 'db' });
  assert.deepEqual([late.status, late.body['code']], [503, 'SLV-2184']);
  const token = await one.operate('/v1/identity/join-tokens', { body: { services: ['x'] } });
  assert.equal(token.body['code'], 'SLV-2184');
  const issued = new RegExp(`"event":"svid-issued"[^\\n]*"node":"${other.nodeId}"`);
  assert.doesNotMatch(await one.auditLog(), issued);
  await using two = await next;

  // The same CA, the same nodes, the same operators; a sequence that goes on.
  assert.deepEqual(two.identity.pins, one.identity.pins);
  assert.equal((await two.issue(other, { service: 'db' })).status, 200);
  assert.equal((await two.operate('/v1/identity/nodes')).status, 200);
  assert.ok((two.trust?.sequence ?? 0) >= sequence);
  assert.deepEqual(await two.processes(), ['lead, asked']);
});

test('another CA, no CA, and the CA without its newest keys are refused by name', async (t) => {
  await using store = await openStore();
  const one = await OneOfSeveral.start(store);
  const noKeys = (error: unknown): boolean => isMeshError(error, 'SLV-2188');
  try {
    await assert.rejects(OneOfSeveral.start(store), noKeys, 'none');
    await using elsewhere = await openStore();
    await using foreign = await OneOfSeveral.start(elsewhere);
    await assert.rejects(OneOfSeveral.start(store, { caOf: foreign }), noKeys, 'another');

    const behind = await mkdtemp(join(tmpdir(), 'selvedge-behind-'));
    let stoodBy = false;
    const stop = new AbortController();
    const standby = OneOfSeveral.start(store, {
      caOf: one,
      folder: behind,
      signal: AbortSignal.any([t.signal, stop.signal]),
      onStandby: () => {
        stoodBy = true;
      },
    });
    standby.catch(() => undefined); // it is given up below
    await waitFor('it to stand by', () => stoodBy, 10_000);
    assert.equal((await one.operate('/v1/identity/rotation', { body: { target: 'issuing' } })).status, 200);
    await waitFor(
      'a new issuing CA',
      async () => (await one.operate('/v1/identity/rotation')).body['state'] === 'activated',
      10_000,
    );
    await one.end();
    // Nobody is in charge, and it still does not begin: it lacks a key.
    await assert.rejects(OneOfSeveral.start(store, { folder: behind }), noKeys);
    stop.abort(new Error('given up'));
    await assert.rejects(standby, /given up/);
    await rm(behind, { recursive: true });
    await using again = await OneOfSeveral.start(store, { folder: one.folder });
    assert.equal((await again.operate('/v1/identity/nodes')).status, 200);
  } finally {
    await rm(one.folder, { recursive: true, force: true });
  }
});

test('operators have one token: its hash is in the store, another is refused, and one that is to replace it holds at once', async () => {
  await using store = await openStore();
  const one = await OneOfSeveral.start(store);
  const first = await one.operatorToken;
  const { value } = (await store.get('identity/operator')) ?? assert.fail();
  assert.ok(!Buffer.from(value).toString('utf8').includes(first));
  await one.end();
  const { folder } = one;
  const another = 'another-token-of-this-very-directory-0123';
  await OneOfSeveral.withToken(folder, another);
  await assert.rejects(OneOfSeveral.start(store, { folder }), (error) => isMeshError(error, 'SLV-2189'));
  await using again = await OneOfSeveral.start(store, { folder, config: { replaceOperatorToken: true } });
  assert.equal((await again.operate('/v1/identity/nodes')).status, 200);
  const before = { headers: { 'x-consul-token': first } };
  assert.equal((await again.ask('/v1/identity/nodes', before)).status, 401);
});
