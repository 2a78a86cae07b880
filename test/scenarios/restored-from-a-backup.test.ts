import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { startLoad } from '#test/load.ts';
import { waitFor } from '#test/wait-for.ts';
import { startHttpApplication } from './application.ts';
import { httpCall, keepingAgent, unlessOk } from './http-call.ts';
import { setScene } from './scene.ts';
import { webCallsDb } from './web-calls-db.ts';

/** The drill: the data directory of the identity service is lost and comes back from a backup, under load. The tests are one story, in order. */

const passphrase = 'a passphrase for this drill';
const db = await startHttpApplication();
const { mesh, web } = await setScene({ identityFlags: ['--svid-ttl', '1m'] }, async (mesh) => {
  await mesh.startControlPlane();
  return webCallsDb(mesh, db);
});
const agent = keepingAgent();
const passphraseFile = mesh.path('passphrase');
writeFileSync(passphraseFile, `${passphrase}\n`, { mode: 0o600 });
mesh.secrets.add(passphrase);
const file = mesh.path('identity.backup');
const [dataDir, pin] = [mesh.path('identity'), mesh.pin];
const flags = ['--passphrase-file', passphraseFile, '--data-dir', dataDir];
const backup = () => mesh.command(['identity', 'backup', '--out', file, ...flags]);
const restore = () => mesh.command(['identity', 'restore', '--from', file, ...flags]);
const sequence = async (): Promise<number> =>
  (JSON.parse((await mesh.identity('GET', '/v1/identity/bundle')).text) as { spiffe_sequence: number }).spiffe_sequence;
const serial = async (name: string): Promise<string | undefined> =>
  (await mesh.status(mesh.proxy(name).admin)).svid?.serial;
const calls = startLoad(() => unlessOk(httpCall(web.upstream('db'), { agent })), 1);

const revokedId = 'spiffe://mesh.internal/ns/default/dc/dc1/svc/gone';
let unused = '';
let highest = 0;

test('a running service is not backed up; a stopped one is, into a file that only its passphrase opens', async () => {
  await waitFor('calls to be answered', () => calls.calls() > 20, 60_000);
  const { status } = await mesh.identity('POST', '/v1/identity/revocations', { spiffeId: revokedId, reason: 'drill' });
  assert.equal(status, 200);
  unused = await mesh.joinToken(['web'], { ttlSeconds: 3_600 });
  assert.match((await backup()).stderr, /SLV-3508/);
  assert.equal(existsSync(file), false);
  await mesh.kill('identity', 'SIGTERM');
  const made = await backup();
  assert.equal(made.code, 0, made.stderr);
  assert.ok(made.stdout.includes(pin), made.stdout);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.doesNotMatch(readFileSync(file, 'latin1'), /PRIVATE KEY|BEGIN/);
  assert.match((await backup()).stderr, /SLV-1005/, 'an older backup is never written over');
  await mesh.startIdentity();
});

test('the mesh goes on changing; then the directory is lost, and nothing is restored over a CA or by another passphrase', async () => {
  const { status } = await mesh.identity('POST', '/v1/identity/revocations', { spiffeId: `${revokedId}-later` });
  assert.equal(status, 200);
  highest = await sequence();
  await mesh.kill('identity', 'SIGKILL');
  assert.match((await restore()).stderr, /SLV-2187/);
  rmSync(dataDir, { recursive: true });
  writeFileSync(passphraseFile, 'some other passphrase', { mode: 0o600 });
  assert.match((await restore()).stderr, /SLV-2186/);
  assert.equal(existsSync(dataDir), false);
  writeFileSync(passphraseFile, `${passphrase}\n`, { mode: 0o600 });
  mkdirSync(dataDir); // an empty one is as good as none
  const { code, stdout, stderr } = await restore();
  assert.equal(code, 0, stderr);
  assert.ok(stdout.includes(pin), stdout);
  assert.equal(statSync(dataDir).mode & 0o777, 0o700);
  assert.equal(existsSync(`${dataDir}.restoring`), false);
});

test('the proxies go on: no failed call, SVIDs are renewed, revocations and redeemed tokens stay, unused tokens are void', async () => {
  await mesh.startIdentity();
  assert.equal(mesh.pin, pin);
  assert.ok((await sequence()) > highest, 'the bundle never goes back');
  const { text } = await mesh.identity('GET', '/v1/identity/revocations');
  assert.ok(text.includes(revokedId));
  const tokens = (await mesh.identity('GET', '/v1/identity/join-tokens')).text;
  assert.ok(!tokens.includes(unused.slice(4, 20)), 'it may have been redeemed since');
  assert.ok(tokens.includes('redeemedBy'));
  const spent = readFileSync(mesh.path('web.join-token'), 'utf8').trim();
  const thief = await mesh.spawnProxy('thief', { service: 'web', token: spent, state: false });
  assert.equal(await thief.whenEnded(), 'exit code 1');
  assert.match(thief.log, /SLV-2102/);
  const renewed = async (name: string): Promise<void> => {
    const before = await serial(name);
    await waitFor(`${name} to renew`, async () => (await serial(name)) !== before, 60_000);
  };
  await Promise.all(['web', 'db'].map(renewed));
  const live = async () => (await mesh.status(web.admin)).view.feed.kind === 'live';
  await waitFor('the feed to be live', live, 30_000);
});

// A test of its own, so that the calls end whatever became of the tests before: as long as they go on, so does this file.
test('no call failed', async () => {
  assert.deepEqual((await calls.stop()).failures, []);
});
