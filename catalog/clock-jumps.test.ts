import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { verifyAuditLog } from '#runtime/audit/verify-audit-log.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { temporaryFolder } from '#test/temporary-folder.ts';
import { waitFor } from '#test/wait-for.ts';
import { quietContext, send, startTestCatalog } from './testing/running-catalog.ts';

const hourMs = 3_600_000;

/** TTL checks wait by timers, which no clock moves. Leases: store/sqlite/sqlite-store.test.ts. SVIDs and feeds: test/scenarios/wrong-clock-heals.test.ts. */
test('the clock of a catalog is set an hour forth and back: what ends by it ends, comes back where it was wrong, and nothing else notices', async (t) => {
  let offsetMs = 0;
  const context = { ...quietContext(), clock: () => Date.now() + offsetMs };
  const dataDir = temporaryFolder();
  const { log } = context;
  const catalog = await startTestCatalog(
    t,
    { open: false, dataDir },
    () => openSqliteStore({ path: undefined, log }),
    context,
  );
  const operator = { 'x-consul-token': catalog.operatorToken ?? '' };
  const ask = (method: string, path: string, body?: unknown, headers: Record<string, string> = operator) =>
    send(catalog, method, path, { ...(body === undefined ? {} : { body }), headers });
  const made = await ask('POST', '/v1/mesh/tokens', { roles: ['reader'], expiresAfterSeconds: 1_800 });
  const reader = { 'x-consul-token': (made.json as { secret: string }).secret };
  const expiresAt = new Date(Date.now() + hourMs / 2).toISOString();
  const intend = () => ask('PUT', '/v1/mesh/intentions/web/db', { action: 'allow', expiresAt });
  assert.equal((await intend()).status, 200);
  assert.equal((await ask('PUT', '/v1/mesh/intentions/web/cache', { action: 'allow' })).status, 200);
  const allowed = async (destination: string): Promise<boolean> => {
    const { json } = await ask('POST', '/v1/mesh/intentions/check', { source: 'web', destination });
    return (json as { allowed: boolean }).allowed;
  };
  const reads = async (headers: Record<string, string>, query = '') =>
    (await ask('GET', `/v1/catalog/services${query}`, undefined, headers)).status;
  const listed = async () => (await ask('GET', '/v1/connect/intentions')).text;
  assert.deepEqual([await allowed('db'), await allowed('cache'), await reads(reader)], [true, true, 200]);

  // Back: nothing ends early, and nothing waits an hour longer than it was told to.
  offsetMs = -hourMs;
  assert.deepEqual([await allowed('db'), await allowed('cache'), await reads(reader)], [true, true, 200]);
  const services = await ask('GET', '/v1/catalog/services');
  const index = Number(services.headers.get('x-consul-index'));
  const begun = performance.now();
  assert.equal(await reads(operator, `?index=${index}&wait=300ms`), 200);
  assert.ok(performance.now() - begun < 10_000);

  // Forth: token and intention are over at once, also for who waits; what has no end stays.
  const waiting = reads(reader, `?index=${index}&wait=5m`);
  offsetMs = hourMs;
  assert.deepEqual([await allowed('db'), await allowed('cache'), await reads(reader)], [false, true, 403]);
  assert.equal(await waiting, 403);
  await waitFor('the sweep', async () => !(await listed()).includes('"db"'), 10_000);
  assert.match(await listed(), /"cache"/);

  // Right again: the token is good for the rest of its life; the intention was ended for good, and is written again.
  offsetMs = 0;
  assert.deepEqual([await allowed('db'), await reads(reader)], [false, 200]);
  assert.equal((await intend()).status, 200);
  assert.equal(await allowed('db'), true);
  await verifyAuditLog([await readFile(join(dataDir, 'audit.jsonl'))]);
});
