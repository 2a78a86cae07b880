import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { waitFor } from '#test/wait-for.ts';
import { createLogger } from '../logging.ts';
import { systemContext } from '../process-context.ts';
import { type MeshIdentity, openMeshIdentity } from './mesh-identity.ts';
import { goodToken, TestIdentity } from './testing/test-identity.ts';

const log = createLogger({ process: 'test', level: 'silent' });
const opened: MeshIdentity[] = [];
const identities: TestIdentity[] = [];
const directories: string[] = [];
let directory = '';
/** How far the clock of the node is ahead. */
let aheadMs = 0;
let identity: TestIdentity;

beforeEach(async () => {
  aheadMs = 0;
  directory = await mkdtemp(join(tmpdir(), 'selvedge-succession-'));
  directories.push(directory);
  identity = await new TestIdentity().start();
  identities.push(identity);
  await writeFile(join(directory, 'token'), goodToken);
});
after(async () => {
  await Promise.all(opened.map((mesh) => mesh.close()));
  await Promise.all(identities.map((one) => one.stop()));
  await Promise.all(directories.map((path) => rm(path, { recursive: true })));
});

async function open(): Promise<MeshIdentity> {
  const mesh = await openMeshIdentity({
    identityUrl: identity.url,
    services: ['web'],
    stateDir: join(directory, 'state'),
    joinTokenFile: join(directory, 'token'),
    caPin: identity.pin,
    nodeName: 'node-a',
    context: { ...systemContext(log), clock: () => Date.now() + aheadMs, random: () => 0 },
    signal: new AbortController().signal,
    pause: (_ms, signal) => new Promise((resolve) => (signal.aborted ? resolve() : setTimeout(resolve, 20))),
  });
  opened.push(mesh);
  return mesh;
}
const keptSequence = async (): Promise<number> => {
  const jws = await readFile(join(directory, 'state', 'trust.jws'), 'utf8');
  return JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString()).bundle.spiffe_sequence;
};

test('a start with roots that were replaced twice follows, gets an SVID under the new one, and keeps both', async () => {
  await (await open()).close();
  await rm(join(directory, 'state', 'svid-web.json'));
  await identity.replaceRoot(true);
  await identity.replaceRoot(true);
  const mesh = await open();
  assert.equal(mesh.trust.sequence, 3);
  assert.equal(identity.issued.length, 2);
  assert.notEqual(mesh.svid('web').current, undefined);
  await mesh.close();
  assert.equal(await keptSequence(), 3);
});

test('an SVID under a root that is gone is renewed at once, not in its time', async () => {
  identity.lifetimeMs = 7_200_000;
  const mesh = await open();
  const before = mesh.svid('web').current;
  await identity.replaceRoot(true);
  mesh.refreshTrustSoon?.();
  aheadMs = 31_000; // the haste; its time is after forty minutes
  await waitFor('another SVID', () => mesh.svid('web').current !== before, 30_000);
  assert.equal(mesh.trust.sequence, 2);
});

test('a server that serves a true succession and is not who it leads to is told nothing, and nothing is stored', async () => {
  await (await open()).close();
  await rm(join(directory, 'state', 'svid-web.json'));
  await identity.replaceRoot(true);
  const { steps } = identity;
  // Whoever took its place can serve what is public, and has an SVID of its own making.
  await identity.replaceRoot(false);
  identity.steps = steps;
  identity.received.length = 0;
  const mesh = await open();
  assert.deepEqual([mesh.trust.sequence, mesh.svid('web').current], [1, undefined]);
  assert.equal(await keptSequence(), 1);
  assert.equal(identity.issued.length, 1);
  assert.ok(identity.received.every((text) => !text.includes('node-1') && !text.includes('CERTIFICATE')));
});

test('without a succession it stays with the roots in hand', async () => {
  const mesh = await open();
  await identity.replaceRoot(false);
  await assert.rejects(mesh.fetchJwtSvid('web', ['db']), (error) => isMeshError(error, 'SLV-2020'));
  assert.equal(mesh.trust.sequence, 1);
});
