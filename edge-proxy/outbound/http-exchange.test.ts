import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { connect, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import { RawPeer } from '#test/raw-client.ts';
import { closedPort, endpoint, intention, listening, type Mesh, startMesh, vanish, webMayNot } from '#test/sidecars.ts';
import { waitFor } from '#test/wait-for.ts';

/**
 * Retries, breakers, time-outs and who gives back what, over real sockets. The mesh's own close checks that every ticket, slot and timer came back.
 * In one file: every scene is of one class.
 */

const closing = 'Connection: close\r\n';
const get = (path = '/', more = closing) => `GET ${path} HTTP/1.1\r\nHost: db\r\n${more}\r\n`;
const post = (body: string, more = closing) =>
  `POST / HTTP/1.1\r\nHost: db\r\nContent-Length: ${body.length}\r\n${more}\r\n${body}`;

/** What an application does with a connection that has sent `text` so far. */
type Behaviour = (peer: RawPeer, socket: Socket) => void;

/** An application that shows what came and does as told, connection by connection; the last behaviour goes for all further ones. */
function application(...behaviours: readonly Behaviour[]): { server: Server; peers: RawPeer[] } {
  const peers: RawPeer[] = [];
  const server = createTcpServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const peer = new RawPeer(socket);
    const behaviour = behaviours[Math.min(peers.length, behaviours.length - 1)];
    peers.push(peer);
    behaviour?.(peer, socket);
  });
  return { server, peers };
}

const ok = (body: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const failing = (status: number) => `HTTP/1.1 ${status} Sorry\r\nContent-Length: 5\r\n\r\nsorry`;
/** Answers each request with the same bytes, once its head and `needs` have come. */
const says =
  (answer: string, needs = ''): Behaviour =>
  (peer, socket) => {
    let answered = 0;
    socket.on('data', () => {
      const heads = peer.text.split('\r\n\r\n').length - 1;
      if (!peer.text.includes(needs)) return;
      for (; answered < heads; answered++) peer.send(answer);
    });
  };
const breaks: Behaviour = (peer, socket) => void peer.until('\r\n\r\n').then(() => socket.resetAndDestroy());
const silent: Behaviour = () => {};

const oneDb = (server: Server, resilience: object = {}) => ({ applications: [server], resilience });
const quick = { backoffBaseMs: 1, backoffMaxMs: 1 };
const breakerOf = (mesh: Mesh) => mesh.breaker.snapshot();
const retries = (mesh: Mesh) => mesh.traffic.edge('outbound', 'web', 'db').retries.value;

describe('retries', () => {
  test('a GET whose connection broke goes again', async (t) => {
    const { server, peers } = application(breaks, says(ok('fine')));
    const mesh = await startMesh(t, oneDb(server, { retries: quick }));
    assert.match((await mesh.ask(get())).text, /fine$/);
    assert.equal(peers.length, 2);
    assert.equal(retries(mesh), 1);
  });

  for (const [how, behaviour] of [
    ['broke', breaks],
    ['was answered 503', says(failing(503))],
    ['was answered with nonsense', says('HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n')],
  ] as const) {
    test(`a POST that was sent and ${how} never does`, async (t) => {
      const { server, peers } = application(behaviour);
      const on = ['reset', '5xx', 'gateway-error', 'timeout', 'refused', 'connect-failure'];
      const mesh = await startMesh(t, oneDb(server, { retries: { ...quick, on } }));
      const answer = await mesh.ask(post('x'));
      assert.ok([502, 503].includes(answer.status), answer.text);
      assert.equal(peers.length, 1);
      assert.equal(retries(mesh), 0);
    });
  }

  test('a POST that reached nobody does, with its body', async (t) => {
    const { server, peers } = application(says(ok('stored'), 'the whole body'));
    const mesh = await startMesh(t, { applications: [undefined, server], resilience: { retries: quick } });
    // Whichever instance is the first: half of these met the one without an application.
    for (let n = 0; n < 4; n++) assert.match((await mesh.ask(post('the whole body'))).text, /stored$/);
    assert.equal(
      peers.map(({ text }) => text.split('the whole body').length - 1).reduce((a, b) => a + b),
      4,
    );
    assert.ok(retries(mesh) >= 1);
  });

  test('one to an endpoint that is down goes to another, and one that the catalog gives to somebody else is not called', async (t) => {
    const { server } = application(says(ok('here')));
    const mesh = await startMesh(t, oneDb(server, { retries: { ...quick, attempts: 3, budgetMinPerSecond: 100 } }));
    const good = endpoint(0, mesh.db.inboundPort);
    const nobody = await closedPort();
    mesh.feedUpstream({
      endpoints: [
        endpoint(1, nobody),
        good,
        endpoint(2, mesh.db.inboundPort, { spiffeId: 'spiffe://mesh.test/ns/default/dc/dc1/svc/other' }),
      ],
    });
    for (let n = 0; n < 6; n++) assert.match((await mesh.ask(get())).text, /here$/);
    assert.ok(mesh.log.some((line) => JSON.stringify(line).includes('svc/other is not the identity of db')));
  });

  for (const [name, size, tries] of [
    ['a body is replayed, whole and in its framing', 40_000, 2],
    ['too long a body is not', 200_000, 1],
  ] as const) {
    test(name, async (t) => {
      const whole = (peer: RawPeer) => peer.untilTrue('the body', () => peer.text.endsWith('0\r\n\r\n'));
      const { server, peers } = application(
        (peer, socket) => void whole(peer).then(() => socket.resetAndDestroy()),
        (peer) => void whole(peer).then(() => peer.send(ok('again'))),
      );
      const mesh = await startMesh(t, oneDb(server, { retries: quick }));
      const head = `PUT / HTTP/1.1\r\nHost: db\r\n${closing}Transfer-Encoding: chunked\r\n\r\n`;
      const answer = await mesh.ask(`${head}${size.toString(16)}\r\n${'z'.repeat(size)}\r\n0\r\n\r\n`);
      assert.equal(answer.status, tries === 2 ? 200 : 502);
      assert.equal(peers.length, tries);
      for (const peer of peers) assert.equal(peer.text.split('z').length - 1, size);
    });
  }

  test('listed answers are tried again, and the last is handed down as it is', async (t) => {
    const { server, peers } = application(says(failing(503)));
    const mesh = await startMesh(t, oneDb(server, { retries: { ...quick, attempts: 2 } }));
    const answer = await mesh.ask(get());
    assert.match(answer.text, /^HTTP\/1\.1 503 Sorry\r\n.*sorry$/s);
    assert.equal(retries(mesh), 2);
    assert.equal(peers.length, 1, 'the answers were whole, so the connection was used again');
  });

  test('which answers are tried again is not the breaker’s to say', async (t) => {
    const { server } = application(says(failing(503)));
    const mesh = await startMesh(t, oneDb(server, { retries: quick, breaker: { failureStatuses: [500] } }));
    assert.equal((await mesh.ask(get())).status, 503);
    assert.equal(retries(mesh), 2);
    assert.equal(breakerOf(mesh)?.failures, 0);
  });

  test('an answer that is tried again and never ends holds nothing', async (t) => {
    const stuck = 'HTTP/1.1 503 Sorry\r\nContent-Length: 500\r\n\r\nsor';
    const { server, peers } = application(says(stuck), says(stuck), says(ok('fine')));
    const mesh = await startMesh(t, oneDb(server, { retries: quick }));
    assert.match((await mesh.ask(get())).text, /fine$/);
    await waitFor('the stuck connections to be let go', () => peers.slice(0, 2).every(({ ended }) => ended));
  });

  for (const [what, begin] of [
    ['half an answer', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'],
    ['a hint', 'HTTP/1.1 103 Early Hints\r\n\r\n'],
  ] as const) {
    test(`nothing is tried again once ${what} has gone down`, async (t) => {
      const { server, peers } = application((peer, socket) => {
        void peer.until('\r\n\r\n').then(() => socket.end(Buffer.from(begin)));
      });
      const mesh = await startMesh(t, oneDb(server, { retries: quick }));
      const client = mesh.dial().send(get());
      await client.untilEnded();
      assert.ok(client.text.startsWith(begin.slice(0, 12)));
      assert.equal(peers.length, 1);
    });
  }

  test('a kept-alive connection that the application has closed meanwhile is not held against it', async (t) => {
    let served = 0;
    const { server, peers } = application((peer, socket) => {
      socket.on('data', () => {
        served += 1;
        // The second request on a connection is never answered: it is closed, as an idle one would be that moment.
        if (peer.text.split('\r\n\r\n').length > 2) socket.destroy();
        else peer.send(ok('hello'));
      });
    });
    const mesh = await startMesh(t, oneDb(server, { retries: { attempts: 0 } }));
    const client = mesh.dial();
    for (let n = 1; n <= 3; n++) {
      client.send(get('/', ''));
      await client.untilTrue('an answer', () => client.text.split('hello').length === n + 1);
    }
    assert.equal(breakerOf(mesh)?.failures, 0);
    assert.equal(peers.length, 3);
    assert.equal(served, 5);
  });
});

describe('a mesh 403', () => {
  for (const [name, intentions] of [
    ['of the connection', webMayNot],
    [
      'of the request',
      [intention({ source: 'web', permissions: [{ action: 'allow', http: { pathExact: '/allowed' } }] })],
    ],
  ] as const) {
    test(`${name} is handed down, with its decision, and neither counted nor tried again`, async (t) => {
      const { server, peers } = application(says(ok('never')));
      const mesh = await startMesh(t, {
        ...oneDb(server, { retries: { ...quick, attempts: 5 }, breaker: { volumeThreshold: 1 } }),
        intentions,
      });
      for (let n = 0; n < 5; n++) {
        const answer = await mesh.ask(get());
        assert.equal(answer.status, 403);
        const id = /selvedge-decision: (\S+)\r\n/.exec(answer.text)?.[1];
        assert.match(mesh.traffic.decisions.find(id ?? '')?.rule ?? '', /^(web -> db|default)/);
      }
      assert.deepEqual(
        [breakerOf(mesh)?.state, breakerOf(mesh)?.calls, retries(mesh), peers.length],
        ['closed', 0, 0, 0],
      );
      assert.equal(mesh.traffic.edge('outbound', 'web', 'db').denied.value, 5);
    });
  }
});

describe('the breaker', () => {
  test('opens, refuses fast and leaves the application in peace, probes, closes', async (t) => {
    let broken = true;
    let calls = 0;
    const server = createServer((_, response) => {
      calls += 1;
      response.statusCode = broken ? 500 : 200;
      response.end();
    });
    const mesh = await startMesh(
      t,
      oneDb(server, {
        retries: { attempts: 0 },
        breaker: { volumeThreshold: 5, openMs: 1_000, closeAfterSuccesses: 2 },
      }),
    );
    for (let n = 0; n < 5; n++) assert.equal((await mesh.ask(get())).status, 500);
    const refused = await mesh.ask(get());
    assert.match(refused.text, /^HTTP\/1\.1 503 .*SLV-4003/s);
    assert.equal(calls, 5);
    broken = false;
    await waitFor('half-open', () => breakerOf(mesh)?.state === 'half-open');
    assert.equal((await mesh.ask(get())).status, 200);
    assert.equal((await mesh.ask(get())).status, 200);
    assert.equal(breakerOf(mesh)?.state, 'closed');
  });

  test('a probe whose caller vanishes does not wedge it', async (t) => {
    const { server } = application(says(failing(500)), silent, says(ok('well')));
    const mesh = await startMesh(
      t,
      oneDb(server, { retries: { attempts: 0 }, breaker: { volumeThreshold: 1, openMs: 20, closeAfterSuccesses: 1 } }),
    );
    const first = mesh
      .dial()
      .send(get('/', '').replace('GET', 'POST').replace('\r\n\r\n', '\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'));
    await first.until('500 ');
    await waitFor('half-open', () => breakerOf(mesh)?.state === 'half-open');
    const probe = mesh.dial().send(post('x'));
    await waitFor('the probe', () => breakerOf(mesh)?.probing === true);
    vanish(probe.socket);
    await waitFor('the probe to be given back', () => breakerOf(mesh)?.probing === false);
    assert.equal(breakerOf(mesh)?.state, 'half-open');
  });

  test('no caller that goes, no 4xx and no malformed request counts', async (t) => {
    const { server } = application(says('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n'));
    const mesh = await startMesh(t, oneDb(server, { breaker: { volumeThreshold: 1 } }));
    assert.equal((await mesh.ask(get())).status, 404);
    assert.equal((await mesh.ask('POST / HTTP/1.1\r\nHost: db\r\nTransfer-Encoding: chunked\r\n\r\nxyz')).status, 400);
    assert.equal(breakerOf(mesh)?.failures, 0);
  });
});

describe('a caller that vanishes', () => {
  const cases: readonly (readonly [string, Server | undefined, object, string, (mesh: Mesh) => boolean])[] = [
    ['before the answer', application(silent).server, {}, get(), (mesh) => mesh.db.sidecar.live.size === 1],
    [
      'within the answer',
      application(says('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc')).server,
      {},
      get(),
      (mesh) => mesh.db.sidecar.live.size === 1,
    ],
    [
      'within its request',
      application(silent).server,
      {},
      post('').replace('Length: 0', 'Length: 50'),
      (mesh) => mesh.db.sidecar.live.size === 1,
    ],
    [
      'while a retry waits',
      application(breaks).server,
      { requestTimeoutMs: 120_000, retries: { backoffBaseMs: 60_000, backoffMaxMs: 60_000 } },
      get(),
      (mesh) => retries(mesh) === 1,
    ],
  ];
  for (const [when, server, resilience, request, reached] of cases) {
    test(`${when} leaves nothing behind`, async (t) => {
      const mesh = await startMesh(t, { applications: [server], resilience });
      const client = mesh.dial().send(request);
      await waitFor('the moment', () => reached(mesh));
      vanish(client.socket);
      await waitFor('all to be given back', () => mesh.settled);
      assert.equal(mesh.traffic.edge('outbound', 'web', 'db').openConnections.value, 0);
    });
  }

  test('while its connection to the endpoint is being made leaves nothing behind', async (t) => {
    // Takes connections and never shakes hands.
    const mute = createTcpServer((socket) => socket.resume());
    const mesh = await startMesh(t, { applications: [mute] });
    const address = mute.address();
    assert.ok(typeof address === 'object' && address !== null);
    mesh.feedUpstream({ endpoints: [endpoint(0, address.port)] });
    const client = mesh.dial().send(get());
    await waitFor('the dial', () => mesh.applicationConnections === 1);
    vanish(client.socket);
    await waitFor('all to be given back', () => mesh.settled);
  });

  test('while its tunnel is being made is not served by it later', async (t) => {
    const { server, peers } = application(says(ok('done')));
    const mesh = await startMesh(t, oneDb(server));
    // A road to the far proxy that opens late.
    const opened = Promise.withResolvers<void>();
    const road = createTcpServer((socket) => {
      mesh.defer(() => socket.destroy());
      void opened.promise.then(() => {
        const far = connect(mesh.db.inboundPort, '127.0.0.1');
        mesh.defer(() => far.destroy());
        socket.on('error', () => far.destroy()).pipe(far);
        far.on('error', () => socket.destroy()).pipe(socket);
      });
    });
    mesh.defer(() => road.close());
    mesh.feedUpstream({ endpoints: [endpoint(0, await listening(road))] });
    const gone = mesh.dial().send(post('pay'));
    await waitFor('the call', () => mesh.upstream.inFlight === 1);
    const stays = mesh.dial().send(get());
    await waitFor('both calls', () => mesh.upstream.inFlight === 2);
    vanish(gone.socket);
    await waitFor('one call', () => mesh.upstream.inFlight === 1);
    opened.resolve();
    await stays.until('done');
    assert.ok(peers.every(({ text }) => text.startsWith('GET ')));
  });

  test('and only said that it sends no more is taken for gone after two seconds', async (t) => {
    const { server } = application(says('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'));
    const mesh = await startMesh(t, oneDb(server));
    const client = mesh.dial().send(get());
    await client.until('abc');
    client.end();
    await waitFor('the end to be seen', () => {
      mesh.pass(0);
      return true;
    });
    await waitFor('it to be let go', () => {
      mesh.pass(1_100);
      return mesh.settled;
    });
  });
});

describe('time-outs', () => {
  test('a try ends at its own, the request at its total', async (t) => {
    const { server, peers } = application(silent);
    const tries = { ...quick, attempts: 2, on: ['timeout'] };
    const mesh = await startMesh(t, oneDb(server, { perTryTimeoutMs: 200, retries: tries }));
    const timedOut = async (atLeastMs: number) => {
      const startedMs = performance.now();
      const answer = await mesh.ask(get());
      assert.match(answer.text, /^HTTP\/1\.1 504 .*SLV-4004/s);
      const tookMs = performance.now() - startedMs;
      assert.ok(tookMs >= atLeastMs - 2 && tookMs < 10_000, `${tookMs} ms`);
    };
    await timedOut(600);
    assert.equal(retries(mesh), 2);
    assert.equal(breakerOf(mesh)?.failures, 3);
    mesh.feedUpstream({ resilience: { requestTimeoutMs: 200, retries: tries } });
    await timedOut(200);
    assert.equal(retries(mesh), 2, 'there is no time for another');
    assert.equal(breakerOf(mesh)?.failures, 4);
    // One may be over before it has come to the application.
    assert.ok(peers.length <= 4);
    await waitFor('the application to be let go', () => peers.every(({ ended }) => ended));
  });

  test('an upload takes its time; once it is whole the answer is late, and so is an application that takes none of it', async (t) => {
    let deaf: Socket | undefined;
    const hangs: Behaviour = (_peer, socket) => {
      deaf = socket.pause();
    };
    const well = ok('well').replace('\r\n', `\r\n${closing}`);
    const { server, peers } = application(says(well), silent, silent, hangs);
    const mesh = await startMesh(t, oneDb(server));
    await mesh.ask(get()); // from here on there is a tunnel
    mesh.feedUpstream({
      resilience: { perTryTimeoutMs: 250, requestTimeoutMs: 250, retries: { attempts: 0 } },
    });
    const upload = mesh.dial().send(post('the end').slice(0, -'the end'.length));
    await waitFor('a try to be over', () => mesh.upstream.inFlight === 1 && breakerOf(mesh)?.underWay === 0);
    await waitFor('it to be there', () => peers.length === 2);
    peers[1]?.send(well);
    await upload.until('well');
    await upload.send('the end').untilEnded();
    assert.equal(breakerOf(mesh)?.failures, 0);
    assert.match((await mesh.ask(post('never answered'))).text, /^HTTP\/1\.1 504 .*SLV-4004/s);
    const stuck = mesh.dial().send('POST / HTTP/1.1\r\nHost: db\r\nContent-Length: 90000000\r\n\r\n');
    await stuck.send(Buffer.alloc(80_000_000)).until('504 ', 'SLV-4004');
    assert.equal(breakerOf(mesh)?.failures, 2);
    deaf?.resume(); // else it does not see that it was let go
  });

  test('of connecting: no handshake', async (t) => {
    const mute = createTcpServer((socket) => socket.resume());
    const mesh = await startMesh(t, {
      applications: [mute],
      resilience: { connectTimeoutMs: 50, retries: { attempts: 0 } },
    });
    const address = mute.address();
    assert.ok(typeof address === 'object' && address !== null);
    mesh.feedUpstream({ endpoints: [endpoint(0, address.port)] });
    assert.match((await mesh.ask(get())).text, /^HTTP\/1\.1 502 .*no stream within 50 ms/s);
  });

  test('of the head only: an answer may take longer', async (t) => {
    const { server } = application((peer) => {
      void peer.until('\r\n\r\n').then(() => {
        peer.send('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsl');
        setTimeout(() => peer.send('ow'), 1_100);
      });
    });
    const mesh = await startMesh(t, oneDb(server, { perTryTimeoutMs: 1_000, requestTimeoutMs: 1_000 }));
    assert.match((await mesh.ask(get())).text, /slow$/);
  });
});

describe('what changes under a call', () => {
  test('its endpoint goes from the catalog: the call goes on, the next has nowhere to go', async (t) => {
    let answer: (() => void) | undefined;
    const { server } = application((peer) => {
      answer = () => void peer.send(ok('to the end'));
    });
    const mesh = await startMesh(t, oneDb(server));
    const client = mesh.dial().send(get());
    await waitFor('the call', () => answer !== undefined);
    const [gone] = mesh.upstream.endpoints;
    mesh.feedUpstream({ endpoints: [] });
    assert.match((await mesh.ask(get())).text, /^HTTP\/1\.1 503 .*SLV-4002/s);
    answer?.();
    await client.untilEnded();
    assert.match(client.text, /to the end$/);
    await waitFor('its tunnel to close', () => gone?.tunnels.size === 0 && gone.inFlight === 0);
  });

  test('its bulkhead is full: the next is refused at once', async (t) => {
    let answer: (() => void) | undefined;
    const { server } = application((peer) => {
      answer = () => void peer.send(ok('first'));
    });
    const mesh = await startMesh(t, oneDb(server, { maxConcurrent: 1 }));
    const client = mesh.dial().send(get());
    await waitFor('the call', () => answer !== undefined);
    assert.match((await mesh.ask(get())).text, /^HTTP\/1\.1 503 .*SLV-4006/s);
    answer?.();
    await client.untilEnded();
    assert.equal(mesh.upstream.inFlight, 0);
  });

  test('its SVID rotates: no request fails, and the next tunnel shows the new one', async (t) => {
    const server = createServer((_, response) => response.end('ok'));
    const mesh = await startMesh(t, oneDb(server, { retries: { attempts: 0 } }));
    const ask = async () => assert.match((await mesh.ask(get())).text, /ok$/);
    await ask();
    mesh.webSvid.set(mesh.issue('web'));
    mesh.db.svid.set(mesh.issue('db'));
    for (let n = 0; n < 5; n++) await ask();
  });

  test('a far proxy that drains: requests move over without a failure', async (t) => {
    const server = createServer((_, response) => response.end('ok'));
    const mesh = await startMesh(t, {
      applications: [server, createServer((_, response) => response.end('ok'))],
      resilience: { retries: quick },
    });
    const client = mesh.dial();
    let asked = 0;
    const ask = async () => {
      asked += 1;
      client.send(get('/', ''));
      await client.untilTrue('an answer', () => client.text.split('200 OK').length === asked + 1);
    };
    for (let n = 0; n < 6; n++) await ask();
    mesh.db.sidecar.drain();
    for (let n = 0; n < 12; n++) await ask();
    await waitFor('the drain', () => mesh.db.sidecar.drained);
  });
});

test('a feed that names an endpoint which can’t be dialled is refused, and the last good one stays', async (t) => {
  const { server } = application(says(ok('still')));
  const mesh = await startMesh(t, oneDb(server));
  for (const change of [{ port: 70_000 }, { port: 0 }, { port: 1.5 }, { address: '' }, { spiffeId: 'http://db' }]) {
    const resource = {
      kind: 'upstream' as const,
      name: 'db',
      protocol: 'http' as const,
      resilience: {},
      endpoints: [endpoint(0, 1, change)],
    };
    const rejected = mesh.web.view.apply({ revision: 9, reset: false, resources: [resource] }, 'feed');
    assert.equal(rejected.length, 1, JSON.stringify(change));
  }
  assert.match((await mesh.ask(get())).text, /still$/);
});
