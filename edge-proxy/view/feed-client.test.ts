import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { describe, type TestContext, test } from 'node:test';
import { parseTrustDomain } from '#policies/spiffe-id.ts';
import { type FeedAck, feedAckSchema } from '#policies/wire/feed.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import type { MeshIdentity } from '#runtime/svid/mesh-identity.ts';
import { svidHolder } from '#runtime/svid/svid.ts';
import { makeCa, staticTrust } from '#test/mini-ca.ts';
import { listening } from '#test/sidecars.ts';
import { waitFor } from '#test/wait-for.ts';
import { FeedClient } from './feed-client.ts';
import { ServiceView } from './service-view.ts';

/** The feed against a real HTTP server that says what a catalog might. */

const hello = (keepAliveMs = 60_000) => ({
  type: 'hello',
  catalog: 'c',
  datacenter: 'dc1',
  trustDomain: 'mesh.test',
  keepAliveMs,
});
const upstream = (name: string) => ({ kind: 'upstream', name, protocol: 'tcp', endpoints: [], resilience: {} });
const intentions = (action: 'allow' | 'deny', more: object = {}) => ({
  kind: 'intentions',
  name: 'db',
  protocol: 'tcp',
  defaultAction: action,
  intentions: [],
  ...more,
});
const update = (revision: number, reset: boolean, ...resources: object[]) => ({
  type: 'update',
  revision,
  reset,
  resources,
});

interface Line {
  readonly query: URLSearchParams;
  readonly atMs: number;
  say(...messages: (object | string)[]): void;
  end(): void;
}

class Catalog {
  readonly lines: Line[] = [];
  readonly acks: FeedAck[] = [];
  readonly view = new ServiceView('db', Date.now);
  readonly bundles: string[] = [];
  ackStatus = 200;
  upstreams: readonly string[] = ['cache', 'queue'];
  lives = 0;
  saves = 0;
  client: FeedClient | undefined;
  readonly #server: Server;
  readonly #stop = new AbortController();
  readonly #script: (line: Line, index: number) => void;

  constructor(script: (line: Line, index: number) => void) {
    this.#script = script;
    this.#server = createServer((request, response) => {
      if (request.url === '/v1/mesh/feed/ack') this.#takeAck(request, response);
      else this.#open(request, response);
    });
  }

  async start(random: () => number): Promise<void> {
    const port = await listening(this.#server);
    const trust = Object.assign(staticTrust(makeCa('mesh.test').bundle), {
      acceptSigned: async (jws: string) => this.bundles.push(jws) > 0 && jws === 'good',
      sequence: 3,
      signed: undefined,
    });
    const identity = {
      trust,
      trustDomain: parseTrustDomain('mesh.test'),
      datacenter: 'dc1',
      svid: () => svidHolder(),
      close: async () => {},
    };
    this.client = new FeedClient({
      view: this.view,
      meshNames: false,
      upstreams: () => this.upstreams,
      catalogUrl: `http://127.0.0.1:${port}`,
      identity: identity as unknown as MeshIdentity, // a proxy asks for no more of it
      context: { ...systemContext(createLogger({ process: 'test', level: 'silent' })), random },
      signal: this.#stop.signal,
      proxyId: 'node/db',
      onLive: () => {
        this.lives += 1;
      },
      onApplied: () => {
        this.saves += 1;
      },
    });
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.client?.ended();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #takeAck(request: IncomingMessage, response: ServerResponse): void {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      this.acks.push(feedAckSchema.parse(JSON.parse(body)));
      response.statusCode = this.ackStatus;
      response.end();
    });
  }

  #open(request: IncomingMessage, response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' }).flushHeaders();
    const line: Line = {
      query: new URL(request.url ?? '', 'http://c').searchParams,
      atMs: performance.now(),
      say: (...messages) => {
        for (const message of messages)
          response.write(typeof message === 'string' ? message : `${JSON.stringify(message)}\n`);
      },
      end: () => response.end(),
    };
    this.lines.push(line);
    this.#script(line, this.lines.length - 1);
  }
}

/** @param random jitter: 0 makes the shortest waits */
async function follow(t: TestContext, script: (line: Line, index: number) => void, random = () => 0): Promise<Catalog> {
  const catalog = new Catalog(script);
  t.after(() => catalog.close());
  await catalog.start(random);
  return catalog;
}
const allowed = ({ view }: Catalog): boolean => {
  const verdict = view.inbound?.intentions.forSource('web').connection;
  return verdict !== undefined && verdict !== 'per-request' && verdict.allowed;
};

describe('the feed', () => {
  test('asks for what it needs, applies, saves, acknowledges', async (t) => {
    const catalog = await follow(t, (line) =>
      line.say(hello(), update(4, true, intentions('allow'), { kind: 'bundle', name: 'mesh.test', jws: 'good' })),
    );
    await waitFor('the acknowledgement', () => catalog.acks.length === 1);
    assert.deepEqual(
      [...(catalog.lines[0]?.query ?? [])],
      [
        ['proxy', 'node/db'],
        ['service', 'db'],
        ['upstream', 'cache'],
        ['upstream', 'queue'],
        ['limits', '1'],
      ],
    );
    assert.equal(allowed(catalog), true);
    assert.deepEqual(catalog.acks, [{ proxy: 'node/db', revision: 4, rejected: [], bundleSequence: 3 }]);
    assert.deepEqual(catalog.bundles, ['good']);
    assert.equal(catalog.client?.state.kind, 'live');
    assert.deepEqual([catalog.lives, catalog.saves], [1, 1]);
  });

  test('goes on from the last line after a break, keep-alives included, and keeps what it knows meanwhile', async (t) => {
    const catalog = await follow(t, (line, index) => {
      line.say(hello());
      if (index === 0) line.say(update(4, true, intentions('allow')), { type: 'keepalive', revision: 9 });
      if (index === 0) line.end();
    });
    await waitFor('the second line', () => catalog.lines.length === 2);
    assert.equal(catalog.lines[1]?.query.get('since'), '9');
    assert.equal(allowed(catalog), true);
    assert.equal(catalog.view.revision, 9);
    await waitFor('life', () => catalog.lives === 2);
  });

  test('other upstreams: connects at once, asks for what is new as new, forgets what is not asked for', async (t) => {
    const catalog = await follow(t, (line, index) => {
      line.say(hello());
      if (index === 0) line.say(update(4, true, intentions('allow'), upstream('cache'), upstream('queue')));
    });
    await waitFor('the first update', () => catalog.view.upstreams.size === 2);
    catalog.upstreams = ['queue', 'db'];
    for (let times = 0; times < 3; times++) catalog.client?.renew();
    await waitFor('the second line', () => catalog.lines.length === 2);
    const query = catalog.lines[1]?.query;
    assert.deepEqual(
      [query?.get('since'), query?.getAll('upstream'), query?.getAll('new')],
      ['4', ['queue', 'db'], ['db']],
    );
    assert.deepEqual([...catalog.view.upstreams.keys()], ['queue']);
    assert.equal(catalog.client?.state.kind, 'live', 'nothing was lost');
    await waitFor('life', () => catalog.lives === 2);
    assert.equal(catalog.lines.length, 2);
  });

  test('a reset forgets', async (t) => {
    const catalog = await follow(t, (line) => line.say(hello(), update(4, true, intentions('allow')), update(5, true)));
    await waitFor('the reset', () => catalog.view.revision === 5);
    assert.equal(catalog.view.inbound, undefined);
  });

  test('a line that falls silent is left for a new one', async (t) => {
    const catalog = await follow(t, (line) => line.say(hello(100)));
    await waitFor('the second line', () => catalog.lines.length === 2);
    const [first, second] = catalog.lines;
    assert.ok((second?.atMs ?? 0) - (first?.atMs ?? 0) >= 198); // timers count whole milliseconds
  });

  test('connects again at growing intervals, for as long as no hello comes', async (t) => {
    const catalog = await follow(
      t,
      (line) => line.end(),
      () => 0,
    );
    await waitFor('four lines', () => catalog.lines.length === 4);
    const gaps = catalog.lines.slice(1).map(({ atMs }, index) => atMs - (catalog.lines[index]?.atMs ?? 0));
    // Each at least as long as its share; how much later a busy machine comes to it says nothing.
    for (const [index, least] of [200, 400, 800].entries()) assert.ok((gaps[index] ?? 0) >= least - 2, gaps.join());
    await waitFor('the end of the fourth to be noticed', () => catalog.client?.state.kind === 'lost');
  });

  for (const [name, text] of [
    ['not JSON', '{"type":\n'],
    ['no message', 'null\n'],
    ['half an update', '{"type":"update","revision":3}\n'],
  ] as const) {
    test(`a line that is ${name} ends the connection, not the proxy`, async (t) => {
      const catalog = await follow(t, (line, index) =>
        line.say(hello(), ...(index === 0 ? [update(2, true, intentions('allow')), text] : [update(3, false)])),
      );
      await waitFor('the second line', () => catalog.view.revision === 3);
      assert.equal(allowed(catalog), true);
      assert.equal(catalog.lines[1]?.query.get('since'), '2');
    });
  }

  test('what is not understood is named in the acknowledgement; the rest of its update holds', async (t) => {
    const catalog = await follow(t, (line) =>
      line.say(
        { ...hello(), motto: 'new' },
        update(2, true, intentions('allow'), { kind: 'weather', name: 'sun' }),
        update(3, false, intentions('deny', { novelty: 1 }), {
          kind: 'upstream',
          name: 'cache',
          protocol: 'tcp',
          endpoints: [],
          resilience: {},
        }),
        { type: 'gossip' },
        { type: 'keepalive', revision: 4, mood: 'good' },
      ),
    );
    await waitFor('all of it', () => catalog.view.revision === 4 && catalog.acks.at(-1)?.revision === 3);
    const rejected = catalog.acks.flatMap((ack) => ack.rejected.map(({ kind, name }) => `${kind}/${name}`));
    assert.ok(rejected.includes('intentions/db'));
    assert.equal(allowed(catalog), true, 'the last good intentions stay');
    assert.equal(catalog.view.upstreams.has('cache'), true);
  });

  test('names no more refusals than an acknowledgement takes', async (t) => {
    const unknown = Array.from({ length: 300 }, (_, index) => ({ kind: 'weather', name: `w${index}` }));
    const catalog = await follow(t, (line) => line.say(hello(), update(2, true, ...unknown)));
    await waitFor('the acknowledgement', () => catalog.acks.length === 1);
    assert.equal(catalog.acks[0]?.rejected.length, 100);
  });

  test('an acknowledgement that did not arrive goes again with the next line', async (t) => {
    const catalog = await follow(t, (line) => line.say(hello(), update(2, true)));
    catalog.ackStatus = 503;
    await waitFor('the first', () => catalog.acks.length === 1);
    catalog.ackStatus = 200;
    await waitFor('the second', () => {
      catalog.lines[0]?.say({ type: 'keepalive', revision: 2 });
      return catalog.acks.length >= 2;
    });
    assert.equal(catalog.acks[1]?.revision, 2);
  });

  test('a hello alone confirms nothing', async (t) => {
    const catalog = await follow(t, (line) => line.say(hello()));
    await waitFor('life', () => catalog.lives === 1);
    assert.equal(catalog.view.confirmedAtMs, 0);
  });

  test('a bundle that is not signed changes nothing and holds nothing up', async (t) => {
    const catalog = await follow(t, (line) =>
      line.say(hello(), update(2, true, { kind: 'bundle', name: 'mesh.test', jws: 'forged' }, intentions('allow'))),
    );
    await waitFor('the update', () => catalog.view.revision === 2);
    assert.equal(allowed(catalog), true);
  });
});
