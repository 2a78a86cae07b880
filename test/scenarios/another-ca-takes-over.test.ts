import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { after, describe, test } from 'node:test';
import { type RotationView, rotationViewSchema } from '#policies/wire/rotation-api.ts';
import { findBao, startBao } from '#test/bao.ts';
import { findEtcd, startEtcd } from '#test/etcd.ts';
import { freePorts } from '#test/free-ports.ts';
import { startLoad } from '#test/load.ts';
import { prepareVaultPki } from '#test/vault-pki.ts';
import { waitFor } from '#test/wait-for.ts';
import { startHttpApplication } from './application.ts';
import { httpCall, keepingAgent, unlessOk } from './http-call.ts';
import { setScene } from './scene.ts';

/**
 * A mesh under load, its identity records in etcd, loses one of its two identity processes, goes over from the embedded CA to Vault at the address of the
 * other, and then to Vault's next root, by nothing but other options at a start of the identity service: not a request fails, who hangs is waited for and
 * named, and nothing of the former CA stays.
 */

const skip = (await findBao()).skip || (await findEtcd()).skip;

describe('another CA takes over', { skip }, async () => {
  if (skip !== false) return;
  const [bao, etcd, [secondPort]] = await Promise.all([startBao(), startEtcd({ members: 1 }), freePorts(1)]);
  after(() => Promise.all([bao[Symbol.asyncDispose](), etcd[Symbol.asyncDispose]()]));
  const second = `https://127.0.0.1:${secondPort}`;
  const pki = await prepareVaultPki(bao, { trustDomain: 'mesh.internal', mode: 'vault-intermediate' });
  const token = await pki.token();
  const db = await startHttpApplication();
  const { mesh, web } = await setScene({}, async (mesh) => {
    mesh.secrets.add(token);
    mesh.addIdentityFlags('--svid-ttl', '1m', '--rotation-deadline', '3s', '--rotation-settle', '8s');
    mesh.addIdentityFlags(...etcd.addresses.flatMap((address) => ['--etcd', address]));
    mesh.addCatalogFlags('--identity', second);
    await mesh.startControlPlane();
    // Identity is there before the catalog; what it asks the catalog it learns at its next start.
    mesh.addIdentityFlags('--catalog', mesh.catalogUrl);
    await mesh.speakHttp('db');
    mkdirSync(mesh.path('identity-2'), { mode: 0o700 });
    symlinkSync(mesh.path('identity', 'ca'), mesh.path('identity-2', 'ca'));
    const place = ['--listen', `127.0.0.1:${secondPort}`, '--data-dir', mesh.path('identity-2')];
    const standby = mesh.selvedge('identity-2', ['serve', 'identity', ...place, ...mesh.identityFlags]);
    const flags = ['--identity', mesh.identityUrl, '--identity', second];
    const [web] = await Promise.all([
      mesh.startProxy('web', { service: 'web', upstreams: ['db'], flags }),
      mesh.startProxy('db', { service: 'db', local: db.address, flags }),
    ]);
    await mesh.startProxy('sleeper', { service: 'sleeper', upstreams: ['db'], flags });
    await mesh.isFollowed('sleeper');
    await standby.fact('standby');
    await mesh.intend('web', 'db', 'allow');
    await mesh.knows(web.admin, 'db');
    return { web };
  });
  const agent = keepingAgent();
  const caPem = (): string => readFileSync(mesh.path('identity', 'ca.pem'), 'utf8').trim();
  const view = async (): Promise<RotationView> =>
    rotationViewSchema.parse(JSON.parse((await mesh.identity('GET', '/v1/identity/rotation')).text));
  const isOver = async (): Promise<boolean> => {
    const { state, takeover, waitingFor } = await view();
    return state === 'idle' && takeover === undefined && waitingFor === undefined;
  };

  /** Starts identity with further flags, at this URL, while calls go on, on kept connections and on new ones. None may fail. */
  async function takeOver(
    flags: readonly string[],
    { url, before, meanwhile }: { url?: string; before: () => Promise<void>; meanwhile?: () => Promise<void> },
  ): Promise<string> {
    await waitFor(
      'web to be allowed',
      async () => (await httpCall(web.upstream('db'), { agent })).status === 200,
      20_000,
    );
    await using load = startLoad(() => unlessOk(httpCall(web.upstream('db'), { agent })), 2);
    await using perConnection = startLoad(() => unlessOk(httpCall(web.upstream('db'))), 1);
    const begun = performance.now();
    await before();
    mesh.addIdentityFlags(...flags);
    await mesh.startIdentity(url);
    await meanwhile?.();
    await waitFor('the former CA to be gone', isOver, 60_000);
    const [kept, fresh] = [await load.stop(), await perConnection.stop()];
    assert.deepEqual([kept.failures, fresh.failures], [[], []]);
    assert.ok(kept.calls > 200 && fresh.calls > 100);
    for (const name of ['web', 'db'])
      assert.doesNotMatch(
        mesh.child(name).log,
        /peer refused|handshake failed|"refused while/,
        `${name} refused nobody`,
      );
    return `${Math.round(performance.now() - begun)} ms, ${kept.calls} calls on kept connections, ${fresh.calls} on new ones`;
  }

  test('one of two identity processes is killed; then from the embedded CA to Vault at the address of the other, with a proxy that hangs', async (t) => {
    const tokenFile = mesh.path('vault.token');
    writeFileSync(tokenFile, token, { mode: 0o600 });
    mesh.child('sleeper').signal('SIGSTOP');
    const place = `--vault-addr ${bao.address} --vault-root-mount ${pki.rootMount} --vault-root-issuer r1`;
    const flags = ['--backend', 'vault-intermediate', ...place.split(' '), '--vault-token-file', tokenFile];
    const killed = async (): Promise<void> => {
      await mesh.kill('identity', 'SIGKILL');
      await mesh.child('identity-2').fact('ready');
      await mesh.kill('identity-2', 'SIGTERM');
    };
    const meanwhile = async (): Promise<void> => {
      const overdue = await waitFor(
        'the deadline to pass, and all but one to have answered',
        async () => {
          const now = await view();
          const { overdue, missing = [] } = now.waitingFor ?? {};
          return overdue === true && missing.length === 1 ? now : undefined;
        },
        20_000,
      );
      assert.deepEqual([overdue.state, overdue.waitingFor?.missing], ['published', ['sleeper-host/sleeper']]);
      assert.deepEqual(overdue.takeover?.from, 'embedded');
      const client = ['--identity', mesh.identityUrl, '--token-file', mesh.path('identity', 'operator.token')];
      const caFile = ['--ca-file', mesh.path('identity', 'ca.pem')];
      const said = async () => (await mesh.command(['identity', 'rotation', 'status', ...client, ...caFile])).stderr;
      const both = /takeover: embedded -> vault-intermediate pki_root\/r1 at http.*\nwaits: .*sleeper-host\/sleeper/;
      await waitFor('the command to say so', async () => both.test(await said()), 60_000);
      mesh.child('sleeper').signal('SIGCONT');
    };
    // From here on nothing is at the first address: every renewal is of the second.
    t.diagnostic(await takeOver(flags, { url: second, before: killed, meanwhile }));
    assert.equal(caPem(), pki.rootPem.trim());
    const files = readdirSync(mesh.path('identity', 'ca'));
    assert.ok(
      files.length === 1 && files[0]?.startsWith('vault-issuing-'),
      `of the former CA is left: ${files.join()}`,
    );
  });

  test("to Vault's next root, which the former one certified, with the rights that the service had", async (t) => {
    const plan = { rootIssuer: 'r2', predecessor: 'r1' };
    const next = await prepareVaultPki(bao, { trustDomain: 'mesh.internal', mode: 'vault-intermediate', plan });
    const before = (): Promise<void> => mesh.kill('identity', 'SIGTERM');
    t.diagnostic(await takeOver(['--vault-root-issuer', 'r2'], { before }));
    assert.equal(caPem(), next.rootPem.trim());
    assert.equal((await mesh.status(mesh.proxy('sleeper').admin)).ready, true);
  });
});
