import assert from 'node:assert/strict';
import { createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { createServer as createTcpServer } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { Metadata, status } from '@grpc/grpc-js';
import { echo, get, grpcApplication, listed, orders, type Scene, same, scene, speaks } from '#test/grpc-scene.ts';
import { plainSession, session } from '#test/http2-session.ts';
import { type Mesh, startMesh } from '#test/sidecars.ts';
import { waitFor } from '#test/wait-for.ts';
import { grpcTimeoutMs } from './http2/grpc.ts';

/** What gRPC calls come to: what they are worth to breaker and ejection, how long they may take, and when they are made again. */

describe('an instance is judged by the status at the end', () => {
  const internal = { code: status.INTERNAL, details: 'broken' };
  const fails = speaks((call) => call.emit('error', internal));

  test('before the first message and behind it: the breaker opens', async (t) => {
    const resilience = { breaker: { volumeThreshold: 4 }, outlier: { enabled: false } };
    const { client, seen } = await scene(t, { resilience, list: fails, get: (_, callback) => callback(internal) });
    for (let n = 0; n < 2; n++) {
      assert.equal((await get(client)).error?.code, status.INTERNAL);
      assert.equal(await listed(client), status.INTERNAL);
    }
    const { error } = await get(client);
    assert.equal(error?.code, status.UNAVAILABLE);
    assert.match(error?.details ?? '', /SLV-4003/);
    assert.equal(seen(), 2);
  });

  test('it is ejected, and the other one goes on', async (t) => {
    let well = 0;
    const other = grpcApplication({
      get: echo,
      list: speaks((call) => {
        well += 1;
        call.end();
      }),
    });
    const resilience = { breaker: { enabled: false }, outlier: { consecutiveFailures: 2 } };
    const { client } = await scene(t, { resilience, list: fails, others: [other] });
    const codes: number[] = [];
    for (let n = 0; n < 8; n++) codes.push(await listed(client));
    assert.equal(codes.filter((code) => code === status.INTERNAL).length, 2);
    assert.equal(well, 6);
  });

  test('slow is a call that is slow to its first message, not one that goes on', async (t) => {
    // By a clock that is put forward behind the first message, and before it: how slow this machine is does not count.
    let end = (): void => {};
    const breaker = { volumeThreshold: 2, windowMs: 60_000, slowCalls: { durationMs: 5_000, rate: 0.5 } };
    const { mesh, client }: Scene = await scene(t, {
      resilience: { breaker },
      list: speaks((call) => {
        end = () => call.end();
      }),
      get(call, callback) {
        call.sendMetadata(new Metadata());
        mesh.pass(6_000);
        callback(null, call.request);
      },
    });
    const goesOn = (): void => {
      mesh.pass(6_000);
      end();
    };
    for (let n = 0; n < 2; n++) await listed(client, goesOn);
    const slow = () => mesh.breaker.snapshot().slow;
    assert.equal(slow(), 0);
    await get(client);
    assert.equal(slow(), 1);
    await get(client);
    assert.equal(mesh.breaker.state, 'open');
  });

  test('one that goes on for longer than a try may take was a success, and fails at its end all the same', async (t) => {
    let end = (): void => {};
    const { mesh, client } = await scene(t, {
      resilience: { perTryTimeoutMs: 1_000 },
      list: speaks((call) => {
        end = () => call.emit('error', internal);
      }),
    });
    const code = listed(client);
    const counted = () => mesh.breaker.snapshot();
    await waitFor('it to count', () => counted()?.calls === 1 && counted()?.underWay === 0);
    assert.equal(counted()?.failures, 0);
    end();
    assert.equal(await code, status.INTERNAL);
    assert.deepEqual([counted()?.calls, counted()?.failures], [2, 1]);
  });
});

/** Requests under way at the application. */
const seenBy = (mesh: Mesh): number => mesh.db.sidecar.live.size;

describe('time and retries', () => {
  test('the policy’s timeout is DEADLINE_EXCEEDED, and the caller’s own a bound', async (t) => {
    const { mesh, client } = await scene(t, { get: () => {}, resilience: { requestTimeoutMs: 200 } });
    const { error } = await get(client);
    assert.equal(error?.code, status.DEADLINE_EXCEEDED);
    assert.match(error?.details ?? '', /SLV-4004/);
    mesh.feedUpstream({ resilience: {} });
    const startedMs = performance.now();
    assert.equal((await get(client, 'hurry', 150)).error?.code, status.DEADLINE_EXCEEDED);
    assert.ok(performance.now() - startedMs < 10_000, 'the policy has 15 s');
    await waitFor('the call to be let go', () => mesh.settled);
  });

  test('a call that streams for longer than a try may take is in nobody’s way', async (t) => {
    const { mesh, client } = await scene(t, { resilience: { perTryTimeoutMs: 500, requestTimeoutMs: 14_000 } });
    const total = new Promise((resolve) => {
      const call = client.makeClientStreamRequest(orders.sum.path, same, same, (error, answer) =>
        resolve(error ?? String(answer)),
      );
      call.write(Buffer.alloc(1_000));
      const { breaker } = mesh;
      void waitFor('the breaker to let it go', () => seenBy(mesh) === 1 && breaker?.snapshot().underWay === 0).then(
        () => {
          call.write(Buffer.alloc(1_000));
          call.end();
        },
      );
    });
    assert.equal(await total, '2000');
    assert.equal(mesh.breaker.snapshot().failures, 0);
  });

  for (const [on, tries] of [
    [['unavailable'], 2],
    [['gateway-error', '5xx', 'reset'], 1],
  ] as const) {
    test(`UNAVAILABLE is tried again where the policy lists it: ${on}`, async (t) => {
      let answered = 0;
      const { client, seen } = await scene(t, {
        resilience: { retries: { on, backoffBaseMs: 1, backoffMaxMs: 1 } },
        get: (call, callback) => {
          answered += 1;
          if (answered === 1) callback({ code: status.UNAVAILABLE, details: 'not now' });
          else callback(null, call.request);
        },
      });
      const { error } = await get(client);
      assert.equal(error?.code, tries === 2 ? undefined : status.UNAVAILABLE);
      assert.equal(seen(), tries);
    });
  }
});

describe('a deadline is kept by the mesh', () => {
  const message = Buffer.from([0, 0, 0, 0, 1, 7]);
  const unavailable = { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '14' };

  /** A call of a client that does not look at the time itself, to an application that sees what is really sent. */
  async function call(
    t: TestContext,
    timeout: string,
    serve: (stream: ServerHttp2Stream, tries: number) => void,
    { resilience = {}, straight = false, slowlyTaken = 0, random = Math.random } = {},
  ): Promise<{ fields: IncomingHttpHeaders; timeouts: number[]; ends: number[] }> {
    const timeouts: number[] = [];
    const ends: number[] = [];
    const application = createServer().on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      timeouts.push(grpcTimeoutMs(String(headers['grpc-timeout'])) ?? Number.NaN);
      stream.on('error', () => {}); // a reset is what it waits for
      stream.on('close', () => ends.push(stream.rstCode));
      serve(stream, timeouts.length);
    });
    const taking = createTcpServer((socket) => setTimeout(() => application.emit('connection', socket), slowlyTaken));
    const mesh = await startMesh(t, { applications: [taking], protocol: 'grpc', resilience, random });
    const client = straight ? await plainSession(mesh) : session(mesh);
    const stream = client.request({
      ':method': 'POST',
      ':path': orders.get.path,
      ':authority': 'db',
      'content-type': 'application/grpc',
      te: 'trailers',
      'grpc-timeout': timeout,
    });
    const fields = await new Promise<IncomingHttpHeaders>((resolve, reject) => {
      let seen: IncomingHttpHeaders = {};
      const note = (more: IncomingHttpHeaders): void => {
        seen = { ...seen, ...more };
      };
      stream.on('response', note).on('trailers', note).on('error', reject);
      stream.on('end', () => resolve(seen)).resume();
      stream.end(message);
    });
    await waitFor('the application to hear of the end', () => ends.length === timeouts.length);
    return { fields, timeouts, ends };
  }

  const cancel = 8;
  for (const [what, serve] of [
    ['before an answer', () => {}],
    [
      'behind a message',
      (stream: ServerHttp2Stream) => {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
        stream.write(message);
      },
    ],
  ] as const) {
    for (const straight of [false, true])
      test(`over ${what}: DEADLINE_EXCEEDED to the caller, a reset to the application (${straight ? 'a plain peer' : 'through both proxies'})`, async (t) => {
        let told = await call(t, '1S', serve, { straight });
        // The second was over on the way.
        if (told.timeouts.length === 0) told = await call(t, '9S', serve, { straight });
        const { fields, timeouts, ends } = told;
        assert.equal(fields['grpc-status'], '4');
        assert.match(String(fields['grpc-message']), /^SLV-4004: /);
        assert.ok(timeouts.length === 1 && (timeouts[0] ?? 9_001) <= 9_000, `${timeouts}`);
        assert.deepEqual(ends, [cancel]);
      });
  }

  test('of a plain peer: the application is told what is left once it is connected', async (t) => {
    const serve = (stream: ServerHttp2Stream): void => stream.respond(unavailable, { endStream: true });
    const { timeouts } = await call(t, '5000000u', serve, { straight: true, slowlyTaken: 60 });
    const [left = 0] = timeouts;
    assert.ok(left > 0 && left <= 4_950, `${timeouts}`);
  });

  test('another try is told what is left', async (t) => {
    const serve = (stream: ServerHttp2Stream, tries: number): void => {
      if (tries < 3) setTimeout(() => stream.respond(unavailable, { endStream: true }), 50);
      else stream.respond({ ...unavailable, 'grpc-status': '0' }, { endStream: true });
    };
    const retries = { on: ['unavailable'], backoffBaseMs: 1, backoffMaxMs: 1 };
    const { fields, timeouts } = await call(t, '5S', serve, { resilience: { retries } });
    assert.equal(fields['grpc-status'], '0');
    // The first has waited for a connection, the others for two answers as well.
    const [first = 0, second = 0, third = 0] = timeouts;
    assert.equal(timeouts.length, 3);
    assert.ok(first <= 5_000 && second < first - 20 && third < second - 20 && third > 0, `${timeouts}`);
  });

  test('a try that would come too late is not made: the answer is the one there was', async (t) => {
    const retries = { on: ['unavailable'], backoffBaseMs: 80_000_000, backoffMaxMs: 80_000_000 };
    const serve = (stream: ServerHttp2Stream): void => stream.respond(unavailable, { endStream: true });
    const { fields, timeouts } = await call(t, '9S', serve, { resilience: { retries }, random: () => 0.5 });
    assert.equal(fields['grpc-status'], '14');
    assert.equal(timeouts.length, 1);
  });
});
