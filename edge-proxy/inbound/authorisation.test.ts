import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { createServer as createTcpServer, type Server } from 'node:net';
import { describe, test } from 'node:test';
import type { Permission } from '#policies/intention.ts';
import { dialTlsPeer } from '#test/raw-client.ts';
import { intention, type Mesh, startMesh, vanish, webMayCall, webMayNot } from '#test/sidecars.ts';
import { waitFor } from '#test/wait-for.ts';

/** Who gets in, who does not, and how fast a no takes hold of what is open. */

const closing = 'Connection: close\r\n';
const ask = (mesh: Mesh, method: string, path: string, more = '') =>
  mesh.ask(`${method} ${path} HTTP/1.1\r\nHost: db\r\n${closing}${more}\r\n`);
const hello = () => createServer((request, response) => response.end(`hello ${request.url}`));
const permissions = (...rules: readonly Permission[]) => [intention({ source: 'web', permissions: rules })];

/** Waits for a cut, and gives how long it took, ms. */
async function timeOf(what: string, cut: () => void, done: () => boolean): Promise<number> {
  const startedMs = performance.now();
  cut();
  await waitFor(what, done);
  return performance.now() - startedMs;
}

describe('requests', () => {
  test('default deny: a caller without an intention is told so, and nothing reaches the application', async (t) => {
    const mesh = await startMesh(t, { applications: [hello()], intentions: [] });
    const answer = await ask(mesh, 'GET', '/orders');
    assert.match(answer.text, /^HTTP\/1\.1 403 .*SLV-4001.*the default is deny/s);
    assert.equal(mesh.applicationConnections, 0);
    assert.match(mesh.decisions[0]?.rule ?? '', /^default \(deny\)$/);
  });

  test('intentions unknown: refused, with a decision, and as soon as they are known all is well', async (t) => {
    const mesh = await startMesh(t, {
      applications: [hello()],
      intentions: 'unknown',
      resilience: { retries: { attempts: 0 } },
    });
    const refused = await ask(mesh, 'GET', '/');
    assert.match(refused.text, /^HTTP\/1\.1 503 .*knows no intentions yet/s);
    assert.ok(mesh.decisions.some(({ code, direction }) => code === 'SLV-4008' && direction === 'inbound'));
    mesh.feedIntentions(webMayCall);
    assert.equal((await ask(mesh, 'GET', '/')).status, 200);
  });

  test('L7: methods, paths in disguise, headers', async (t) => {
    const rules = permissions(
      { action: 'deny', http: { pathPrefix: '/admin' } },
      { action: 'deny', http: { pathPrefix: '/', headers: [{ name: 'x-role', exact: 'guest' }] } },
      { action: 'allow', http: { pathPrefix: '/orders', methods: ['GET'] } },
      { action: 'allow', http: { pathPrefix: '/admin' } },
    );
    const mesh = await startMesh(t, { applications: [hello()], intentions: rules });
    for (const [method, path, more, status] of [
      ['GET', '/orders', '', 200],
      ['GET', '/x/../orders', '', 200],
      ['DELETE', '/orders', '', 403],
      ['GET', '/other', '', 403],
      ['GET', '/admin', '', 403],
      ['GET', '//admin', '', 403],
      ['GET', '/orders/../admin', '', 403],
      ['GET', '/%61dmin', '', 403],
      ['GET', '/ADMIN', '', 403],
      ['GET', '/admin;x=1/../orders', '', 200],
      ['GET', '/orders', 'X-Role: guest\r\n', 403],
    ] as const) {
      const answer = await ask(mesh, method, path, more);
      assert.equal(answer.status, status, `${method} ${path}: ${answer.text.slice(0, 200)}`);
    }
  });

  test('odd requests: as the service says, from one request to the next, at both proxies and at the inbound port', async (t) => {
    const rules = permissions(
      { action: 'deny', http: { pathPrefix: '/repos/group/secret' } },
      { action: 'deny', http: { pathPrefix: '/', headers: [{ name: 'x-role', exact: 'guest' }] } },
      { action: 'allow', http: { pathPrefix: '/repos/' } },
      { action: 'allow', http: { pathExact: '/files/a%2Fb' } },
    );
    const echo = createServer((request, response) =>
      response.end(`${request.url} ${request.rawHeaders.filter((word) => /_/.test(word))}.`),
    );
    const mesh = await startMesh(t, { applications: [echo], intentions: rules });
    const straight = async (path: string, more: string) => {
      const { peer } = await dialTlsPeer(mesh.db.inboundPort, mesh.webSvid.current);
      await mesh.keep(peer).send(`GET ${path} HTTP/1.1\r\nHost: db\r\n${closing}${more}\r\n`).untilEnded();
      return peer.text;
    };
    const both = async (path: string, more: string) => (await ask(mesh, 'GET', path, more)).text;
    const disguised = 'Content_Length: 7\r\nSelvedge_Source: spiffe://evil/x\r\nX_Forwarded-Client_Cert: x\r\n';
    for (const [normalization, rows] of [
      [
        {},
        [
          ['/repos/a%2fb', '', /^HTTP\/1\.1 400 .*SLV-4011.*it has an encoded \//s],
          ['/repos/a', 'x_a: b\r\n', /^HTTP\/1\.1 400 .*SLV-4201.*underscore/s],
        ],
      ],
      [
        { escapedSlashes: 'KEEP_UNCHANGED', underscores: 'ALLOW' },
        [
          ['/repos/a%2fb?c', '', /^HTTP\/1\.1 200 .*\r\n\/repos\/a%2Fb\?c \.$/s],
          ['/files/a%2Fb', '', /^HTTP\/1\.1 200 /],
          ['/repos/group%2Fsecret', '', /^HTTP\/1\.1 403 .*SLV-4001/s],
          ['/repos/group%2fSecre%74', '', /^HTTP\/1\.1 403 /],
          ['/repos%2Fa', '', /^HTTP\/1\.1 403 /],
          ['/repos/a%2F..%2Fb', '', /^HTTP\/1\.1 400 .*dot segment beside an encoded slash/s],
          ['/repos/a', 'X_A: b\r\n', /\/repos\/a X_A\.$/],
          ['/repos/a', `X_A: b\r\n${disguised}`, /\/repos\/a X_A\.$/],
          ['/repos/a', 'X_Role: guest\r\n', /^HTTP\/1\.1 403 /],
          ['/repos/a', 'X-Role: user\r\nx_role: guest\r\n', /^HTTP\/1\.1 403 /],
        ],
      ],
      [
        { escapedSlashes: 'UNESCAPE_AND_FORWARD', underscores: 'DROP_HEADER' },
        [
          ['/repos/a%2F..%5cb', '', /\r\n\/repos\/b \.$/],
          ['/repos/group%2Fsecret', '', /^HTTP\/1\.1 403 /],
          ['/repos%2F%2Fgroup/x%2F..%2Fsecret', '', /^HTTP\/1\.1 403 /],
          ['/repos/a', 'X_Role: guest\r\nX_A: b\r\n', /\/repos\/a \.$/],
        ],
      ],
      [
        { escapedSlashes: 'UNESCAPE_AND_REDIRECT' },
        [
          ['/%2F/repos/a%2Fb?c=%2f', '', /^HTTP\/1\.1 307 .*\r\nLocation: \/repos\/a\/b\?c=%2f\r\n.*SLV-4017/s],
          ['/repos/a', 'x_a: b\r\n', /^HTTP\/1\.1 400 .*SLV-4201/s],
        ],
      ],
    ] as const) {
      mesh.feedNormalization(normalization);
      for (const [path, more, expected] of rows) {
        assert.match(await both(path, more), expected, `${path} ${more}`);
        assert.match(await straight(path, more), expected, `${path} ${more} at the inbound port`);
      }
    }
    const { reading } = mesh.decisions.find(({ rule }) => rule === 'web -> db permission 1 (deny)') ?? {};
    assert.match(reading ?? '', /^(?:decoded|canonical): \/repos\/group\/secret/);
    // What only one of the two lets pass does not pass.
    mesh.feedUpstream({ normalization: { escapedSlashes: 'KEEP_UNCHANGED' } });
    assert.match(await both('/repos/a%2Fb', ''), /^HTTP\/1\.1 307 /);
  });

  for (const when of ['before its answer', 'within its answer'] as const) {
    test(`a request under way is cut ${when} within a second`, async (t) => {
      let application: 'not asked' | 'asked' | 'left' = 'not asked';
      const server = createServer((request, response) => {
        application = 'asked';
        request.on('close', () => {
          application = 'left';
        });
        if (when === 'within its answer') response.write('begun');
      });
      const mesh = await startMesh(t, { applications: [server] });
      const client = mesh.dial().send(`GET /long HTTP/1.1\r\nHost: db\r\n${closing}\r\n`);
      // Let in, and with the application: one that never heard of it has nothing to leave.
      await waitFor('the request', () => mesh.db.sidecar.live.size === 1 && application === 'asked');
      if (when === 'within its answer') await client.until('begun');
      const tookMs = await timeOf(
        'the cut',
        () => mesh.feedIntentions(webMayNot),
        () => (client.ended || client.closed) && application === 'left',
      );
      assert.ok(tookMs < 1_000, `${tookMs} ms`);
      // Before the answer there is still somebody to tell.
      if (when === 'before its answer') assert.match(client.text, /^HTTP\/1\.1 403 .*web -> db says deny/s);
      else assert.ok(!client.text.includes('0\r\n\r\n'));
      assert.equal(mesh.traffic.edge('inbound', 'web', 'db').cut.value, 1);
      assert.equal(mesh.breaker.snapshot().failures, 0);
    });
  }

  test('what is still allowed goes on', async (t) => {
    let answer: (() => void) | undefined;
    const server = createServer((_, response) => {
      answer = () => void response.end('through');
    });
    const mesh = await startMesh(t, { applications: [server] });
    const client = mesh.dial().send(`GET /long HTTP/1.1\r\nHost: db\r\n${closing}\r\n`);
    // Let in, and with the application.
    await waitFor('the request', () => mesh.db.sidecar.live.size === 1 && answer !== undefined);
    mesh.feedIntentions(permissions({ action: 'allow', http: { pathPrefix: '/long' } }));
    answer?.();
    await client.untilEnded();
    assert.match(client.text, /through/);
  });

  test('an upgraded connection is cut within a second', async (t) => {
    const server = createServer().on('upgrade', (_, socket) =>
      socket.write('HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhi'),
    );
    const mesh = await startMesh(t, { applications: [server] });
    const client = mesh.dial().send('GET /ws HTTP/1.1\r\nHost: db\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n');
    await client.until('hi');
    const tookMs = await timeOf(
      'the cut',
      () => mesh.feedIntentions(webMayNot),
      () => client.ended || client.closed,
    );
    assert.ok(tookMs < 1_000, `${tookMs} ms`);
  });
});

describe('connections', () => {
  const talking = () => createTcpServer((socket) => socket.on('data', (chunk) => socket.write(chunk)));
  const tcp = (application: Server | undefined) => ({ applications: [application], protocol: 'tcp' as const });

  test('allowed ones flow; a deny cuts them within a second, and new ones do not come about', async (t) => {
    const mesh = await startMesh(t, tcp(talking()));
    const client = mesh.dial().send('ping');
    await client.until('ping');
    const tookMs = await timeOf(
      'the cut',
      () => mesh.feedIntentions(webMayNot),
      () => client.closed || client.ended,
    );
    assert.ok(tookMs < 1_000, `${tookMs} ms`);
    await waitFor('the application to be let go', () => mesh.applicationConnections === 0);
    const next = mesh.dial().send('ping');
    await next.untilEnded();
    assert.equal(next.length, 0);
    assert.ok(
      mesh.decisions.some(
        ({ direction, rule }) => direction === 'outbound' && /^decision .* of the far proxy$/.test(rule),
      ),
    );
  });

  test('intentions that are forgotten are no longer an allow', async (t) => {
    const mesh = await startMesh(t, tcp(talking()));
    const client = mesh.dial().send('ping');
    await client.until('ping');
    mesh.db.sidecar.view.apply({ revision: 99, reset: true, resources: [] }, 'feed');
    await client.untilEnded();
  });

  test('L7 rules deny every connection of a tcp service, and say what to do', async (t) => {
    const mesh = await startMesh(t, {
      ...tcp(talking()),
      intentions: permissions({ action: 'allow', http: { pathPrefix: '/' } }),
    });
    const client = mesh.dial().send('ping');
    await client.untilEnded();
    assert.ok(mesh.decisions.some(({ reason }) => reason.includes('set Protocol http')));
  });

  for (const way of ['through a tunnel', 'by plain mTLS'] as const) {
    test(`what is denied while it still connects to the application is not let in (${way})`, async (t) => {
      const mesh = await startMesh(t, tcp(talking()));
      const held = mesh.holdApplication();
      const client =
        way === 'by plain mTLS'
          ? mesh.keep((await dialTlsPeer(mesh.db.inboundPort, mesh.webSvid.current)).peer).send('ping')
          : mesh.dial().send('ping');
      await waitFor('the connection to be asked for', () => held.waiting === 1);
      mesh.feedIntentions(webMayNot);
      held.release();
      await client.untilEnded();
      assert.equal(client.length, 0);
      await waitFor('the application to be let go', () => mesh.applicationConnections === 0);
    });

    test(`one that goes while it connects leaves nothing behind (${way})`, async (t) => {
      const mesh = await startMesh(t, tcp(talking()));
      const held = mesh.holdApplication();
      const client =
        way === 'by plain mTLS'
          ? mesh.keep((await dialTlsPeer(mesh.db.inboundPort, mesh.webSvid.current)).peer)
          : mesh.dial();
      await waitFor('the connection to be asked for', () => held.waiting === 1);
      vanish(client.socket);
      // A paused plain connection is not read, so its end shows when it is joined; a tunnel's shows at once.
      if (way === 'through a tunnel') await waitFor('it to be given up', () => held.givenUp === 1);
      held.release();
      await waitFor(
        'the application to be let go',
        () => mesh.applicationConnections === 0 && mesh.db.sidecar.live.size === 0,
      );
    });
  }
});
