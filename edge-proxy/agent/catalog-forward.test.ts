import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Hono } from 'hono';
import { type PeerEnv, serveHttp } from '#runtime/http-service.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { svidHolder } from '#runtime/svid/svid.ts';
import { makeCa, staticTrust } from '#test/mini-ca.ts';
import { waitFor } from '#test/wait-for.ts';
import { CatalogForward } from './catalog-forward.ts';
import { startAgent } from './testing/running-agent.ts';

const log = createLogger({ process: 'test', level: 'silent' });
const context = systemContext(log);
const id = (service: string) => `spiffe://mesh.test/ns/default/dc/dc1/svc/${service}`;

/** A TLS server that says what reached it, in the place of a catalog; and an agent before it. */
async function scene(t: TestContext, { as = 'selvedge-catalog', blocks = false } = {}) {
  const ca = makeCa('mesh.test');
  const trust = staticTrust(ca.bundle);
  const seen: string[] = [];
  const gone = Promise.withResolvers<void>();
  const app = new Hono<{ Bindings: PeerEnv }>().all('*', async (c) => {
    const { pathname, search } = new URL(c.req.url);
    seen.push(`${c.req.method} ${pathname}${search}`);
    if (blocks && search.includes('index')) {
      c.req.raw.signal.addEventListener('abort', () => gone.resolve());
      await gone.promise;
    }
    const body = {
      peer: c.env.peer?.spiffeId ?? null,
      token: c.req.header('x-consul-token') ?? null,
      cookie: c.req.header('cookie') ?? null,
      text: await c.req.text(),
    };
    return c.json(body, 200, { 'x-consul-index': '7', 'x-consul-knownleader': 'true' });
  });
  const tls = { svid: svidHolder(ca.issue({ spiffeId: id(as) })), trust };
  const server = await serveHttp({ app, host: '127.0.0.1', port: 0, tls, log, clock: context.clock });
  t.after(() => server.close(0));
  const web = ca.issue({ spiffeId: id('web') });
  const forward = new CatalogForward({ url: server.url, trust, svid: () => web, context });
  return { seen, server, gone: gone.promise, ...(await startAgent(t, { forward })) };
}

test('what is not the agent’s reaches the catalog: reads as the host’s service, or as the token that is shown', async (t) => {
  const { send, seen } = await scene(t);
  const read = await send('GET', '/v1/health/service/we%20b?passing&tag=a&tag=b', undefined, { cookie: 'x=1' });
  assert.deepEqual(read.json, { peer: id('web'), token: null, cookie: null, text: '' });
  assert.deepEqual([read.status, read.headers.get('x-consul-index')], [200, '7']);
  assert.deepEqual(seen, ['GET /v1/health/service/we%20b?passing&tag=a&tag=b']);
  const token = { 'x-consul-token': 'secret' };
  assert.deepEqual((await send('GET', '/v1/kv/a', undefined, token)).json, {
    ...{ peer: null, token: 'secret', cookie: null, text: '' },
  });
  assert.equal((await send('PUT', '/v1/kv/a', 'value', token)).json.text, 'value');
  assert.equal((await send('HEAD', '/v1/status/leader')).status, 200);
  assert.equal(seen.at(-1), 'HEAD /v1/status/leader');
});

test('what may not reach it does not', async (t) => {
  const { send, seen } = await scene(t);
  const refused: readonly [
    method: string,
    path: string,
    status: number,
    text: RegExp,
    headers?: Record<string, string>,
  ][] = [
    ['PUT', '/v1/kv/a', 403, /only with a token/],
    ['DELETE', '/v1/config/service-defaults/web', 403, /only with a token/],
    ['GET', '/v1/mesh/feed?proxy=a&service=web', 404, /at the catalog itself/],
    ['GET', '/v1/agent/nothing', 404, /not a recognized HTTP API endpoint/],
    ['GET', '/v1/../metrics', 404, /not a recognized HTTP API endpoint/],
    ['GET', '/v1/catalog/%2e%2e/%2e%2e/metrics', 404, /not a recognized HTTP API endpoint/],
    ['GET', '/v1/catalog/nodes', 403, /web pages/, { origin: 'http://evil.test' }],
    ['GET', '/v1/health/service/web?index=1&wait=soon', 400, /Invalid wait time/],
  ];
  for (const [method, path, status, text, headers] of refused) {
    const answer = await send(method, path, undefined, headers);
    assert.deepEqual([answer.status, text.test(answer.text)], [status, true], `${method} ${path}: ${answer.text}`);
  }
  assert.deepEqual(seen, []);
});

test('a page whose name leads to loopback reads nothing', async (t) => {
  const { url, seen } = await scene(t);
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.end('GET /v1/catalog/nodes HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n');
  let answer = '';
  for await (const chunk of socket) answer += chunk;
  assert.match(answer, /^HTTP\/1.1 403 .*asked as localhost/s);
  assert.deepEqual(seen, []);
});

test('a server that is not the catalog is sent nothing', async (t) => {
  const { send, seen } = await scene(t, { as: 'db' });
  const { status, text } = await send('GET', '/v1/catalog/nodes', undefined, { 'x-consul-token': 'secret' });
  assert.deepEqual([status, /^No known Consul servers/.test(text)], [500, true]);
  assert.deepEqual(seen, []);
});

test('a blocking query ends at the catalog when its client goes', async (t) => {
  const { url, seen, gone } = await scene(t, { blocks: true });
  const client = new AbortController();
  const query = fetch(`${url}/v1/catalog/services?index=7&wait=9m`, { signal: client.signal });
  await waitFor('the query is at the catalog', () => seen.length === 1);
  client.abort();
  await assert.rejects(query);
  await gone;
});

test('while the catalog is away, what was read before answers ?stale and ?cached, and says that it is old', async (t) => {
  const { send, server } = await scene(t);
  const fresh = await send('GET', '/v1/health/service/web?stale');
  await send('GET', '/v1/catalog/services', undefined, { 'x-consul-token': 'secret' });
  await server.close(0);
  for (const query of ['?stale', '?cached', '?stale&wait=5s&index=3']) {
    const { status, text, headers } = await send('GET', `/v1/health/service/web${query}`);
    assert.deepEqual([status, text], [200, fresh.text], query);
    const told = ['x-consul-index', 'x-consul-knownleader', 'x-cache'].map((name) => headers.get(name));
    assert.deepEqual(told, ['7', 'false', 'HIT']);
    assert.match(`${headers.get('age')} ${headers.get('x-consul-lastcontact')}`, /^\d+ \d+$/);
  }
  const refused: readonly [path: string, why: string][] = [
    ['/v1/health/service/web', 'it wants to know'],
    ['/v1/health/service/web?stale&index=7', 'it has that answer'],
    ['/v1/health/service/db?stale', 'was not read before'],
    ['/v1/health/service/web?stale&passing', 'another question'],
    ['/v1/catalog/services?stale', 'what a token read is nobody else’s'],
  ];
  for (const [path, why] of refused) {
    const { status, text } = await send('GET', path);
    assert.deepEqual([status, /^No known Consul servers/.test(text)], [500, true], why);
  }
});
