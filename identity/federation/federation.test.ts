import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { connect } from 'node:tls';
import { toPem } from '#policies/der-writer.ts';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { parseTrustDomain } from '#policies/spiffe-id.ts';
import { formatSpiffeBundle, parseSpiffeBundle } from '#policies/trust-bundle.ts';
import { type FederationView, federationSchema } from '#policies/wire/federation-api.ts';
import { fetchUnproven } from '#runtime/mesh-http.ts';
import { certificatesOfPem } from '#runtime/svid/pem.ts';
import type { TrustStore } from '#runtime/svid/trust-store.ts';
import { verifyChain } from '#runtime/svid/verify-peer.ts';
import { serverTlsOptions } from '#runtime/tls-identity.ts';
import { makeCa } from '#test/mini-ca.ts';
import { RunningService } from '../testing/running-service.ts';

const path = '/v1/identity/federation';
const idOf = (domain: string) => `spiffe://${domain}/ns/default/dc/dc1/svc/selvedge-identity`;

/** Takes the signed bundle that the service publishes now, as its nodes do. */
async function trustOf(service: RunningService): Promise<TrustStore> {
  const { trust } = service;
  assert.ok(trust !== undefined);
  const { body } = await service.ask('/v1/identity/bundle/signed');
  assert.ok(await trust.acceptSigned(String(body['jws'])));
  return trust;
}

async function federate(service: RunningService, body: object): Promise<FederationView> {
  const answer = await service.operate(path, { body });
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return federationSchema.parse(answer.body);
}

async function refresh(service: RunningService, domain: string): Promise<FederationView> {
  return federationSchema.parse((await service.operate(`${path}/${domain}/refresh`, { method: 'POST' })).body);
}

const bundleOf = async (service: RunningService) => (await service.ask('/v1/identity/bundle')).body;
const spiffeOf = async (service: RunningService, domain: string) => ({
  trustDomain: domain,
  url: `${service.identity.url}/v1/identity/bundle`,
  profile: 'https_spiffe',
  endpointSpiffeId: idOf(domain),
  bundle: await bundleOf(service),
});

/** An SVID of a service of that mesh, judged by the trust of the other. */
async function judge(chainOf: RunningService, by: RunningService): Promise<string> {
  const node = await chainOf.node('web');
  const { svid } = await chainOf.svid(node, 'web');
  const trust = await trustOf(by);
  try {
    return verifyChain({ chain: certificatesOfPem(svid.chainPem), trust, nowMs: Date.now() }).spiffeId;
  } catch (error) {
    assert.ok(isMeshError(error, 'SLV-2020'));
    return String(error.detail['rule']);
  }
}

describe('two identity services', () => {
  let a: RunningService;
  let b: RunningService;
  let folder: string;
  const webCa = makeCa('web.test');
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'selvedge-web-'));
    const web = webCa.issue({ uris: [], dns: ['localhost'] });
    const certificate = { certFile: join(folder, 'cert.pem'), keyFile: join(folder, 'key.pem') };
    const webRootsFile = join(folder, 'roots.pem');
    await writeFile(certificate.certFile, web.chainPem);
    await writeFile(certificate.keyFile, web.keyPem);
    await writeFile(webRootsFile, toPem('CERTIFICATE', webCa.root.certificate));
    const endpoint = { address: { host: '127.0.0.1', port: 0 }, certificate };
    a = await RunningService.start({ trustDomain: 'a.test', federation: { webRootsFile } });
    b = await RunningService.start({ trustDomain: 'b.test', federation: { endpoint } });
  });
  after(async () => {
    await a[Symbol.asyncDispose]();
    await b[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });

  test('strangers at first; then each verifies the other, by https_spiffe in one direction and https_web in the other', async () => {
    assert.equal(await judge(b, a), 'unknown-trust-domain');
    const webUrl = b.identity.federationUrl?.replace('127.0.0.1', 'localhost') ?? '';
    const web = await federate(a, { trustDomain: 'b.test', url: webUrl, profile: 'https_web' });
    assert.deepEqual([web.bundle, web.roots, web.jwtKeys, web.failure], ['fetched', 1, 1, undefined]);
    const port = Number(new URL(webUrl).port);
    const shake = async (ciphers: string): Promise<unknown> => {
      const tls = { port, rejectUnauthorized: false, maxVersion: 'TLSv1.2', ciphers } as const;
      return (await once(connect(tls).unref(), 'secureConnect').catch((error: unknown) => [error]))[0];
    };
    assert.equal(await shake('ECDHE-ECDSA-AES128-GCM-SHA256'), undefined);
    assert.match(
      String(await shake('ECDHE-ECDSA-AES128-SHA')),
      /handshake failure/,
      'nothing that Web PKI has left behind',
    );
    const spiffe = await federate(b, await spiffeOf(a, 'a.test'));
    assert.deepEqual([spiffe.bundle, spiffe.roots, spiffe.failure], ['fetched', 1, undefined]);
    assert.match(await judge(b, a), /^spiffe:\/\/b\.test\//);
    assert.match(await judge(a, b), /^spiffe:\/\/a\.test\//);
  });

  test('the bundles stay apart: the own one has the own roots only, and federation is no way into the other identity service', async () => {
    const own = (await trustOf(a)).bundleOf(parseTrustDomain('a.test'));
    const theirs = (await trustOf(a)).bundleOf(parseTrustDomain('b.test'));
    assert.deepEqual([own?.x509Authorities.length, theirs?.x509Authorities.length], [1, 1]);
    assert.notDeepEqual(own?.x509Authorities, theirs?.x509Authorities);
    const published = parseSpiffeBundle(parseTrustDomain('a.test'), await bundleOf(a));
    assert.deepEqual(published.x509Authorities, own?.x509Authorities);

    const { svid } = await b.svid(await b.node('web'), 'web');
    await assert.rejects(a.ask('/v1/identity/jwt-svids', { body: { service: 'web', audience: ['x'] }, svid }));
  });

  test('the endpoint behind Web PKI needs no client certificate and has nothing but the bundle', async () => {
    const url = b.identity.federationUrl ?? '';
    const fetched = { timeoutMs: 5_000, clock: Date.now };
    const answer = await fetchUnproven({ url, ...fetched });
    assert.equal(answer.headers['content-type'], 'application/json');
    assert.deepEqual(JSON.parse(answer.body.toString()), await bundleOf(b));
    for (const other of ['/v1/identity/status', '/v1/identity/join-tokens', '/', '/v1/identity/bundle/signed']) {
      assert.equal((await fetchUnproven({ url: new URL(other, url).href, ...fetched })).status, 404, other);
    }
    const { port } = new URL(url);
    const socket = connect({ host: '127.0.0.1', port: Number(port), rejectUnauthorized: false, maxVersion: 'TLSv1.2' });
    await new Promise((resolve) => socket.once('secureConnect', resolve));
    assert.equal(socket.getProtocol(), 'TLSv1.2');
    socket.destroy();
  });

  test('a root that is added at one appears at the other', async () => {
    const before = await refresh(a, 'b.test');
    const rotated = await b.operate('/v1/identity/rotation', { body: { target: 'root', force: false } });
    assert.equal(rotated.status, 200, JSON.stringify(rotated.body));
    const deadlineMs = Date.now() + 30_000;
    let now = before;
    while (now.roots < 2) {
      assert.ok(Date.now() < deadlineMs, 'a second root within the deadline');
      now = await refresh(a, 'b.test');
    }
    assert.ok((now.sequence ?? 0) > (before.sequence ?? 0));
    assert.equal((await trustOf(a)).bundleOf(parseTrustDomain('b.test'))?.x509Authorities.length, 2);
  });

  test('the other goes down: its last bundle stays, also over a restart of ours; and comes back', async () => {
    const { svid } = await b.svid(await b.node('web'), 'web');
    const chain = certificatesOfPem(svid.chainPem);
    await b.identity.close(0);
    const down = await refresh(a, 'b.test');
    assert.equal(down.bundle, 'fetched');
    assert.match(down.failure?.reason ?? '', /No answer from https:\/\/localhost/);
    verifyChain({ chain, trust: await trustOf(a), nowMs: Date.now() });
    await a.restart();
    verifyChain({ chain, trust: await trustOf(a), nowMs: Date.now() });
  });

  test('when federation ends, so does their validity', async () => {
    assert.equal((await a.operate(`${path}/b.test`, { method: 'DELETE' })).status, 204);
    assert.equal((await trustOf(a)).bundleOf(parseTrustDomain('b.test')), undefined);
    assert.equal((await a.operate(`${path}/b.test`, { method: 'DELETE' })).body['code'], 'SLV-2192');
    const log = await a.auditLog();
    for (const event of ['federation-created', 'federated-bundle-changed', 'federation-deleted'])
      assert.ok(log.includes(event), event);
  });
});

describe('what can not be', () => {
  let service: RunningService;
  before(async () => {
    service = await RunningService.start({ trustDomain: 'a.test' });
  });
  after(() => service[Symbol.asyncDispose]());

  test('relationships that are refused, by name', async () => {
    const web = { trustDomain: 'b.test', url: 'https://127.0.0.1:1/bundle', profile: 'https_web' };
    const bundle = formatSpiffeBundle(makeCa('b.test').bundle);
    const spiffe = { ...web, profile: 'https_spiffe', endpointSpiffeId: idOf('b.test'), bundle };
    for (const [what, body, code] of [
      ['our own', { ...web, trustDomain: 'a.test' }, 'SLV-2190'],
      ['no trust domain', { ...web, trustDomain: 'B.test' }, 'SLV-2190'],
      ['http', { ...web, url: 'http://127.0.0.1:1/bundle' }, 'SLV-2190'],
      ['a password', { ...web, url: 'https://u:p@127.0.0.1:1/bundle' }, 'SLV-2190'],
      ['a user', { ...web, url: 'https://u@127.0.0.1:1/bundle' }, 'SLV-2190'],
      ['a fragment', { ...web, url: 'https://127.0.0.1:1/bundle#x' }, 'SLV-2190'],
      ['an ID with https_web', { ...web, endpointSpiffeId: idOf('b.test') }, 'SLV-2190'],
      ['no ID', { ...spiffe, endpointSpiffeId: undefined }, 'SLV-2190'],
      ['no SPIFFE ID', { ...spiffe, endpointSpiffeId: 'https://b.test/' }, 'SLV-2190'],
      ['no first bundle', { ...spiffe, bundle: undefined }, 'SLV-2190'],
      ['a first bundle without a root', { ...spiffe, bundle: { keys: [] } }, 'SLV-2190'],
      ['a bundle that is none', { ...spiffe, bundle: { keys: [{ kty: 'EC', use: 'x509-svid' }] } }, 'SLV-2190'],
      ['another profile', { ...web, profile: 'http' }, 'SLV-1009'],
      ['an unknown field', { ...web, merge: true }, 'SLV-1009'],
    ] as const) {
      assert.equal((await service.operate(path, { body })).body['code'], code, what);
    }
    assert.equal((await service.ask(path, { body: web })).body['code'], 'SLV-2001', 'no operator');
    assert.equal((await service.operate(path, { body: web })).status, 200);
    assert.equal((await service.operate(path, { body: web })).body['code'], 'SLV-2191', 'twice');
  });
});

describe('endpoints that are not to be believed', () => {
  const ca = makeCa('b.test');
  const endpointId = 'spiffe://b.test/bundle-endpoint';
  const body = (sequence: number, roots = [ca.root.certificate]) =>
    JSON.stringify(formatSpiffeBundle({ ...ca.bundle, sequence, x509Authorities: roots }));
  let service: RunningService;
  let server: Server;
  let url: string;
  let answer: { status: number; headers?: Record<string, string>; body: string };
  let shown = ca.issue({ spiffeId: endpointId });
  before(async () => {
    service = await RunningService.start({ trustDomain: 'a.test' });
    server = createServer(serverTlsOptions(shown), (_, response) => {
      response.writeHead(answer.status, answer.headers).end(answer.body);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    url = `https://127.0.0.1:${typeof address === 'object' ? address?.port : 0}/`;
    answer = { status: 200, body: body(5) };
    const bundle = formatSpiffeBundle(ca.bundle);
    const created = await federate(service, {
      trustDomain: 'b.test',
      url,
      profile: 'https_spiffe',
      endpointSpiffeId: endpointId,
      bundle,
    });
    assert.deepEqual([created.bundle, created.sequence], ['fetched', 5]);
  });
  after(async () => {
    server.closeAllConnections();
    server.close();
    await service[Symbol.asyncDispose]();
  });

  const show = (svid: typeof shown) => {
    shown = svid;
    const { ca: _, ...context } = serverTlsOptions(svid);
    server.setSecureContext(context);
    server.closeAllConnections();
  };

  for (const [what, wrong, reason] of [
    ['an older sequence', () => ({ status: 200, body: body(4) }), /older than 5/],
    ['a key twice', () => ({ status: 200, body: `{"keys":[],${body(6).slice(1)}` }), /twice/],
    ['no JSON', () => ({ status: 200, body: '<html>' }), /not JSON/],
    ['no bundle', () => ({ status: 200, body: '[]' }), /not valid/],
    ['an error', () => ({ status: 500, body: body(6) }), /answered 500/],
    ['too much', () => ({ status: 200, body: ' '.repeat(300_000) }), /larger than/],
    ['a redirect to http', () => redirect('http://127.0.0.1:1/'), /not an https URL/],
    ['a redirect with a password', () => redirect('https://u:p@127.0.0.1:1/'), /no password/],
    ['redirects for ever', () => redirect('/again'), /more than 3 times/],
  ] as const) {
    test(`${what}: the last bundle stays`, async () => {
      answer = wrong();
      const now = await refresh(service, 'b.test');
      assert.match(now.failure?.reason ?? '', reason);
      assert.deepEqual([now.bundle, now.sequence], ['fetched', 5]);
    });
  }

  function redirect(location: string) {
    return { status: 302, headers: { location }, body: '' };
  }

  test('another SPIFFE ID, or the right one under another root', async () => {
    answer = { status: 200, body: body(6) };
    show(ca.issue({ spiffeId: 'spiffe://b.test/other' }));
    assert.match((await refresh(service, 'b.test')).failure?.reason ?? '', /was expected/);
    show(makeCa('b.test').issue({ spiffeId: endpointId }));
    assert.match((await refresh(service, 'b.test')).failure?.reason ?? '', /certificate is refused/);
    show(ca.issue({ spiffeId: endpointId }));
    const good = await refresh(service, 'b.test');
    assert.deepEqual([good.sequence, good.failure], [6, undefined]);
  });

  test('the first bundle proves the first fetch only: later the latest counts', async () => {
    const next = makeCa('b.test');
    answer = { status: 200, body: body(7, [next.root.certificate]) };
    assert.equal((await refresh(service, 'b.test')).sequence, 7);
    assert.match((await refresh(service, 'b.test')).failure?.reason ?? '', /certificate is refused/);
    show(next.issue({ spiffeId: endpointId }));
    answer = { status: 200, body: body(8, [next.root.certificate]) };
    assert.equal((await refresh(service, 'b.test')).sequence, 8);
  });

  test('no keys: nobody of theirs is trusted any more', async () => {
    answer = { status: 200, body: body(9, []) };
    assert.deepEqual([(await refresh(service, 'b.test')).roots], [0]);
    const { chain } = ca.issue({ spiffeId: 'spiffe://b.test/x' });
    const trust = await trustOf(service);
    assert.throws(
      () => verifyChain({ chain, trust, nowMs: Date.now() }),
      (error) => isMeshError(error, 'SLV-2020') && error.detail['rule'] === 'untrusted-root',
    );
  });
});
