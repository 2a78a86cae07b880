import assert from 'node:assert/strict';
import { chmod, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { parseTrustDomain } from '#policies/spiffe-id.ts';
import { parseSpiffeBundle } from '#policies/trust-bundle.ts';
import { identityStatusSchema } from '#policies/wire/identity-api.ts';
import { verifyAuditLog } from '#runtime/audit/verify-audit-log.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { firstContact } from '#runtime/svid/first-contact.ts';
import { openMeshIdentity } from '#runtime/svid/mesh-identity.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { startIdentity } from './main.ts';
import { forgeRequest } from './testing/forge-request.ts';
import { type Answer, RunningService } from './testing/running-service.ts';

const context = systemContext(createLogger({ process: 'test', level: 'silent' }));
const codeOf = (answer: Answer): string => `${answer.status} ${String(answer.body['code'] ?? '')}`.trim();

describe('the identity service over HTTPS', () => {
  let service: RunningService;
  before(async () => {
    service = await RunningService.start();
  });
  after(() => service?.[Symbol.asyncDispose]());

  const requests: readonly [what: string, path: string, body: unknown, status: string, says: RegExp][] = [
    [
      'an unknown field',
      '/v1/identity/join-tokens',
      { services: ['web'], tttl: 5 },
      '400 SLV-1009',
      /Unknown field "tttl"/,
    ],
    ['a missing field', '/v1/identity/join-tokens', {}, '400 SLV-1009', /"services"/],
    ['a wrong type', '/v1/identity/join-tokens', { services: 'web' }, '400 SLV-1009', /"services"/],
    ['a bad pattern', '/v1/identity/join-tokens', { services: ['w*b'] }, '400 SLV-1009', /"services\.0"/],
    [
      'a ttl over the limit',
      '/v1/identity/join-tokens',
      { services: ['web'], ttlSeconds: 604_801 },
      '400 SLV-1009',
      /"ttlSeconds"/,
    ],
    [
      'an unknown field in a body with a secret',
      '/v1/identity/join',
      { token: 'x'.repeat(20), hack: 1 },
      '400 SLV-1009',
      /./,
    ],
    ['malformed JSON', '/v1/identity/join', '{"token":', '400 SLV-1009', /malformed/],
    ['no object', '/v1/identity/svids', '[]', '400 SLV-1009', /./],
    ['a null', '/v1/identity/svids', 'null', '400 SLV-1009', /./],
    ['too long a name', '/v1/identity/svids', { service: 'x'.repeat(129), csr: 'y' }, '400 SLV-1009', /"service"/],
    ['too large a body', '/v1/identity/svids', 'x'.repeat(70_000), '413 SLV-1008', /./],
    ['a route that is none', '/v1/identity/nothing', {}, '404 SLV-1010', /nothing at POST/],
    ['a path with odd bytes', '/v1/%00%0a', {}, '404 SLV-1010', /./],
  ];
  for (const [what, path, body, status, says] of requests) {
    test(`${what} is answered ${status} as problem+json that says what is wrong`, async () => {
      const answer = await service.operate(path, { body });
      assert.equal(codeOf(answer), status);
      assert.match(answer.headers['content-type'] ?? '', /^application\/problem\+json/);
      assert.match(String(answer.body['detail']), says);
      assert.ok(String(answer.body['fix']).length > 10);
    });
  }

  test('a body that does not say that it is JSON is not guessed at', async () => {
    const answer = await service.operate('/v1/identity/join-tokens', {
      body: { services: ['web'] },
      headers: { 'content-type': 'text/plain' },
    });
    assert.equal(codeOf(answer), '400 SLV-1009');
  });

  test('operators are told apart by their token, in either header', async () => {
    const token = await service.operatorToken;
    for (const path of ['/v1/identity/join-tokens', '/v1/identity/nodes']) {
      for (const headers of [
        {},
        { 'x-consul-token': '' },
        { 'x-consul-token': `${token}x` },
        { authorization: `Basic ${token}` },
      ]) {
        assert.equal(codeOf(await service.ask(path, { headers })), '401 SLV-2001');
      }
      assert.equal((await service.ask(path, { headers: { authorization: `Bearer ${token}` } })).status, 200);
      assert.equal((await service.operate(path)).status, 200);
    }
    const remove = await service.ask('/v1/identity/nodes/00000000000000000000000000000000', { method: 'DELETE' });
    assert.equal(codeOf(remove), '401 SLV-2001');
    assert.equal((await stat(join(service.folder, 'operator.token'))).mode & 0o777, 0o600);
  });

  test('a grant of the identity service itself is refused', async () => {
    const answer = await service.operate('/v1/identity/join-tokens', { body: { services: ['selvedge-identity'] } });
    assert.equal(codeOf(answer), '403 SLV-2120');
  });

  test('the bundle is a SPIFFE bundle with the roots that were pinned, and ca.pem holds them', async () => {
    const { body, headers } = await service.ask('/v1/identity/bundle');
    assert.match(headers['content-type'] ?? '', /^application\/json/);
    const bundle = parseSpiffeBundle(parseTrustDomain('mesh.test'), body);
    assert.equal(bundle.x509Authorities.length, 1);
    const root = Buffer.from(bundle.x509Authorities[0] ?? []).toString('base64');
    assert.equal((await readFile(join(service.folder, 'ca.pem'), 'utf8')).replace(/-----[^-]+-----|\s/g, ''), root);
  });

  test('the server proves itself by pin and by file, and to nobody who expects another', async () => {
    const { url: identityUrl, pins } = service.identity;
    const contact = (by: { caPin?: string; caFile?: string }) =>
      firstContact({ identityUrl, ...by, context, signal: AbortSignal.timeout(5_000) });
    await contact({ caPin: pins[0] ?? '' });
    await contact({ caFile: join(service.folder, 'ca.pem') });
    await assert.rejects(contact({ caPin: `sha256:${'0'.repeat(64)}` }), (error) => isMeshError(error, 'SLV-2010'));
    await using other = await RunningService.start();
    await assert.rejects(contact({ caFile: join(other.folder, 'ca.pem') }), (error) => isMeshError(error, 'SLV-2010'));
  });

  test('a node of the runtime joins, has its SVIDs and comes back without a token', async () => {
    const stateDir = join(service.folder, 'node');
    const joinTokenFile = join(service.folder, 'join-token');
    await writeFile(joinTokenFile, await service.joinToken(['web', 'api']));
    const options = {
      identityUrl: service.identity.url,
      services: ['web', 'api'],
      stateDir,
      nodeName: 'vm-1',
      context,
      signal: new AbortController().signal,
    };
    const first = await openMeshIdentity({ ...options, joinTokenFile, caPin: service.identity.pins[0] });
    const serial = first.svid('web').current?.serialHex;
    assert.equal(first.svid('api').current?.spiffeId, 'spiffe://mesh.test/ns/default/dc/dc1/svc/api');
    await first.close();
    await rm(joinTokenFile);
    const second = await openMeshIdentity(options);
    assert.equal(second.svid('web').current?.serialHex, serial);
    await second.close();
  });

  test('status, health, metrics and the OpenAPI document', async () => {
    const status = identityStatusSchema.parse((await service.ask('/v1/identity/status')).body);
    assert.deepEqual(
      [status.trustDomain, status.datacenter, status.backend],
      ['mesh.test', 'dc1', { kind: 'embedded', healthy: true }],
    );
    assert.deepEqual(status.rootPins, service.identity.pins);
    assert.equal((await service.ask('/livez')).status, 200);
    assert.deepEqual((await service.ask('/readyz')).body, { ready: true, reasons: [] });
    assert.equal((await service.join('x'.repeat(20))).status, 403);
    const metrics = String((await service.ask('/metrics')).body['text']);
    for (const line of [
      /^selvedge_identity_svids_issued_total\{backend="embedded"\} [1-9]/m,
      /^selvedge_identity_refused_total\{code="SLV-\d{4}"\} [1-9]/m,
      /^selvedge_identity_backend_healthy\{backend="embedded"\} 1$/m,
      /^selvedge_identity_earliest_expiry_seconds \d{10}/m,
    ]) {
      assert.match(metrics, line);
    }
    const document = (await service.ask('/openapi.json')).body as { openapi: string; paths: Record<string, object> };
    assert.equal(document.openapi, '3.1.0');
    const routes = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    );
    assert.deepEqual(routes.sort(), [
      'delete /v1/identity/federation/{trustDomain}',
      'delete /v1/identity/join-tokens/{id}',
      'delete /v1/identity/nodes/{id}',
      'delete /v1/identity/revocations/{id}',
      'get /readyz',
      'get /v1/identity/bundle',
      'get /v1/identity/bundle/signed',
      'get /v1/identity/crl',
      'get /v1/identity/crl.pem',
      'get /v1/identity/federation',
      'get /v1/identity/join-tokens',
      'get /v1/identity/nodes',
      'get /v1/identity/nodes/{id}',
      'get /v1/identity/revocations',
      'get /v1/identity/rotation',
      'get /v1/identity/status',
      'get /v1/identity/succession',
      'post /v1/identity/attest',
      'post /v1/identity/attest/challenge',
      'post /v1/identity/federation',
      'post /v1/identity/federation/{trustDomain}/refresh',
      'post /v1/identity/join',
      'post /v1/identity/join-tokens',
      'post /v1/identity/jwt-svids',
      'post /v1/identity/nodes/{id}/readmit',
      'post /v1/identity/revocations',
      'post /v1/identity/rotation',
      'post /v1/identity/rotation/taint',
      'post /v1/identity/svids',
      'put /v1/identity/nodes/{id}/grant',
    ]);
  });
});

describe('the identity service through restarts and trouble', () => {
  test('is the same after a restart: root, tokens, nodes, own SVID, audit chain; the bundle never goes back', async () => {
    await using service = await RunningService.start();
    const node = await service.node('web');
    const { svid } = await service.svid(node, 'web');
    const token = await service.joinToken(['web']);
    const { pins } = service.identity;
    const sequence = service.trust?.sequence ?? 0;
    const own = await readFile(join(service.folder, 'own-svid.json'), 'utf8');
    await service.restart();
    assert.deepEqual(service.identity.pins, pins);
    assert.equal(service.trust?.sequence, sequence);
    assert.equal(await readFile(join(service.folder, 'own-svid.json'), 'utf8'), own);
    assert.equal(
      (await service.ask('/v1/identity/svids', { body: { service: 'web', csr: forgeRequest() }, svid })).status,
      200,
    );
    assert.equal((await service.issue(node, { service: 'web' })).status, 200);
    assert.equal((await service.join(token)).status, 200);
    await service.operate(`/v1/identity/nodes/${node.nodeId}`, { method: 'DELETE' });
    await service.restart();
    assert.ok((service.trust?.sequence ?? 0) > sequence);
    assert.equal(service.trust?.isRevoked(svid.serialHex, svid.spiffeId), true);
    assert.equal(codeOf(await service.join(token)), '403 SLV-2102');
    assert.ok((await verifyAuditLog([Buffer.from(await service.auditLog())])).lines > 5);
  });

  test('what can not be recorded is not issued', async () => {
    await using service = await RunningService.start();
    const node = await service.node('web');
    await service.identity.close(0);
    await service.store.close();
    await rm(join(service.folder, 'audit.jsonl'));
    await symlink('/dev/full', join(service.folder, 'audit.jsonl'));
    await service.restart();
    assert.equal(codeOf(await service.issue(node, { service: 'web' })), '507 SLV-2150');
    await rm(join(service.folder, 'audit.jsonl'));
  });

  test('who asks too often is told when to come again; nobody else notices', async () => {
    const rate = { perSecond: 0.01, burst: 2 };
    const rates = { join: { perCaller: rate, global: rate }, issue: { perCaller: rate, global: rate } };
    await using service = await RunningService.start({ rates });
    const node = await service.node('web');
    assert.equal((await service.issue(node, { service: 'web' })).status, 200);
    assert.equal((await service.issue(node, { service: 'web' })).status, 200);
    const limited = await service.issue(node, { service: 'web' });
    assert.equal(codeOf(limited), '429 SLV-2160');
    assert.ok(Number(limited.headers['retry-after']) >= 1);
    assert.equal((await service.join('x'.repeat(20))).status, 403);
    const joinLimited = await service.join('x'.repeat(20));
    assert.equal(codeOf(joinLimited), '429 SLV-2160');
    assert.ok(joinLimited.headers['retry-after']);
    assert.equal((await service.ask('/v1/identity/bundle')).status, 200);
    assert.equal((await service.auditLog()).includes('SLV-2160'), false, 'a flood does not fill the disk');
  });

  test('open: plain HTTP on loopback, anybody is anything but the identity service', async () => {
    await using service = await RunningService.start({ open: true, dataDir: undefined });
    assert.match(service.identity.url, /^http:\/\/127\.0\.0\.1:\d+$/);
    assert.equal(service.identity.operatorTokenPath, undefined);
    const ask = (name: string) =>
      service.ask('/v1/identity/svids', { body: { service: name, csr: forgeRequest() } }).then(codeOf);
    assert.equal(await ask('web'), '200');
    assert.equal(await ask('selvedge-catalog'), '200');
    assert.equal(await ask('selvedge-identity'), '403 SLV-2120');
    assert.equal((await service.ask('/v1/identity/nodes')).status, 200);
    assert.equal((await service.ask('/v1/identity/join-tokens', { body: { services: ['web'] } })).status, 200);
  });

  const impossible: readonly [what: string, change: Parameters<typeof RunningService.start>[0], code: string][] = [
    ['open on another address than loopback', { open: true, host: '0.0.0.0' }, 'SLV-1002'],
    ['a lifetime below the floor', { svidTtlSeconds: 59 }, 'SLV-1002'],
    ['a lifetime over the ceiling', { svidTtlSeconds: 86_401 }, 'SLV-1002'],
    ['a trust domain that is none', { trustDomain: 'Mesh Test' }, 'SLV-5001'],
    ['a datacenter that is no name', { datacenter: 'dc/1' }, 'SLV-5002'],
    ['an address that is not here', { host: '192.0.2.1' }, 'SLV-1004'],
  ];
  for (const [what, change, code] of impossible) {
    test(`does not start with ${what}`, async () => {
      await assert.rejects(RunningService.start(change), (error) => isMeshError(error) && error.code === code);
    });
  }

  test('does not start on a data directory that it may not read, or on a broken audit log, and leaves nothing running', async () => {
    await using service = await RunningService.start();
    await service.node('web');
    await service.identity.close(0);
    await service.store.close();
    const path = join(service.folder, 'audit.jsonl');
    const good = await readFile(path, 'utf8');
    await writeFile(path, good.replace(/"hash":"[0-9a-f]{8}(?=[0-9a-f]*"\}\n$)/, '"hash":"00000000'));
    await using store = await openSqliteStore({ path: undefined, ...context });
    const config = {
      host: '127.0.0.1',
      port: 0,
      dataDir: service.folder,
      trustDomain: 'mesh.test',
      datacenter: 'dc1',
      svidTtlSeconds: 60,
      open: false,
      backend: { kind: 'embedded' },
    } as const;
    await assert.rejects(startIdentity(config, context, store), (error) => isMeshError(error, 'SLV-2151'));
    await writeFile(path, good);
    await chmod(join(service.folder, 'operator.token'), 0o600);
    await writeFile(join(service.folder, 'operator.token'), 'short');
    await assert.rejects(startIdentity(config, context, store), (error) => isMeshError(error, 'SLV-1005'));
    await rm(join(service.folder, 'operator.token'));
    await service.restart();
  });
});
