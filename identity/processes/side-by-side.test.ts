import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { credentials } from '@grpc/grpc-js';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { issuedJwtSchema, nodeProofHeader, signedBundleAnswerSchema } from '#policies/wire/identity-api.ts';
import { createLogger } from '#runtime/logging.ts';
import { validateJwtSvid } from '#runtime/svid/jwt-svid.ts';
import { makeKeyPair, publicKeyPem } from '#runtime/svid/node-key.ts';
import { signNodeProof } from '#runtime/svid/node-proof.ts';
import { certificatesOfPem } from '#runtime/svid/pem.ts';
import type { Store } from '#store/contract.ts';
import { openEtcdStore } from '#store/etcd/etcd-store.ts';
import { type Bao, findBao, startBao } from '#test/bao.ts';
import { type EtcdCluster, findEtcd, startEtcd } from '#test/etcd.ts';
import { prepareVaultPki } from '#test/vault-pki.ts';
import { waitFor } from '#test/wait-for.ts';
import type { CaConfig } from '../backends/ca-config.ts';
import { startIdentity } from '../main.ts';
import { forgeRequest } from '../testing/forge-request.ts';
import { OneOfSeveral } from '../testing/one-of-several.ts';
import type { TestNode } from '../testing/service-caller.ts';
import { startSharedIdentity } from './shared-identity.ts';

/** Two identity services over three members of etcd, each asking a real bao: any takes any request. The tests are one story, in order. */

const skip = (await findBao()).skip || (await findEtcd()).skip;
const log = createLogger({ process: 'test', level: 'silent' });

describe('identity services side by side', { skip }, () => {
  let [bao, cluster]: [Bao?, EtcdCluster?] = [];
  const stores: Store[] = [];
  let secrets = '';
  let backend: CaConfig = { kind: 'embedded' };
  /** Under the same root. */
  let intermediate: CaConfig = { kind: 'embedded' };
  let one: OneOfSeveral;
  let two: OneOfSeveral;
  let node: TestNode;

  const openStore = async (): Promise<Store> => {
    const addresses = cluster?.addresses ?? [];
    const plain = credentials.createInsecure();
    const store = await openEtcdStore({ addresses, credentials: plain, prefix: 'mesh/identity', log });
    stores.push(store);
    return store;
  };
  const bundleOf = async (service: OneOfSeveral) => {
    const { jws } = signedBundleAnswerSchema.parse((await service.ask('/v1/identity/bundle/signed')).body);
    const { bundle, revoked } = decodeJwt<{ bundle: { spiffe_sequence: number }; revoked: { serials: string[] } }>(jws);
    return { bundle, revoked, sequence: bundle.spiffe_sequence };
  };
  const jwt = async (service: OneOfSeveral) => {
    const body = JSON.stringify({ service: 'web', audience: ['db'] });
    const proof = await signNodeProof(node.key, { nodeId: node.nodeId, content: body }, service.context);
    return service.ask('/v1/identity/jwt-svids', { body, headers: { [nodeProofHeader]: proof } });
  };

  before(async () => {
    [bao, cluster] = await Promise.all([startBao(), startEtcd()]);
    const pki = await prepareVaultPki(bao, { trustDomain: 'mesh.test', mode: 'vault-leaf' });
    secrets = await mkdtemp(join(tmpdir(), 'selvedge-several-secrets-'));
    const tokenFile = join(secrets, 'token');
    await writeFile(tokenFile, await pki.token());
    const { mount, role } = pki;
    backend = { kind: 'vault-leaf', address: bao.address, mount, role, auth: { kind: 'token', tokenFile } };
    const plan = { policy: 'intermediate', approle: 'intermediate' };
    const certifying = await prepareVaultPki(bao, { trustDomain: 'mesh.test', mode: 'vault-intermediate', plan });
    const itsTokenFile = join(secrets, 'token-intermediate');
    await writeFile(itsTokenFile, await certifying.token());
    intermediate = {
      kind: 'vault-intermediate',
      address: bao.address,
      rootMount: pki.rootMount,
      rootIssuerRef: 'r1',
      auth: { kind: 'token', tokenFile: itsTokenFile },
    };
    // At the same moment, on a store that has nothing.
    const [a, b] = await Promise.all(
      [await openStore(), await openStore()].map((store) => OneOfSeveral.start(store, { config: { backend } })),
    );
    assert.ok(a !== undefined && b !== undefined);
    [one, two] = existsSync(join(a.folder, 'operator.token')) ? [a, b] : [b, a];
    two.operators = await one.operatorToken;
  });
  after(async () => {
    await Promise.all([one?.[Symbol.asyncDispose](), two?.[Symbol.asyncDispose]()]);
    await Promise.all(stores.map((store) => store.close()));
    await Promise.all([bao?.[Symbol.asyncDispose](), cluster?.[Symbol.asyncDispose]()]);
    await rm(secrets, { recursive: true, force: true });
  });

  test('operators have one token at both; a token made at one is redeemed at the other', async () => {
    assert.equal(existsSync(join(two.folder, 'operator.token')), false, 'the second makes none');
    const token = await two.joinToken(['web']);
    const key = makeKeyPair();
    const joined = await one.join(token, key);
    assert.equal(joined.status, 200);
    node = { key, nodeId: String(joined.body['nodeId']) };
    assert.equal((await two.join(token, key)).body['code'], 'SLV-2103', 'the very node, at the other');
  });

  test('of 200 at once, at both, one redeems a token', async () => {
    const token = await one.joinToken(['db']);
    // Past TLS: 400 ends of a handshake in one process would come one after the other.
    const ask = async (service: OneOfSeveral): Promise<string> => {
      const key = makeKeyPair();
      const proof = await signNodeProof(key, { content: token }, service.context);
      const body = JSON.stringify({ token, node: 'node-1', publicKey: publicKeyPem(key), proof });
      const headers = { 'content-type': 'application/json' };
      const request = { method: 'POST', body, headers };
      const answer = await service.identity.app.request('/v1/identity/join', request, { remoteAddress: '127.0.0.1' });
      return answer.status === 200 ? 'joined' : String(((await answer.json()) as { code?: unknown }).code);
    };
    const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => ask(i % 2 === 0 ? one : two)));
    assert.equal(answers.filter((answer) => answer === 'joined').length, 1);
    assert.deepEqual([...new Set(answers)].sort(), ['SLV-2102', 'joined']);
    assert.equal((await two.operate('/v1/identity/nodes')).status, 200);
  });

  test('each says who is there, and counts them', async () => {
    for (const service of [one, two]) {
      await waitFor('both', async () => (await service.processes()).length === 2, 10_000);
      assert.deepEqual((await service.processes()).toSorted(), ['member', 'member, asked']);
      const { text } = (await service.ask('/metrics')).body;
      assert.match(String(text), /^selvedge_identity_processes\{role="member"\} 2$/m);
      assert.match(String(text), /^selvedge_identity_process_role\{role="member"\} 1$/m);
    }
  });

  test('what one issued the other renews; what one revoked is in the bundle of the other within a second', async () => {
    const { svid, issued } = await one.svid(node, 'web');
    const renewed = await two.ask('/v1/identity/svids', {
      body: { service: 'web', csr: forgeRequest() },
      svid,
    });
    assert.equal(renewed.status, 200);
    const [before, elsewhere] = [await bundleOf(one), await bundleOf(two)];
    assert.deepEqual(before.bundle, elsewhere.bundle, 'one bundle, whoever signs it');
    const revokedAt = performance.now();
    await one.operate('/v1/identity/revocations', { body: { serial: issued.serial } });
    await waitFor(
      'it in the bundle of the other',
      async () => (await bundleOf(two)).revoked.serials.includes(issued.serial),
      10_000,
    );
    const tookMs = performance.now() - revokedAt;
    assert.ok(tookMs < 5_000, `${tookMs} ms`);
    const [now, there] = [await bundleOf(one), await bundleOf(two)];
    assert.ok(now.sequence > before.sequence);
    assert.deepEqual([now.bundle, now.revoked], [there.bundle, there.revoked]);
  });

  test('each has a key of its own for JWT-SVIDs, and the bundle of either validates them', async () => {
    // Who was the later by a moment at the first start waits, as the third below.
    const answers = [await jwt(one), await jwt(two)];
    const late = answers.filter(({ status }) => status !== 200);
    assert.ok(late.length < 2 && late.every(({ body }) => body['code'] === 'SLV-2184'));
    const tokens = answers.filter(({ status }) => status === 200).map(({ body }) => issuedJwtSchema.parse(body).token);
    assert.equal(new Set(tokens.map((token) => decodeProtectedHeader(token).kid)).size, tokens.length);
    for (const at of [one, two]) {
      const trust = at.trust ?? assert.fail();
      const { body } = await at.ask('/v1/identity/bundle/signed');
      assert.ok(await trust.acceptSigned(signedBundleAnswerSchema.parse(body).jws));
      assert.equal(trust.bundleOf(trust.own)?.jwtAuthorities.length, 2);
      for (const token of tokens) await validateJwtSvid(token, { audience: 'db', trust, nowMs: Date.now() });
    }
  });

  test('a third with another CA is refused by name, whichever CA that is; with the same it serves, and signs JWT-SVIDs once all know its key', async () => {
    const refused = (error: unknown): boolean =>
      isMeshError(error, 'SLV-2185') && /vault-leaf pki_int\/default/.test(error.message);
    const store = await openStore();
    await assert.rejects(OneOfSeveral.start(store), refused, 'embedded');
    const elsewhere = { ...backend, issuerRef: 'i1' } as CaConfig;
    await assert.rejects(OneOfSeveral.start(store, { config: { backend: elsewhere } }), refused, 'another issuer');
    await using third = await OneOfSeveral.start(store, { config: { backend } });
    assert.equal((await third.issue(node, { service: 'web' })).status, 200);
    const early = await jwt(third);
    assert.deepEqual([early.status, early.body['code']], [503, 'SLV-2184']);
    assert.ok(Number(early.headers['retry-after']) > 0);
  });

  test('the leader of etcd is killed: both issue again, and the bundle did not go back', async () => {
    const { sequence } = await bundleOf(two);
    await (await cluster?.leader())?.kill();
    for (const service of [one, two])
      await waitFor('an SVID', async () => (await service.issue(node, { service: 'web' })).status === 200, 20_000);
    assert.ok((await bundleOf(one)).sequence >= sequence);
  });

  test('with all others stopped, one changes the CA, alone; once that is in use it lets others in, each with an issuing CA of its own', async () => {
    await Promise.all([one.end(), two.end()]);
    const elsewhere = intermediate;
    const roles: string[] = [];
    const [context, store, stop] = [one.context, await openStore(), new AbortController()];
    const folder = await mkdtemp(join(secrets, 'changing-'));
    const shared = await startSharedIdentity({
      config: { ...one.config, backend: elsewhere, dataDir: folder },
      context,
      store,
      name: 'changing',
      start: (admitted, config) => startIdentity(config, context, store, admitted),
      onServing: (_, role) => void roles.push(role),
      onStandby: () => undefined,
      signal: stop.signal,
    });
    assert.deepEqual(roles, ['lead']);
    await waitFor('it to be one of several', () => roles.length === 2, 20_000);
    assert.deepEqual(roles, ['lead', 'member']);
    await using beside = await OneOfSeveral.start(await openStore(), { config: { backend: elsewhere } });
    assert.equal((await beside.issue(node, { service: 'web' })).status, 200);
    await shared.close(0);

    await using another = await OneOfSeveral.start(await openStore(), { config: { backend: elsewhere } });
    assert.deepEqual(another.identity.pins, beside.identity.pins);
    const [ofOne, ofOther] = [await beside.svid(node, 'web'), await another.svid(node, 'web')];
    const [signer, otherSigner] = [ofOne, ofOther].map(({ issued }) => certificatesOfPem(issued.chain)[1]);
    assert.ok(signer !== undefined && otherSigner !== undefined);
    assert.notDeepEqual(signer, otherSigner);
    const request = { body: { service: 'web', csr: forgeRequest() }, svid: ofOne.svid };
    assert.equal((await another.ask('/v1/identity/svids', request)).status, 200, 'renewed by the other');
    await beside.end();
    assert.equal((await another.ask('/v1/identity/svids', request)).status, 200, 'with the one gone');
  });
});
