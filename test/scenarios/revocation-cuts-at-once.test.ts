import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { type RevocationView, revocationSchema } from '#policies/wire/revocation-api.ts';
import { waitFor } from '#test/wait-for.ts';
import { openEcho, startEcho } from './application.ts';
import { setScene } from './scene.ts';

/** What an operator revokes is cut within seconds, at both ends of every tunnel, and stays cut until he takes it back. */

const echo = await startEcho();
const { mesh, web } = await setScene({ identityFlags: ['--svid-ttl', '1m'] }, async (mesh) => {
  await mesh.startControlPlane();
  const [web] = await Promise.all([
    mesh.startProxy('web', { service: 'web', upstreams: ['echo'] }),
    mesh.startProxy('echo', { service: 'echo', local: echo.address }),
  ]);
  await mesh.intend('web', 'echo', 'allow');
  await mesh.knows(web.admin, 'echo');
  return { web };
});
const idOf = (service: string): string => `spiffe://mesh.internal/ns/default/dc/dc1/svc/${service}`;
/** The promise of issue 4 is seconds; what is measured here is a tenth of one. */
const promisedMs = 5_000;

/** A TCP connection through both proxies that has carried a byte. */
const talk = (): Promise<Socket> => openEcho(web.upstream('echo'));

/** When it has ended, however. */
async function whenCut(connection: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  connection.once('close', () => resolve()).resume();
  const late = setTimeout(() => connection.destroy(new Error('late')), 2 * promisedMs);
  await promise;
  clearTimeout(late);
}

/** @returns how long it took until the connection was cut, ms */
async function revoke(what: object, connection: Socket): Promise<{ view: RevocationView; ms: number }> {
  const closed = whenCut(connection);
  const begun = performance.now();
  const { status, text } = await mesh.identity('POST', '/v1/identity/revocations', what);
  assert.equal(status, 200, text);
  await closed;
  const ms = performance.now() - begun;
  assert.ok(ms < promisedMs, `cut after ${ms} ms`);
  return { view: revocationSchema.parse(JSON.parse(text)), ms };
}

/** What is promised is promised to who follows the catalog. Who was revoked comes back to that at intervals that grow to a quarter of a minute. */
async function bothFollow(): Promise<void> {
  for (const name of ['web', 'echo'])
    await waitFor(
      `${name} to follow the catalog`,
      async () => (await mesh.status(mesh.proxy(name).admin)).view.feed.kind === 'live',
      30_000,
    );
}

async function lift(id: string): Promise<void> {
  assert.equal((await mesh.identity('DELETE', `/v1/identity/revocations/${id}`)).status, 204);
}

test('one certificate of the caller: what it carries is cut, and its rightful holder renews by its node key', async (t) => {
  await bothFollow();
  const connection = await waitFor('web to be allowed', talk, 20_000);
  const serial = (await mesh.status(web.admin)).svid?.serial ?? assert.fail();
  const { view, ms } = await revoke({ serial: serial.toUpperCase(), reason: 'leaked' }, connection);
  t.diagnostic(`cut after ${Math.round(ms)} ms`);
  assert.ok(view.until !== undefined, 'it goes with the certificate');
  (await waitFor('web to call with another certificate', talk, 20_000)).destroy();
  assert.notEqual((await mesh.status(web.admin)).svid?.serial, serial);
});

test('the SPIFFE ID of the caller: nothing more until it is taken back, also through a restart of the identity service', async (t) => {
  const connection = await talk();
  const { view, ms } = await revoke({ spiffeId: idOf('web') }, connection);
  t.diagnostic(`cut after ${Math.round(ms)} ms`);
  await assert.rejects(talk());
  await mesh.kill('identity', 'SIGKILL');
  await mesh.startIdentity();
  const { text } = await mesh.identity('GET', '/v1/identity/revocations');
  assert.ok((JSON.parse(text) as RevocationView[]).some(({ id }) => id === view.id));
  await waitFor('a renewal to be refused', () => /SLV-2123/.test(mesh.child('web').log), 40_000);
  await assert.rejects(talk());
  await lift(view.id);
  (await waitFor('web to be let in again', talk, 20_000)).destroy();
});

test('the SPIFFE ID of the called: the caller cuts too', async (t) => {
  // It was revoked for long: a start is quicker than its next try.
  await mesh.kill('web', 'SIGTERM');
  await mesh.restartProxy('web');
  await bothFollow();
  const connection = await waitFor('web to be let in', talk, 20_000);
  const { view, ms } = await revoke({ spiffeId: idOf('echo') }, connection);
  t.diagnostic(`cut after ${Math.round(ms)} ms`);
  await waitFor('web to say so', () => /refused while its tunnel was open/.test(mesh.child('web').log), promisedMs);
  await assert.rejects(talk());
  await lift(view.id);
  (await waitFor('echo to be called again', talk, 20_000)).destroy();
});

test('a node, by the command line: cut, and final', async () => {
  await bothFollow();
  const connection = await talk();
  const { text } = await mesh.identity('GET', '/v1/identity/nodes');
  const node = (JSON.parse(text) as { id: string; name: string }[]).find(({ name }) => name === 'web-host');
  const flags = ['--identity', mesh.identityUrl, '--ca-file', mesh.path('identity', 'ca.pem')];
  const operator = [...flags, '--token-file', mesh.path('identity', 'operator.token')];
  const closed = whenCut(connection);
  const { code, stderr } = await mesh.command(['identity', 'revoke', '--node', node?.id ?? '', ...operator]);
  assert.equal(code, 0, stderr);
  await closed;
  const listed = await mesh.command(['identity', 'revocation', 'list', ...operator]);
  assert.match(listed.stdout, /web-host/);
  const deleted = await mesh.command(['identity', 'revocation', 'delete', `node-${node?.id}`, ...operator]);
  assert.match(deleted.stderr, /SLV-2171/);
  await assert.rejects(talk());
});
