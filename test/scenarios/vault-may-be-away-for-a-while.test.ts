import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, describe, test } from 'node:test';
import { type IdentityStatus, identityStatusSchema } from '#policies/wire/identity-api.ts';
import { makeCsr } from '#runtime/svid/csr.ts';
import { IdentityClient } from '#runtime/svid/identity-client.ts';
import { IdentityEndpoints } from '#runtime/svid/identity-endpoints.ts';
import { makeKeyPair } from '#runtime/svid/node-key.ts';
import { openNodeState } from '#runtime/svid/node-state.ts';
import { type Bao, findBao, startBao } from '#test/bao.ts';
import { startLoad } from '#test/load.ts';
import type { RunningProxy } from '#test/mesh-processes.ts';
import { prepareVaultPki, type VaultPki } from '#test/vault-pki.ts';
import { waitFor } from '#test/wait-for.ts';
import { startHttpApplication } from './application.ts';
import { httpCall, keepingAgent, unlessOk } from './http-call.ts';
import { setScene } from './scene.ts';
import { joinAs, quietContext } from './workload.ts';

/** Vault signs every certificate. Sealed, stopped, killed or refusing: nobody notices while the SVIDs last, and everybody can see it. */

const { skip } = await findBao();

describe('Vault as the CA', { skip }, async () => {
  if (skip !== false) return;
  const bao: Bao = await startBao({ storage: 'disk' });
  after(() => bao[Symbol.asyncDispose]());
  const pki: VaultPki = await prepareVaultPki(bao, { trustDomain: 'mesh.internal', tokenTtl: '1m' });
  const db = await startHttpApplication();
  const agent = keepingAgent();
  const secretId = await pki.secretId();
  // Renewals are due each 20 s: what Vault does shows in a short test.
  const { mesh, web, prober, nodeId } = await setScene(
    { logLevel: 'debug', identityFlags: ['--svid-ttl', '1m'] },
    async (mesh) => {
      const files = { role: mesh.path('vault.role-id'), secret: mesh.path('vault.secret-id') };
      writeFileSync(files.role, pki.roleId);
      writeFileSync(files.secret, secretId);
      for (const secret of [secretId, bao.rootToken]) mesh.secrets.add(secret);
      const vault = `--vault-addr ${bao.address} --vault-mount ${pki.mount} --vault-role ${pki.role} --vault-issuer ${pki.issuerRef}`;
      mesh.addIdentityFlags('--backend', 'vault-leaf', ...vault.split(' '));
      mesh.addIdentityFlags('--vault-role-id-file', files.role, '--vault-secret-id-file', files.secret);
      await mesh.startControlPlane();
      await mesh.speakHttp('db');
      const [web] = await Promise.all([
        mesh.startProxy('web', { service: 'web', upstreams: ['db'] }),
        mesh.startProxy('db', { service: 'db', local: db.address }),
      ]);
      await mesh.intend('web', 'db', 'allow');
      await mesh.knows(web.admin, 'db');
      const { trust } = await joinAs(mesh, ['prober'], 'trusting');
      const state = await openNodeState(undefined);
      const { signal } = new AbortController();
      const prober = new IdentityClient({
        endpoints: new IdentityEndpoints(mesh.identityUrl),
        trust,
        state,
        context: quietContext,
        signal,
      });
      return { web, prober, nodeId: await prober.join(await mesh.joinToken(['prober']), 'prober') };
    },
  );
  const call = () => httpCall(web.upstream('db'), { agent });

  const backend = async (): Promise<IdentityStatus['backend']> =>
    identityStatusSchema.parse(JSON.parse((await mesh.identity('GET', '/v1/identity/status', undefined, null)).text))
      .backend;
  const ready = async () => (await mesh.identity('GET', '/readyz', undefined, null)).status;
  const serial = async (proxy: RunningProxy) => (await mesh.status(proxy.admin)).svid?.serial;

  /** Asks for a certificate. @returns what the identity service refused with; undefined: it was issued */
  async function ask(): Promise<string | undefined> {
    try {
      await prober.issue({ service: 'prober', csr: makeCsr(makeKeyPair()) }, { nodeId });
      return undefined;
    } catch (error) {
      return String(error);
    }
  }

  /** Vault is lost under load; it is seen; calls go on; Vault comes back; certificates are issued again, with nothing restarted. */
  async function outage(
    lose: () => Promise<void> | void,
    mend: () => Promise<void> | void,
    reason: RegExp,
  ): Promise<void> {
    await using load = startLoad(() => unlessOk(call()), 2);
    await lose();
    assert.match((await ask()) ?? '', /SLV-2140/, 'refused as not available');
    const { healthy, reason: words = '' } = await backend();
    assert.equal(healthy, false);
    assert.match(words, reason);
    assert.equal(await ready(), 200, 'red only when half of the time to an outage is gone');
    assert.equal((await mesh.identity('GET', '/livez', undefined, null)).status, 200);
    const calls = load.calls();
    await waitFor('further calls', () => load.calls() > calls + 100, 60_000);
    await mend();
    await waitFor('a certificate', async () => (await ask()) === undefined, 30_000);
    // A renewal that was asked for meanwhile may still come to its end, and say so.
    await waitFor('it to be healthy', async () => (await backend()).healthy, 30_000);
    assert.equal(await ready(), 200);
    assert.deepEqual((await load.stop()).failures, []);
  }

  test('the main path: an SVID by Vault’s issuer on each side, and no CA key anywhere but in Vault', async () => {
    await waitFor('web to reach db', async () => (await call()).status === 200, 20_000);
    assert.equal(db.seen.at(-1)?.headers['selvedge-source'], 'spiffe://mesh.internal/ns/default/dc/dc1/svc/web');
    assert.deepEqual(await backend(), { kind: 'vault-leaf', healthy: true });
  });

  test('sealed, then unsealed', () =>
    outage(
      () => bao.seal(),
      () => bao.unseal(),
      /sealed/,
    ));
  test('killed, then started again', () =>
    outage(
      () => bao.stop(),
      () => bao.start(),
      /ECONNREFUSED/,
    ));
  test('stopped in its tracks: it takes connections and never answers', () =>
    outage(
      () => bao.pause(),
      () => bao.resume(),
      /no answer|timed? ?out|within/,
    ));

  test('the token is revoked: the identity service logs in again by itself', async () => {
    const accessors = (await bao.must('LIST', 'auth/token/accessors'))['keys'] as string[];
    let revoked = 0;
    for (const accessor of accessors) {
      const token = await bao.call('POST', 'auth/token/lookup-accessor', { accessor });
      if (!JSON.stringify(token.body).includes('auth/approle/login')) continue;
      await bao.must('POST', 'auth/token/revoke-accessor', { accessor });
      revoked += 1;
    }
    assert.ok(revoked > 0);
    await waitFor('a certificate', async () => (await ask()) === undefined, 30_000);
    assert.deepEqual(await backend(), { kind: 'vault-leaf', healthy: true });
  });

  test('after all that the proxies renewed by themselves, on time', async () => {
    await using load = startLoad(() => unlessOk(call()), 2);
    const serials = await Promise.all([serial(web), serial(mesh.proxy('db'))]);
    await waitFor(
      'new SVIDs on both sides',
      async () => {
        const now = await Promise.all([serial(web), serial(mesh.proxy('db'))]);
        return now.every((each, index) => each !== undefined && each !== serials[index]);
      },
      50_000,
    );
    assert.deepEqual((await load.stop()).failures, []);
  });
});
