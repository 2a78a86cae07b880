import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import type { FeedEndpoint, FeedRoute, FeedRouting } from '#policies/wire/feed-routing.ts';
import { svidHolder } from '#runtime/svid/svid.ts';
import { ask as askHttp2 } from '#test/http2-session.ts';
import { staticTrust } from '#test/mini-ca.ts';
import { RawPeer } from '#test/raw-client.ts';
import { endpoint, intention, listening, type Mesh, spiffeIdOf, startMesh } from '#test/sidecars.ts';
import { waitFor } from '#test/wait-for.ts';
import { breakerRoutes } from '../breaker-admin.ts';

/**
 * Routes, splits, subsets and failover over real sockets, counted at the instances.
 * In one file: what routes, splits and targets do is seen at the same counted instances.
 */

/** An instance that says which it is, until told otherwise. */
function instance(name: string) {
  const seen: { method: string; url: string; headers: IncomingMessage['headers'] }[] = [];
  let answer = (outgoing: ServerResponse): void => void outgoing.setHeader('x-app', name).end(name);
  const server = createServer((incoming, outgoing) => {
    const { method = '', url = '', headers } = incoming;
    seen.push({ method, url, headers });
    incoming.resume().on('end', () => answer(outgoing));
  });
  return {
    server,
    seen,
    answers(next: (outgoing: ServerResponse) => void) {
      answer = next;
    },
  };
}

type Instance = ReturnType<typeof instance>;

/** The state of each breaker. */
function statesOf({ web }: Mesh): Record<string, string> {
  return Object.fromEntries(
    web.targets.breakers.map(({ target, endpoint: id, breaker }) => [`${target} ${id}`, breaker.state]),
  );
}

interface Scene {
  readonly mesh: Mesh;
  readonly one: Instance;
  readonly two: Instance;
  /** Sends a request. @returns the body, or the status of a refusal */
  ask(path?: string, more?: string, method?: string): Promise<string>;
  /** Hands the proxy the same routing with other instances. */
  feed(endpoints: readonly FeedEndpoint[]): void;
}

const whole = { next: 'v1.db' };

/** Two instances of db, each a target of its own: `v1.db` and `v2.db`; `both` has the two. */
async function routed(
  t: TestContext,
  change: {
    readonly routes?: FeedRouting['routes'];
    readonly splitters?: FeedRouting['splitters'];
    readonly destinations?: FeedRouting['destinations'];
    readonly resilience?: object;
    readonly endpoints?: (mesh: Mesh) => readonly FeedEndpoint[];
  },
  chance?: { readonly random: () => number },
): Promise<Scene> {
  const [one, two] = [instance('one'), instance('two')];
  const mesh = await startMesh(t, { applications: [one.server, two.server], ...chance });
  const { routes = [whole], splitters = {}, destinations = {}, resilience = { retries: { attempts: 0 } } } = change;
  const ports = mesh.instances.map(({ inboundPort }) => inboundPort);
  const feed = (endpoints: readonly FeedEndpoint[]): void => {
    const target = (...at: readonly number[]) => ({
      service: 'db',
      endpoints: at.flatMap((index) => endpoints[index] ?? []),
      resilience,
    });
    mesh.feedRouting({
      routes,
      splitters,
      destinations: {
        'v1.db': { targets: ['v1.db'] },
        'v2.db': { targets: ['v2.db'] },
        db: { targets: ['db'] },
        ...destinations,
      },
      targets: { 'v1.db': target(0), 'v2.db': target(1), db: target(0, 1) },
    });
  };
  feed(change.endpoints?.(mesh) ?? ports.map((port, index) => endpoint(index, port)));
  const ask: Scene['ask'] = async (path = '/', more = '', method = 'GET') => {
    const length = method === 'GET' ? '' : 'Content-Length: 0\r\n';
    const answer = await mesh.ask(
      `${method} ${path} HTTP/1.1\r\nHost: db\r\nConnection: close\r\n${length}${more}\r\n`,
    );
    const body = answer.text.slice(answer.text.indexOf('\r\n\r\n') + 4);
    return answer.status === 200 ? body : String(answer.status);
  };
  return { mesh, one, two, ask, feed };
}

describe('routes', () => {
  test('the first that matches decides, by the canonical path; the last takes the rest', async (t) => {
    const routes: FeedRoute[] = [
      { match: { pathPrefix: '/v2/', methods: ['GET'] }, next: 'v2.db' },
      { match: { headers: [{ name: 'x-beta', present: true }] }, next: 'v2.db' },
      { match: { queryParameters: [{ name: 'v', exact: '2' }] }, next: 'v2.db' },
      whole,
    ];
    const { ask } = await routed(t, { routes });
    for (const [path, more, expected] of [
      ['/', '', 'one'],
      ['/v2/x', '', 'two'],
      ['/v2', '', 'one'],
      ['//x/../%762/x', '', 'two'],
      ['/', 'X-Beta: 1\r\n', 'two'],
      ['/?v=2', '', 'two'],
      ['/?v=1', '', 'one'],
    ] as const) {
      assert.equal(await ask(path, more), expected, `${path} ${more}`);
    }
    assert.equal(await ask('/v2/x', '', 'DELETE'), 'one');
  });

  test('a rewritten path is what is sent and judged; the headers of request and answer are edited', async (t) => {
    const { mesh, one, ask } = await routed(t, {
      routes: [
        {
          match: { pathPrefix: '/api' },
          next: 'split',
          prefixRewrite: '/',
          requestHeaders: { set: { 'X-Route': 'api' }, remove: ['X-Secret'] },
          responseHeaders: { set: { 'X-Route': 'api' }, remove: ['x-app'] },
        },
        whole,
      ],
      splitters: { split: [{ weight: 10_000, next: 'v1.db', requestHeaders: { add: { 'X-Split': 'v1' } } }] },
    });
    assert.equal(await ask('/api/users?q=1', 'X-Secret: s\r\nX-Route: mine\r\nX-Split: mine\r\n'), 'one');
    assert.equal(one.seen[0]?.url, '/users?q=1');
    assert.equal(one.seen[0]?.headers['x-route'], 'api');
    assert.equal(one.seen[0]?.headers['x-split'], 'mine, v1');
    assert.equal(one.seen[0]?.headers['x-secret'], undefined);
    const answer = await mesh.ask('GET /api HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n');
    assert.match(answer.text, /X-Route: api\r\n/);
    assert.doesNotMatch(answer.text, /x-app/);
    mesh.feedIntentions([
      intention({ source: 'web', permissions: [{ action: 'allow', http: { pathPrefix: '/api' } }] }),
    ]);
    assert.equal(await ask('/api/users'), '403', 'what arrives is /users');
  });

  test('a route has times and retries of its own', async (t) => {
    const retries = { attempts: 2, on: [], statuses: [418] };
    const { mesh, one, ask } = await routed(t, {
      resilience: { retries: { attempts: 0, backoffBaseMs: 1, backoffMaxMs: 1, budgetMinPerSecond: 100 } },
      routes: [
        { match: { pathExact: '/slow' }, next: 'v1.db', requestTimeoutMs: 80 },
        { match: { pathExact: '/again' }, next: 'v1.db', retries },
        { match: { pathExact: '/post', methods: ['POST'] }, next: 'v1.db', retries },
        { match: { pathExact: '/idle' }, next: 'v1.db', idleTimeoutMs: 1_000 },
        whole,
      ],
    });
    const teapot = (outgoing: ServerResponse): void => void outgoing.writeHead(418).end();
    one.answers(() => {});
    assert.equal(await ask('/slow'), '504');
    const idle = ask('/idle');
    await waitFor('the request to arrive', () => one.seen.at(-1)?.url === '/idle');
    mesh.pass(1_001);
    assert.equal(await idle, '504');
    one.answers(teapot);
    for (const [path, method, tries] of [
      ['/', 'GET', 1],
      ['/again', 'GET', 3],
      ['/again', 'POST', 1],
      ['/post', 'POST', 3],
    ] as const) {
      one.seen.length = 0;
      assert.equal(await ask(path, '', method), '418');
      assert.equal(one.seen.length, tries, `${method} ${path}`);
    }
  });
});

describe('splits', () => {
  test('each gets its share', async (t) => {
    const split = [
      { weight: 7_500, next: 'v1.db' },
      { weight: 2_500, next: 'v2.db' },
    ];
    const { one, two, mesh } = await routed(t, { routes: [{ next: 'split' }], splitters: { split } });
    const peer = mesh.dial();
    for (let sent = 1; sent <= 40; sent++) {
      peer.send('GET / HTTP/1.1\r\nHost: db\r\n\r\n');
      await peer.untilTrue('an answer', () => peer.text.split('HTTP/1.1 200').length === sent + 1);
    }
    peer.end();
    assert.ok(Math.abs(two.seen.length - 10) <= 2, `${one.seen.length} and ${two.seen.length}`);
  });
});

describe('targets', () => {
  const failover = { db: { targets: ['v1.db', 'v2.db'] } };
  const routes: FeedRoute[] = [{ next: 'db' }];

  test('while the first has a healthy instance it is called; then the next', async (t) => {
    const { ask, feed, mesh } = await routed(t, { routes, destinations: failover });
    const ports = mesh.instances.map(({ inboundPort }) => inboundPort);
    const first = (status: FeedEndpoint['status']) =>
      feed(ports.map((port, at) => endpoint(at, port, at === 0 ? { status } : {})));
    for (const [status, expected] of [
      ['passing', 'one'],
      ['critical', 'two'],
      ['warning', 'one'],
    ] as const) {
      first(status);
      const shown = mesh.upstream.routed?.find(({ name }) => name === 'db')?.targets;
      assert.deepEqual(
        shown?.map(({ name, healthy }) => `${name} ${healthy}`),
        [`v1.db ${status !== 'critical'}`, 'v2.db true'],
      );
      for (let sent = 0; sent < 3; sent++) assert.equal(await ask(), expected, status);
    }
    feed(ports.map((port, at) => endpoint(at, port, { status: 'critical' })));
    assert.equal(await ask(), 'one', 'when none is healthy, the first');
  });

  test('an open breaker leads to the next target, and so does a retry', async (t) => {
    const { one, two, ask, mesh } = await routed(t, {
      routes,
      destinations: failover,
      resilience: {
        retries: { attempts: 1, backoffBaseMs: 1, backoffMaxMs: 1, budgetRatio: 1, on: ['gateway-error'] },
        breaker: { volumeThreshold: 3, openMs: 60_000 },
        outlier: { enabled: false },
      },
    });
    one.answers((outgoing) => void outgoing.writeHead(503).end());
    for (let sent = 0; sent < 10; sent++) assert.equal(await ask(), 'two');
    assert.equal(one.seen.length, 3, 'until its breaker opened');
    assert.equal(two.seen.length, 10);
    assert.deepEqual(statesOf(mesh), { 'v1.db node/db0': 'open', 'v2.db node/db1': 'closed' });
  });

  test('near instances first, while one of them is healthy', async (t) => {
    const [one, two] = [instance('one'), instance('two')];
    const mesh = await startMesh(t, { applications: [one.server, two.server], locality: { region: 'eu', zone: 'a' } });
    const ask = () => mesh.ask('GET / HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n');
    const [near = 0, far = 0] = mesh.instances.map(({ inboundPort }) => inboundPort);
    for (const [status, expected] of [
      ['passing', /one$/],
      ['critical', /two$/],
      ['passing', /one$/],
    ] as const) {
      const endpoints = [
        endpoint(1, far, { locality: { region: 'eu', zone: 'b' } }),
        endpoint(0, near, { status, locality: { region: 'eu', zone: 'a' } }),
      ];
      mesh.feedRouting({
        routes: [{ next: 'db' }],
        splitters: {},
        destinations: { db: { targets: ['db'] } },
        targets: { db: { service: 'db', endpoints, resilience: {}, byLocality: true } },
      });
      for (let sent = 0; sent < 3; sent++) assert.match((await ask()).text, expected);
    }
  });

  test('who answers there must be who the target says', async (t) => {
    const endpoints = (mesh: Mesh) => [
      endpoint(0, mesh.instances[0]?.inboundPort ?? 0, { spiffeId: spiffeIdOf('other') }),
      endpoint(1, mesh.instances[1]?.inboundPort ?? 0),
    ];
    const { ask, one } = await routed(t, { routes, endpoints });
    for (let sent = 0; sent < 4; sent++) assert.equal(await ask(), 'two');
    assert.equal(one.seen.length, 0);
  });

  for (const [rerouted, expected] of [
    [true, /^HTTP\/1\.1 200 /],
    [false, /^HTTP\/1\.1 503 .*SLV-4002/s],
  ] as const) {
    test(`another service is called in an upstream’s place ${rerouted ? 'where config entries say so' : 'not with --reroute off'}`, async (t) => {
      const { server } = instance('other');
      const mesh = await startMesh(t, { rerouted });
      const svid = svidHolder(mesh.issue('other'));
      const other = await mesh.sidecar('other', svid, staticTrust(mesh.ca.bundle), await listening(server));
      mesh.defer(() => server.close());
      mesh.feed(other, [
        {
          kind: 'intentions',
          name: 'other',
          protocol: 'http',
          defaultAction: 'allow',
          intentions: [],
        },
      ]);
      const endpoints = [endpoint(0, other.inboundPort ?? 0, { spiffeId: spiffeIdOf('other') })];
      mesh.feedRouting({
        routes: [{ next: 'other' }],
        splitters: {},
        destinations: { other: { targets: ['other'] } },
        targets: { other: { service: 'other', endpoints, resilience: {} } },
      });
      assert.match((await mesh.ask('GET / HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n')).text, expected);
      await other.close();
    });
  }

  test('an instance in several targets is one endpoint', async (t) => {
    const { mesh } = await routed(t, { routes });
    assert.equal(mesh.upstream.endpoints.length, 2);
  });
});

describe('what calls show of a target', () => {
  const routes: FeedRoute[] = [{ next: 'split' }];
  const splitters = {
    split: [
      { weight: 5_000, next: 'v1.db' },
      { weight: 5_000, next: 'v2.db' },
    ],
  };
  const once = { retries: { attempts: 0 }, outlier: { enabled: false } };

  /** `alias` is redirected to `v2.db`, half of `db` goes there. @returns asks by each name, and takes the instances' addresses */
  async function twoNames(t: TestContext, resilience: object) {
    const [one, two] = [instance('one'), instance('two')];
    const mesh = await startMesh(t, { applications: [one.server, two.server], upstreams: ['alias'] });
    const feed = (): void => {
      const target = (at: number) => ({
        service: 'db',
        endpoints: [endpoint(at, mesh.instances[at]?.inboundPort ?? 0)],
        resilience,
      });
      const destinations = { 'v1.db': { targets: ['v1.db'] }, 'v2.db': { targets: ['v2.db'] } };
      mesh.feedRouting({ routes, splitters, destinations, targets: { 'v1.db': target(0), 'v2.db': target(1) } });
      const routing: FeedRouting = {
        routes: [{ next: 'v2.db' }],
        splitters: {},
        destinations: { 'v2.db': { targets: ['v2.db'] } },
        targets: { 'v2.db': target(1) },
      };
      mesh.feed(mesh.web, [
        { kind: 'upstream', name: 'alias', protocol: 'http', endpoints: [], resilience: {}, routing },
      ]);
    };
    feed();
    const ask = async (name: string): Promise<string> => {
      const port = mesh.web.outboundPorts.get(name);
      const answer = await mesh.ask('GET / HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n', port);
      return answer.status === 200 ? answer.text.slice(-3) : (/SLV-\d+/.exec(answer.text)?.[0] ?? `${answer.status}`);
    };
    /** Of eight calls of the split, what came. */
    const answers = async (): Promise<readonly string[]> => {
      const all: string[] = [];
      for (let sent = 0; sent < 8; sent++) all.push(await ask('db'));
      return [...new Set(all)].toSorted();
    };
    return { mesh, one, two, ask, answers, feed };
  }

  test('a breaker that opens by one name is open by the other; the other half of a split is untouched', async (t) => {
    const breaker = { volumeThreshold: 3, openMs: 60_000 };
    const { mesh, two, ask, answers, feed } = await twoNames(t, { ...once, breaker });
    two.answers((outgoing) => void outgoing.writeHead(503).end());
    for (let sent = 0; sent < 3; sent++) assert.equal(await ask('alias'), '503');
    assert.deepEqual(statesOf(mesh), { 'v1.db node/db0': 'closed', 'v2.db node/db1': 'open' });
    feed();
    assert.deepEqual(await answers(), ['SLV-4003', 'one']);
    assert.equal(await ask('alias'), 'SLV-4003');
    assert.equal(two.seen.length, 3, 'it is left in peace');
  });

  test('one that is ejected by what one name saw is out for the other as well', async (t) => {
    const outlier = { consecutiveFailures: 3, baseEjectionMs: 60_000, maxEjectedRatio: 1 };
    const resilience = { retries: { attempts: 0 }, breaker: { enabled: false }, outlier };
    const { mesh, one, two, ask } = await twoNames(t, resilience);
    // Two instances in v2.db: of one alone none is ejected.
    const targets = {
      'v2.db': {
        service: 'db',
        endpoints: mesh.instances.map(({ inboundPort }, at) => endpoint(at, inboundPort)),
        resilience,
      },
    };
    const routing = {
      routes: [{ next: 'v2.db' }],
      splitters: {},
      destinations: { 'v2.db': { targets: ['v2.db'] } },
      targets,
    };
    for (const name of ['db', 'alias'])
      mesh.feed(mesh.web, [{ kind: 'upstream', name, protocol: 'http', endpoints: [], resilience: {}, routing }]);
    two.answers((outgoing) => void outgoing.writeHead(503).end());
    for (let sent = 0; sent < 6; sent++) await ask('alias');
    assert.equal(two.seen.length, 3);
    const before = one.seen.length;
    for (let sent = 0; sent < 6; sent++) assert.equal(await ask('db'), 'one');
    assert.deepEqual([one.seen.length - before, two.seen.length], [6, 3]);
  });

  test('one that hangs fills its own bulkhead, by whatever name; what is split to the other, or fails over, has room', async (t) => {
    const { mesh, two, ask, answers } = await twoNames(t, { ...once, maxConcurrent: 1 });
    const hanging: ServerResponse[] = [];
    two.answers((outgoing) => void hanging.push(outgoing));
    const held = ask('alias');
    await waitFor('the call that hangs', () => hanging.length === 1);
    assert.deepEqual(await answers(), ['SLV-4006', 'one']);
    const [up, down] = [0, 1].map((at) => endpoint(at, mesh.instances[at]?.inboundPort ?? 0));
    assert.ok(up !== undefined && down !== undefined);
    const target = (at: FeedEndpoint) => ({
      service: 'db',
      endpoints: [at],
      resilience: { ...once, maxConcurrent: 1 },
    });
    mesh.feedRouting({
      routes: [{ next: 'v2.db' }],
      splitters: {},
      destinations: { 'v2.db': { targets: ['v2.db', 'v1.db'] } },
      targets: { 'v1.db': target(up), 'v2.db': target({ ...down, status: 'critical' }) },
    });
    assert.deepEqual(await answers(), ['one']);
    for (const outgoing of hanging) outgoing.end('two');
    assert.equal(await held, 'two');
  });

  test('an operator forces it by its own name; that of an upstream which leads elsewhere is answered with where', async (t) => {
    const { mesh, ask, answers } = await twoNames(t, once);
    const routesOfAdmin = breakerRoutes([mesh.web], mesh.context.clock, mesh.context.log);
    const post = async (path: string): Promise<void> => {
      const url = new URL(`http://127.0.0.1:19000/breakers/${path}`);
      await routesOfAdmin[`POST ${url.pathname}`]?.({ url, origin: undefined, rest: '' });
    };
    await post('force-open?target=v2.db');
    assert.deepEqual([await answers(), await ask('alias')], [['SLV-4003', 'one'], 'SLV-4003']);
    await assert.rejects(post('force-open?target=alias'), /Calls of alias go to v2\.db: name that\./);
    await post('reset?target=v2.db');
    assert.deepEqual([await answers(), await ask('alias')], [['one', 'two'], 'two']);
  });

  test('ends with the last upstream that leads there', async (t) => {
    const { mesh } = await twoNames(t, once);
    mesh.feedUpstream();
    assert.deepEqual(Object.keys(statesOf(mesh)).toSorted(), ['db node/db0', 'db node/db1', 'v2.db node/db1']);
    mesh.feed(mesh.web, [{ kind: 'upstream', name: 'alias', protocol: 'http', endpoints: [], resilience: {} }]);
    assert.deepEqual(Object.keys(statesOf(mesh)).toSorted(), ['db node/db0', 'db node/db1']);
  });
});

describe('a mirror', () => {
  const mirrored = (share: number) => ({
    routes: [{ next: 'v1.db' }] as const,
    destinations: {
      'v1.db': { targets: ['v1.db'], mirror: { destination: 'mirror:db', share } },
      'mirror:db': { targets: ['v2.db'] },
    },
  });

  test('gets a copy with its body; its answer is dropped, and its failures are nobody’s', async (t) => {
    const { mesh, one, two, ask } = await routed(t, {
      ...mirrored(1),
      resilience: { retries: { attempts: 3 } },
    } as never);
    two.answers((outgoing) => void outgoing.writeHead(503).end());
    const bodies: string[] = [];
    two.server.on('request', (incoming: IncomingMessage) => {
      let body = '';
      incoming.on('data', (chunk: Buffer) => {
        body += String(chunk);
      });
      incoming.on('end', () => bodies.push(body));
    });
    const post = 'POST /x?q=1 HTTP/1.1\r\nHost: db\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody';
    assert.match((await mesh.ask(post)).text, /^HTTP\/1.1 200 .*one$/s);
    await waitFor('the copy', () => bodies.length === 1);
    assert.deepEqual([bodies, two.seen[0]?.url, two.seen[0]?.method], [['body'], '/x?q=1', 'POST']);
    for (let sent = 0; sent < 5; sent++) assert.equal(await ask(), 'one');
    await waitFor('all copies', () => two.seen.length === 6);
    assert.equal(one.seen.length, 6, 'the copies are not tried again, and the requests not because of them');
    assert.equal(mesh.traffic.edge('outbound', 'web', 'db').retries.value, 0);

    // What is refused at once is not copied, and its body is nobody's: not of the next request's copy either.
    const peer = mesh.dial();
    const first = mesh.web.targets.breakers.find(({ target }) => target === 'v1.db');
    first?.breaker.force('open', 0);
    peer.send(post.replace('Connection: close\r\n', ''));
    await peer.until('SLV-4003');
    first?.breaker.reset();
    peer.send(post.replace('\r\n\r\nbody', '\r\n\r\nnext'));
    await peer.untilEnded();
    await waitFor('the copy of the next', () => bodies.length === 7);
    assert.equal(bodies.at(-1), 'next');
  });

  test('that never answers holds up nobody', async (t) => {
    const { mesh, two, ask } = await routed(t, {
      ...mirrored(1),
      resilience: { maxConcurrent: 2, requestTimeoutMs: 5_000 },
    } as never);
    two.answers(() => {});
    for (let sent = 0; sent < 5; sent++) assert.equal(await ask(), 'one');
    const outcomes = async () => `${await counted(mesh, '2xx')} well, ${await counted(mesh, '5xx')} failed`;
    // Nobody waits for copies, nor does this: no more of them are under way than the bulkhead allows, the others are failures.
    await waitFor('two copies', async () => two.seen.length >= 2 && (await outcomes()) === '5 well, 3 failed');
    assert.equal(two.seen.length, 2);
    mesh.pass(5_001);
  });

  /** Requests of web to db, copies among them, that came to a status of this class. */
  const counted = async (mesh: Mesh, codeClass: string): Promise<number> => {
    const { text } = await mesh.metrics.exposition();
    const line = text
      .split('\n')
      .find((one) => /^selvedge_requests_total.*outbound/.test(one) && one.includes(codeClass));
    return Number(line?.split(' ').at(-1) ?? 0);
  };

  test('gets exactly its share, and its failures are counted', async (t) => {
    // Exact of 10,000; of 50 it is 8 to 11, by where it begins.
    const { mesh, one, two } = await routed(t, mirrored(0.2) as never, { random: () => 0.5 });
    two.answers((outgoing) => void outgoing.writeHead(503).end());
    const peer = mesh.dial();
    for (let sent = 1; sent <= 50; sent++) {
      peer.send('GET / HTTP/1.1\r\nHost: db\r\n\r\n');
      await peer.untilTrue('an answer', () => peer.text.split('HTTP/1.1 200').length === sent + 1);
    }
    peer.end();
    await waitFor('the copies to be counted', async () => {
      const copies = two.seen.length;
      return copies >= 10 && (await counted(mesh, '5xx')) === copies && (await counted(mesh, '2xx')) === 50;
    });
    assert.equal(one.seen.length, 50);
    assert.equal(two.seen.length, 10);
  });

  test('of none gets none', async (t) => {
    const { two, ask } = await routed(t, mirrored(1e-9) as never);
    for (let sent = 0; sent < 5; sent++) assert.equal(await ask(), 'one');
    assert.equal(two.seen.length, 0);
  });
});

describe('hashing', () => {
  const by = (policy: 'ring-hash' | 'maglev', hash: object): FeedRouting['destinations'] =>
    ({ db: { targets: ['db'], loadBalancer: { policy, hash: [hash] } } }) as FeedRouting['destinations'];

  for (const policy of ['ring-hash', 'maglev'] as const) {
    test(`${policy}: what is alike goes to one instance, and all instances get some`, async (t) => {
      const destinations = by(policy, { on: 'header', name: 'X-User' });
      const { ask } = await routed(t, { routes: [{ next: 'db' }], destinations });
      const places = new Set<string>();
      for (let user = 0; user < 12; user++) {
        const first = await ask('/', `X-User: ${user}\r\n`);
        assert.equal(await ask('/', `X-User: ${user}\r\n`), first, String(user));
        places.add(first);
      }
      assert.deepEqual([...places].sort(), ['one', 'two']);
    });
  }

  test('by source IP, over HTTP/1.1 and HTTP/2 alike', async (t) => {
    const { mesh } = await routed(t, { routes: [{ next: 'db' }], destinations: by('maglev', { on: 'source-ip' }) });
    const places = new Set<string>();
    for (let host = 1; host <= 8; host++) {
      const from = () => connectSocket({ port: mesh.port, host: '127.0.0.1', localAddress: `127.0.0.${host}` });
      const peer = mesh.keep(new RawPeer(from())).send('GET / HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n');
      await peer.untilEnded();
      peer.end();
      const client = connectHttp2('http://db', { createConnection: from });
      mesh.defer(() => client.destroy());
      const answers = [await askHttp2(client, {}), await askHttp2(client, {})];
      const place = peer.text.slice(-3);
      assert.deepEqual(
        answers.map(({ body }) => body),
        [place, place],
      );
      client.close();
      places.add(place);
    }
    assert.deepEqual([...places].sort(), ['one', 'two']);
  });

  test('a cookie that is not there is made, and brings the caller back', async (t) => {
    const destinations = by('ring-hash', { on: 'cookie', name: 'stick', cookie: { ttlMs: 60_000, path: '/' } });
    const { mesh, ask } = await routed(t, { routes: [{ next: 'db' }], destinations });
    const first = await mesh.ask('GET / HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n');
    const [, cookie = ''] =
      /Set-Cookie: (stick=[0-9a-f]{32}); Path=\/; Max-Age=60; HttpOnly\r\n/.exec(first.text) ?? [];
    const place = first.text.slice(-3);
    for (let sent = 0; sent < 4; sent++) assert.equal(await ask('/', `Cookie: a=b; ${cookie}\r\n`), place);
  });
});

test('routing that can’t be understood is refused whole, and what was in force stays', async (t) => {
  const { mesh, ask } = await routed(t, {});
  const resource = { kind: 'upstream', name: 'db', protocol: 'http', endpoints: [], resilience: {} } as const;
  for (const routing of [
    { routes: [{ next: 'nowhere' }], splitters: {}, destinations: {}, targets: {} },
    {
      routes: [{ next: 'db', match: { pathPrefix: '/' } }],
      splitters: {},
      destinations: { db: { targets: ['db'] } },
      targets: {},
    },
    { routes: [{ next: 'db', shadow: 'x' }], splitters: {}, destinations: {}, targets: {} },
  ]) {
    const update = { revision: 99, reset: false, resources: [{ ...resource, routing } as never] };
    assert.equal(mesh.web.view.apply(update, 'feed')[0]?.kind, 'upstream', JSON.stringify(routing));
  }
  assert.equal(await ask(), 'one');
});
