import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { toPem } from '#policies/der-writer.ts';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { formatSpiffeBundle } from '#policies/trust-bundle.ts';
import type { JoinTokenView, NodeView } from '#policies/wire/identity-api.ts';
import { verifyAuditLog } from '#runtime/audit/verify-audit-log.ts';
import { IdentityClient } from '#runtime/svid/identity-client.ts';
import { IdentityEndpoints } from '#runtime/svid/identity-endpoints.ts';
import { openNodeState } from '#runtime/svid/node-state.ts';
import type { Svid } from '#runtime/svid/svid.ts';
import { makeCa } from '#test/mini-ca.ts';
import { waitFor } from '#test/wait-for.ts';
import { startImpostor } from './impostor.ts';
import { setScene } from './scene.ts';
import { joinAs, quietContext } from './workload.ts';

/** Joining takes a token that is good for one node once, and a node gives its token only to a server that has proven itself. */

const { mesh, insider } = await setScene({ logLevel: 'debug' }, async (mesh) => {
  await mesh.startIdentity();
  return { insider: await joinAs(mesh, ['web'], 'insider') };
});
/** The shortest life that there is; by the last test it is over. */
const shortLived = await mesh.joinToken(['web'], { ttlSeconds: 10 });
const expiredAtMs = Date.now() + 10_000;

const authentication = 'exit code 4';

/** Starts a proxy with a token and other flags than the mesh's. @returns how it ended, and its log */
async function start(name: string, token: string, flags: readonly string[]): Promise<{ ended: string; log: string }> {
  const child = await mesh.spawnProxy(name, { service: 'web', token, state: false, flags });
  const ended = await child.whenEnded();
  return { ended, log: child.log };
}

async function tokens(): Promise<JoinTokenView[]> {
  return JSON.parse((await mesh.identity('GET', '/v1/identity/join-tokens')).text) as JoinTokenView[];
}

function ofInsider(): Svid {
  const svid = insider.svid('web').current;
  assert.ok(svid);
  return svid;
}

test('a server that can not prove itself never gets the token, whatever it shows', async (t) => {
  const stranger = makeCa('mesh.internal');
  const identityId = 'spiffe://mesh.internal/ns/default/dc/dc1/svc/selvedge-identity';
  const own = '/v1/identity/bundle';
  const signed = '/v1/identity/bundle/signed';
  const genuine = {
    [own]: (await mesh.identity('GET', own)).text,
    [signed]: (await mesh.identity('GET', signed)).text,
  };
  const strangersRoots = mesh.path('stranger.pem');
  writeFileSync(strangersRoots, toPem('CERTIFICATE', stranger.root.certificate));
  const pretender = stranger.issue({ spiffeId: identityId });
  const strangersBundle = { ...genuine, [own]: JSON.stringify(formatSpiffeBundle(stranger.bundle)) };
  const cases: Record<string, { svid: Svid; pages: Record<string, string>; flags: string[] }> = {
    'a stranger with bundles of its own, by pin': { svid: pretender, pages: strangersBundle, flags: [] },
    'a stranger that replays the genuine bundles, by pin': { svid: pretender, pages: genuine, flags: [] },
    'a stranger, by CA file': {
      svid: pretender,
      pages: genuine,
      flags: ['--ca-file', mesh.path('identity', 'ca.pem')],
    },
    'a node of the mesh that is not the identity service, by pin': { svid: ofInsider(), pages: genuine, flags: [] },
  };
  for (const [index, [what, { svid, pages, flags }]] of Object.entries(cases).entries()) {
    await t.test(what, async () => {
      const impostor = await startImpostor(svid, pages);
      const token = await mesh.joinToken(['web']);
      const { ended, log } = await start(`fooled-${index}`, token, ['--identity', impostor.url, ...flags]);
      assert.equal(ended, authentication, log);
      assert.match(log, /SLV-2010/);
      assert.ok(impostor.connections > 0, 'it was tried');
      assert.equal(impostor.heard.includes(token), false);
      assert.doesNotMatch(impostor.heard, /POST/);
    });
  }
});

test('the genuine server with the wrong pin or the wrong CA file is not believed either, and the token stays good', async () => {
  const file = mesh.path('stranger.pem');
  const token = await mesh.joinToken(['web']);
  for (const [name, flags] of [
    ['wrong-pin', ['--ca-pin', `sha256:${'0'.repeat(64)}`]],
    ['wrong-file', ['--ca-file', file]],
  ] as const) {
    const { ended, log } = await start(name, token, flags);
    assert.equal(ended, authentication, log);
    assert.match(log, /SLV-2010/);
  }
  assert.equal((await tokens()).find(({ id }) => token.includes(id))?.redeemedBy, undefined);
});

test('50 nodes redeem one token at once: exactly one wins, and only it is a node', async () => {
  const token = await mesh.joinToken(['web']);
  const clients = await Promise.all(
    Array.from({ length: 50 }, async () => {
      const state = await openNodeState(undefined);
      const { signal } = new AbortController();
      return new IdentityClient({
        endpoints: new IdentityEndpoints(mesh.identityUrl),
        trust: insider.trust,
        state,
        context: quietContext,
        signal,
      });
    }),
  );
  const outcomes = await Promise.allSettled(clients.map((client, index) => client.join(token, `racer-${index}`)));
  const winners = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  assert.equal(winners.length, 1);
  for (const outcome of outcomes) {
    if (outcome.status === 'fulfilled') continue;
    assert.ok(isMeshError(outcome.reason, 'SLV-2014'), String(outcome.reason));
    assert.equal(outcome.reason.detail['remoteCode'], 'SLV-2102');
  }
  const nodes = JSON.parse((await mesh.identity('GET', '/v1/identity/nodes')).text) as NodeView[];
  assert.deepEqual(
    nodes.filter(({ name }) => name.startsWith('racer-')).map(({ id }) => id),
    winners,
  );
});

test('a token that was used, is for another node, or was never made, lets nobody in', async () => {
  const used = await mesh.joinToken(['web']);
  await joinThrough(used, 'first');
  const forAnother = await mesh.joinToken(['web'], { node: 'somebody-else' });
  const invented = `slj_${'0'.repeat(16)}_${'A'.repeat(43)}`;
  const before = await nodeCount();
  for (const [name, token, code] of [
    ['used', used, /SLV-2102/],
    ['for-another', forAnother, /SLV-2105/],
    ['invented', invented, /SLV-2101/],
  ] as const) {
    const { ended, log } = await start(name, token, []);
    assert.notEqual(ended, 'exit code 0');
    assert.match(log, code);
  }
  assert.equal(await nodeCount(), before);
});

test('over plain HTTP no token is sent: who names a pin is not asked to believe, and ends saying so', async () => {
  const signed = '/v1/identity/bundle/signed';
  const impostor = await startImpostor(undefined, { [signed]: (await mesh.identity('GET', signed)).text });
  const token = await mesh.joinToken(['web']);
  const child = await mesh.spawnProxy('plain', {
    service: 'web',
    token,
    state: false,
    flags: ['--identity', impostor.url],
  });
  assert.equal(await child.whenEnded(), 'exit code 2');
  assert.match(child.log, /SLV-1002/);
  assert.equal(impostor.heard, '');
});

test('operators only make, list and withdraw tokens', async () => {
  const before = await tokens();
  for (const token of [null, 'wrong', ofInsider().serialHex]) {
    const made = await mesh.identity('POST', '/v1/identity/join-tokens', { services: ['web'] }, token);
    const listed = await mesh.identity('GET', '/v1/identity/join-tokens', undefined, token);
    const [first] = before;
    const withdrawn = await mesh.identity('DELETE', `/v1/identity/join-tokens/${first?.id}`, undefined, token);
    assert.deepEqual([made.status, listed.status, withdrawn.status], [401, 401, 401]);
  }
  assert.deepEqual(await tokens(), before);
});

test('an expired token lets nobody in', async () => {
  await waitFor('the token to expire', () => Date.now() > expiredAtMs, 20_000);
  const { ended, log } = await start('late', shortLived, []);
  assert.notEqual(ended, 'exit code 0');
  assert.match(log, /SLV-2104/);
});

test('all of it stands in an audit log that verifies', async () => {
  const text = readFileSync(mesh.path('identity', 'audit.jsonl'), 'utf8');
  assert.ok((await verifyAuditLog([Buffer.from(text)])).lines > 50);
  assert.match(text, /"event":"join-refused".*SLV-2102/);
  assert.match(text, /"event":"join-refused".*SLV-2104/);
});

async function joinThrough(token: string, node: string): Promise<void> {
  const state = await openNodeState(undefined);
  const { signal } = new AbortController();
  const context = quietContext;
  await new IdentityClient({
    endpoints: new IdentityEndpoints(mesh.identityUrl),
    trust: insider.trust,
    state,
    context,
    signal,
  }).join(token, node);
}

async function nodeCount(): Promise<number> {
  return (JSON.parse((await mesh.identity('GET', '/v1/identity/nodes')).text) as NodeView[]).length;
}
