import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { parseTrustDomain } from '#policies/spiffe-id.ts';
import { parseSpiffeBundle } from '#policies/trust-bundle.ts';
import { type IssuedJwt, issuedJwtSchema, nodeProofHeader } from '#policies/wire/identity-api.ts';
import { validateJwtSvid } from '#runtime/svid/jwt-svid.ts';
import { openMeshIdentity } from '#runtime/svid/mesh-identity.ts';
import { signNodeProof } from '#runtime/svid/node-proof.ts';
import { RunningService, type TestNode } from '../testing/running-service.ts';

const path = '/v1/identity/jwt-svids';
const web = 'spiffe://mesh.test/ns/default/dc/dc1/svc/web';

describe('JWT-SVIDs over the API', () => {
  let service: RunningService;
  let node: TestNode;
  before(async () => {
    service = await RunningService.start();
    node = await service.node('web');
  });
  after(() => service[Symbol.asyncDispose]());

  const ask = async (request: object) => {
    const body = JSON.stringify(request);
    const proof = await signNodeProof(node.key, { nodeId: node.nodeId, content: body }, service.context);
    return service.ask(path, { body, headers: { [nodeProofHeader]: proof } });
  };
  const issue = async (request: object): Promise<IssuedJwt> => issuedJwtSchema.parse((await ask(request)).body);
  const lifeOf = ({ token }: IssuedJwt) => (decodeJwt(token).exp ?? 0) - (decodeJwt(token).iat ?? 0);

  test('a node proves its key and gets a token of its service; the public bundle validates it', async () => {
    const issued = await issue({ service: 'web', audience: ['db'] });
    assert.deepEqual(Object.keys(decodeProtectedHeader(issued.token)).sort(), ['alg', 'kid', 'typ']);
    const { sub, aud } = decodeJwt(issued.token);
    assert.deepEqual([sub, aud, lifeOf(issued)], [web, ['db'], 300]);

    const document = (await service.ask('/v1/identity/bundle')).body;
    const bundle = parseSpiffeBundle(parseTrustDomain('mesh.test'), document);
    assert.equal(bundle.jwtAuthorities.length, 1);
    const trust = { bundleOf: () => bundle, isRevoked: () => false };
    const facts = await validateJwtSvid(issued.token, { audience: 'db', trust, nowMs: Date.now() });
    assert.equal(facts.spiffeId, web);
    assert.ok((await service.trust?.acceptSigned(issued.bundle)) === true);
    assert.deepEqual(service.trust?.bundleOf(bundle.trustDomain)?.jwtAuthorities, bundle.jwtAuthorities);
  });

  test('an SVID in hand attests as well, for its own service only', async () => {
    const { svid } = await service.svid(node, 'web');
    const body = { service: 'web', audience: ['db'] };
    assert.equal((await service.ask(path, { body, svid })).status, 200);
    const refused = await service.ask(path, { body: { ...body, service: 'db' }, svid });
    assert.deepEqual([refused.status, refused.body['code']], [403, 'SLV-2120']);
  });

  test('what was issued and what was refused is counted', async () => {
    const count = async (series: string): Promise<number> => {
      const { body } = await service.ask('/metrics');
      const line = String(body['text'])
        .split('\n')
        .find((each) => each.startsWith(`${series} `));
      return Number(line?.split(' ')[1] ?? 0);
    };
    const series = [
      'selvedge_identity_jwt_svids_issued_total',
      'selvedge_identity_jwt_svids_refused_total{code="SLV-2120"}',
      'selvedge_identity_refused_total{code="SLV-2120"}',
      'selvedge_identity_svids_issued_total{backend="embedded"}',
    ];
    const before = await Promise.all(series.map(count));
    await issue({ service: 'web', audience: ['db'] });
    assert.equal((await ask({ service: 'db', audience: ['web'] })).body['code'], 'SLV-2120');
    const after = await Promise.all(series.map(count));
    assert.deepEqual(
      after.map((value, at) => value - (before[at] ?? 0)),
      [1, 1, 1, 0],
    );
  });

  test('lifetimes are held within their bounds', async () => {
    const audience = ['db'];
    assert.equal(lifeOf(await issue({ service: 'web', audience, ttlSeconds: 86_400 })), 3_600);
    assert.equal(lifeOf(await issue({ service: 'web', audience, ttlSeconds: 1 })), 10);
    assert.equal(lifeOf(await issue({ service: 'web', audience, ttlSeconds: 60 })), 60);
  });

  test('refusals, by name', async () => {
    const nobody = await service.ask(path, { body: { service: 'web', audience: ['db'] } });
    assert.deepEqual([nobody.status, nobody.body['code']], [401, 'SLV-2001']);
    for (const [request, code] of [
      [{ service: 'db', audience: ['x'] }, 'SLV-2120'],
      [{ service: 'selvedge-identity', audience: ['x'] }, 'SLV-2120'],
      [{ service: '../web', audience: ['x'] }, 'SLV-5002'],
      [{ service: 'web' }, 'SLV-1009'],
      [{ service: 'web', audience: [] }, 'SLV-1009'],
      [{ service: 'web', audience: [''] }, 'SLV-1009'],
      [{ service: 'web', audience: 'db' }, 'SLV-1009'],
      [{ service: 'web', audience: new Array(9).fill('a') }, 'SLV-1009'],
      [{ service: 'web', audience: ['x'.repeat(513)] }, 'SLV-1009'],
      [{ service: 'web', audience: ['x'], sub: 'spiffe://mesh.test/admin' }, 'SLV-1009'],
    ] as const) {
      const { body } = await ask(request);
      assert.equal(body['code'], code, JSON.stringify(request));
    }
  });

  test('each token and each refusal is in the audit log, the token itself is not', async () => {
    const { token } = await issue({ service: 'web', audience: ['audited'] });
    await ask({ service: 'db', audience: ['audited'] });
    const log = await service.auditLog();
    assert.ok(log.includes(String(decodeJwt(token)['jti'])));
    assert.match(log, /"event":"jwt-svid-refused".*"service":"db"/);
    assert.ok(!log.includes(token.split('.')[2] ?? ''));
  });

  test('a revoked SPIFFE ID gets none', async () => {
    const spiffeId = 'spiffe://mesh.test/ns/default/dc/dc1/svc/gone';
    const other = await service.node('gone');
    await service.operate('/v1/identity/revocations', { body: { spiffeId } });
    const body = JSON.stringify({ service: 'gone', audience: ['db'] });
    const proof = await signNodeProof(other.key, { nodeId: other.nodeId, content: body }, service.context);
    const answer = await service.ask(path, { body, headers: { [nodeProofHeader]: proof } });
    assert.equal(answer.body['code'], 'SLV-2123');
  });

  test('a revoked node gets none', async () => {
    const other = await service.node('web');
    await service.operate(`/v1/identity/nodes/${other.nodeId}`, { method: 'DELETE' });
    const body = JSON.stringify({ service: 'web', audience: ['db'] });
    const proof = await signNodeProof(other.key, { nodeId: other.nodeId, content: body }, service.context);
    const answer = await service.ask(path, { body, headers: { [nodeProofHeader]: proof } });
    assert.equal(answer.body['code'], 'SLV-2121');
  });
});

test('a node fetches tokens of its services: verified, used again until half of their life, and while identity is away', async () => {
  await using service = await RunningService.start({ open: true, dataDir: undefined });
  let nowMs = Date.now();
  const context = { ...service.context, clock: () => nowMs };
  const identity = await openMeshIdentity({
    identityUrl: service.identity.url,
    services: ['web'],
    stateDir: undefined,
    nodeName: 'node-1',
    context,
    signal: new AbortController().signal,
  });
  const first = await identity.fetchJwtSvid('web', ['db']);
  assert.equal(first.spiffeId, web);
  await validateJwtSvid(first.token, { audience: 'db', trust: identity.trust, nowMs });
  assert.equal((await identity.fetchJwtSvid('web', ['db'])).token, first.token);
  assert.notEqual((await identity.fetchJwtSvid('web', ['other'])).token, first.token);
  const [one, two] = await Promise.all([identity.fetchJwtSvid('web', ['x']), identity.fetchJwtSvid('web', ['x'])]);
  assert.equal(one.token, two.token);
  await assert.rejects(identity.fetchJwtSvid('db', ['x']), (error) => isMeshError(error, 'SLV-2011'));

  nowMs += 160_000;
  const renewed = await identity.fetchJwtSvid('web', ['db']);
  assert.notEqual(renewed.token, first.token);
  await service.identity.close(0);
  assert.equal((await identity.fetchJwtSvid('web', ['other'])).spiffeId, web);
  nowMs += 150_000;
  await assert.rejects(identity.fetchJwtSvid('web', ['other']), (error) => isMeshError(error, 'SLV-1006'));
  await identity.close();
});
