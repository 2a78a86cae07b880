import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { JoinTokenView, NodeView } from '#policies/wire/identity-api.ts';
import { verifyAuditLog } from '#runtime/audit/verify-audit-log.ts';
import { startLoad } from '#test/load.ts';
import { waitFor } from '#test/wait-for.ts';
import { startHttpApplication } from './application.ts';
import { httpCall, keepingAgent, unlessOk } from './http-call.ts';
import { setScene } from './scene.ts';

/** Each process is killed in turn, in the middle of its work, and started again: what was acknowledged is there, and traffic finds its way back. */

const db = await startHttpApplication();
const agent = keepingAgent();
const { mesh, web } = await setScene({ identityFlags: ['--svid-ttl', '1m'] }, async (mesh) => {
  await mesh.startControlPlane();
  await mesh.speakHttp('db');
  const [web] = await Promise.all([
    mesh.startProxy('web', { service: 'web', upstreams: ['db'] }),
    mesh.startProxy('db-1', { service: 'db', local: db.address }),
    mesh.startProxy('db-2', { service: 'db', local: db.address }),
  ]);
  await mesh.intend('web', 'db', 'allow');
  await mesh.knows(web.admin, 'db', 2);
  return { web };
});
const call = () => httpCall(web.upstream('db'), { agent });
/** By both instances, which take turns. */
const servedAgain = () =>
  waitFor('web to be served', async () => (await call()).status === 200 && (await call()).status === 200, 20_000);

/** Writes without a pause, until the service is gone. @returns what was acknowledged */
async function writeUntilKilled(
  name: string,
  enough: number,
  write: (index: number) => Promise<string | undefined>,
): Promise<string[]> {
  const acknowledged: string[] = [];
  const lines = Array.from({ length: 4 }, async (_, line) => {
    for (let index = line; mesh.child(name).running; index += 4) {
      const done = await write(index).catch(() => undefined); // killed meanwhile: not acknowledged
      if (done !== undefined) acknowledged.push(done);
    }
  });
  await waitFor(`${enough} writes`, () => acknowledged.length >= enough, 60_000);
  await mesh.kill(name, 'SIGKILL');
  await Promise.all(lines);
  return acknowledged;
}

const nodes = async () => JSON.parse((await mesh.identity('GET', '/v1/identity/nodes')).text) as NodeView[];

test('the catalog, while it writes: every acknowledged intention is there, and no call fails', async (t) => {
  await servedAgain();
  await using load = startLoad(() => unlessOk(call()));
  const written = await writeUntilKilled('catalog', 100, async (index) => {
    await mesh.intend(`source-${index}`, 'somewhere', 'allow');
    return `source-${index}`;
  });
  await mesh.startCatalog();
  const intentions = (await mesh.must('GET', '/v1/connect/intentions')) as { SourceName: string }[];
  const found = new Set(intentions.map(({ SourceName }) => SourceName));
  assert.deepEqual(
    written.filter((source) => !found.has(source)),
    [],
  );
  t.diagnostic(`${written.length} acknowledged, ${found.size - 1} found`);
  assert.deepEqual((await load.stop()).failures, []);
  await mesh.knows(web.admin, 'db', 2);
});

test('the identity service, while it makes tokens: every acknowledged one is there, nodes too, and no call fails', async () => {
  await using load = startLoad(() => unlessOk(call()));
  const before = await nodes();
  const { pin } = mesh;
  const made = await writeUntilKilled('identity', 100, async () => mesh.joinToken(['web']));
  await mesh.startIdentity();
  assert.equal(mesh.pin, pin);
  const listed = JSON.parse((await mesh.identity('GET', '/v1/identity/join-tokens')).text) as JoinTokenView[];
  const ids = new Set(listed.map(({ id }) => id));
  assert.deepEqual(
    made.filter((token) => !ids.has(token.split('_')[1] ?? '')),
    [],
  );
  const named = (all: readonly NodeView[]) => all.map(({ id, name }) => `${id} ${name}`).sort();
  assert.deepEqual(named(await nodes()), named(before));
  assert.deepEqual((await load.stop()).failures, []);
});

test('one of two instances’ proxies: reads go on at the other', async () => {
  await using load = startLoad(() => unlessOk(call()));
  await waitFor('some load', () => load.calls() > 100, 60_000);
  await mesh.kill('db-1', 'SIGKILL');
  const before = load.calls();
  await waitFor('further calls', () => load.calls() > before + 300, 60_000);
  const { failures } = await load.stop();
  assert.ok(failures.length <= load.calls() * 0.01, `${failures.length} of ${load.calls()} failed: ${failures[0]}`);
  await mesh.restartProxy('db-1');
  await mesh.knows(web.admin, 'db', 2);
});

test('the caller’s own proxy: it is back at the same address with the certificate it had', async () => {
  const before = await mesh.status(web.admin);
  await mesh.kill('web', 'SIGKILL');
  await mesh.restartProxy('web');
  await servedAgain();
  const after = await mesh.status(web.admin);
  assert.equal(after.svid?.spiffeId, before.svid?.spiffeId);
  assert.equal((await nodes()).filter(({ name }) => name === 'web-host').length, 1, 'it did not join again');
});

test('all of them at once, as when the power fails', async () => {
  const names = mesh.children.map(({ name }) => name);
  await Promise.all(names.map((name) => mesh.kill(name, 'SIGKILL')));
  await mesh.startControlPlane();
  await Promise.all(['web', 'db-1', 'db-2'].map((name) => mesh.restartProxy(name)));
  await servedAgain();
  await mesh.knows(web.admin, 'db', 2);
});

test('the audit log verifies from the first line to the last', async () => {
  assert.ok((await verifyAuditLog([readFileSync(mesh.path('identity', 'audit.jsonl'))])).lines > 100);
});
