import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import {
  Client,
  credentials,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { intention, type Mesh, type MeshOptions, startMesh, webMayNot } from '#test/sidecars.ts';
import { waitFor } from '#test/wait-for.ts';

/** gRPC through both proxies, with @grpc/grpc-js as client and server. */

const same = (bytes: Buffer): Buffer => bytes;
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/shop.Orders/${name}`,
  requestStream,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
});
const orders = {
  get: method('Get', false, false),
  sum: method('Sum', true, false),
  list: method('List', false, true),
  chat: method('Chat', true, true),
};

/** What the application does with a unary call. */
type Unary = handleUnaryCall<Buffer, Buffer>;

const echo: Unary = (call, callback) => {
  const trailer = new Metadata();
  trailer.set('x-source', String(call.metadata.get('selvedge-source')[0]));
  callback(null, call.request, trailer);
};
const sum: handleClientStreamingCall<Buffer, Buffer> = (call, callback) => {
  let total = 0;
  call.on('data', (piece: Buffer) => {
    total += piece.length;
  });
  call.on('end', () => callback(null, Buffer.from(String(total))));
};
const list: handleServerStreamingCall<Buffer, Buffer> = (call) => {
  for (let n = 0; n < 100; n++) call.write(Buffer.alloc(5_000, n));
  call.end();
};
const chat: handleBidiStreamingCall<Buffer, Buffer> = (call) => {
  call.on('data', (piece: Buffer) => call.write(Buffer.from(`heard ${piece}`)));
  call.on('end', () => call.end());
};

/** A server of grpc-js on sockets of a plain one. */
function grpcApplication(get: Unary): { server: ReturnType<typeof createServer>; stop: () => void } {
  const server = new Server();
  server.addService(orders, { get, sum, list, chat });
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  return { server: createServer((socket) => injector.injectConnection(socket)), stop: () => server.forceShutdown() };
}

interface Scene {
  readonly mesh: Mesh;
  readonly client: Client;
  /** Unary calls that the application has seen. */
  seen(): number;
}

async function scene(t: TestContext, options: MeshOptions & { get?: Unary } = {}): Promise<Scene> {
  let seen = 0;
  const get = options.get ?? echo;
  const { server, stop } = grpcApplication((call, callback) => {
    seen += 1;
    get(call, callback);
  });
  const mesh = await startMesh(t, { applications: [server], protocol: 'grpc', ...options });
  const client = new Client(`127.0.0.1:${mesh.port}`, credentials.createInsecure());
  mesh.defer(() => {
    client.close();
    stop();
  });
  return { mesh, client, seen: () => seen };
}

interface Outcome {
  readonly answer: Buffer | undefined;
  readonly error: ServiceError | null;
  readonly trailers: Metadata | undefined;
}

function get(client: Client, message: Buffer | string = 'hello', deadlineMs = 10_000): Promise<Outcome> {
  return new Promise((resolve) => {
    let outcome: Omit<Outcome, 'trailers'> | undefined;
    let trailers: Metadata | undefined;
    const settle = () => {
      if (outcome !== undefined && trailers !== undefined) resolve({ ...outcome, trailers });
    };
    const call = client.makeUnaryRequest(
      orders.get.path,
      same,
      same,
      Buffer.from(message),
      { deadline: Date.now() + deadlineMs },
      (error, answer) => {
        outcome = { answer, error };
        settle();
      },
    );
    call.on('status', ({ metadata }) => {
      trailers = metadata;
      settle();
    });
  });
}

describe('the four kinds of call', () => {
  test('unary, client, server and both ways streaming, with trailers and who calls', async (t) => {
    const { client, mesh } = await scene(t);
    const unary = await get(client, Buffer.alloc(200_000, 'x'));
    assert.equal(unary.error, null);
    assert.equal(unary.answer?.length, 200_000);
    assert.deepEqual(unary.trailers?.get('x-source'), ['spiffe://mesh.test/ns/default/dc/dc1/svc/web']);

    const total = await new Promise<string>((resolve, reject) => {
      const call = client.makeClientStreamRequest(orders.sum.path, same, same, (error, answer) =>
        error === null ? resolve(String(answer)) : reject(error),
      );
      for (let n = 0; n < 50; n++) call.write(Buffer.alloc(10_000));
      call.end();
    });
    assert.equal(total, '500000');

    const received: number[] = [];
    await new Promise<void>((resolve, reject) => {
      const call = client.makeServerStreamRequest(orders.list.path, same, same, Buffer.from('all'));
      call.on('data', (piece: Buffer) => received.push(piece[0] ?? -1));
      call.on('error', reject);
      call.on('end', resolve);
    });
    assert.deepEqual(
      received,
      Array.from({ length: 100 }, (_, n) => n),
    );

    // In turns: each side waits for the other, so nothing may be held back.
    const call = client.makeBidiStreamRequest<Buffer, Buffer>(orders.chat.path, same, same);
    for (let n = 0; n < 5; n++) {
      const heard = new Promise((resolve) => call.once('data', (piece: Buffer) => resolve(String(piece))));
      call.write(Buffer.from(`word ${n}`));
      assert.equal(await heard, `heard word ${n}`);
    }
    const over = new Promise((resolve) => call.on('status', ({ code }) => resolve(code)));
    call.resume();
    call.end();
    assert.equal(await over, status.OK);
    assert.equal(mesh.upstream.endpoints[0]?.breaker.snapshot().failures, 0);
  });
});

describe('refusals are a status', () => {
  test('of an intention on a path: PERMISSION_DENIED with the decision, and no other call is touched', async (t) => {
    const permissions = [{ action: 'allow', http: { pathExact: orders.chat.path, methods: ['POST'] } }] as const;
    const { mesh, client, seen } = await scene(t, { intentions: [intention({ source: 'web', permissions })] });
    const { error, trailers } = await get(client);
    assert.equal(error?.code, status.PERMISSION_DENIED);
    assert.match(error?.details ?? '', /SLV-4001: .*the default is deny/);
    const id = String(trailers?.get('selvedge-decision')[0]);
    assert.equal(mesh.traffic.decisions.find(id)?.path, orders.get.path);
    assert.equal(seen(), 0);
    const call = client.makeBidiStreamRequest<Buffer, Buffer>(orders.chat.path, same, same);
    const heard = new Promise((resolve) => call.once('data', (piece: Buffer) => resolve(String(piece))));
    call.write(Buffer.from('I may'));
    assert.equal(await heard, 'heard I may');
    call.cancel();
    call.on('error', () => {});
    const { failures } = mesh.upstream.endpoints[0]?.breaker.snapshot() ?? {};
    assert.equal(failures, 0);
  });

  for (const [what, code, words, options] of [
    ['no instance', status.UNAVAILABLE, /SLV-4002/, { applications: [] }],
    ['no application', status.UNAVAILABLE, /SLV-4007/, { applications: [undefined] }],
    ['a full bulkhead', status.RESOURCE_EXHAUSTED, /SLV-4006/, { resilience: { maxConcurrent: 1 } }],
  ] as const) {
    test(`${what}: ${code}`, async (t) => {
      const { client } = await scene(t, { ...options, get: () => {} });
      const first = what === 'a full bulkhead' ? get(client, 'holds the place', 300) : undefined;
      const { error } = await get(client);
      assert.equal(error?.code, code);
      assert.match(error?.details ?? '', words);
      await first;
    });
  }

  test('an open breaker: UNAVAILABLE; it opens by the status of calls', async (t) => {
    const { client, seen } = await scene(t, {
      resilience: { breaker: { volumeThreshold: 5 }, outlier: { enabled: false } },
      get: (_, callback) => callback({ code: status.INTERNAL, details: 'broken' }),
    });
    for (let n = 0; n < 5; n++) assert.equal((await get(client)).error?.code, status.INTERNAL);
    const { error } = await get(client);
    assert.equal(error?.code, status.UNAVAILABLE);
    assert.match(error?.details ?? '', /SLV-4003/);
    assert.equal(seen(), 5);
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
    assert.ok(performance.now() - startedMs < 3_000);
    await waitFor('the call to be let go', () => mesh.settled, 3_000);
  });

  test('a call that streams for longer than a try may take is in nobody’s way', async (t) => {
    const { mesh, client } = await scene(t, { resilience: { perTryTimeoutMs: 100, requestTimeoutMs: 2_000 } });
    const total = new Promise((resolve) => {
      const call = client.makeClientStreamRequest(orders.sum.path, same, same, (error, answer) =>
        resolve(error ?? String(answer)),
      );
      call.write(Buffer.alloc(1_000));
      const { breaker } = mesh.upstream.endpoints[0] ?? {};
      void waitFor(
        'the breaker to let it go',
        () => seenBy(mesh) === 1 && breaker?.snapshot().underWay === 0,
        3_000,
      ).then(() => {
        call.write(Buffer.alloc(1_000));
        call.end();
      });
    });
    assert.equal(await total, '2000');
    assert.equal(mesh.upstream.endpoints[0]?.breaker.snapshot().failures, 0);
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

test('a call under way is cut within a second when its intention goes: PERMISSION_DENIED', async (t) => {
  const { mesh, client } = await scene(t);
  const call = client.makeBidiStreamRequest<Buffer, Buffer>(orders.chat.path, same, same);
  const heard = new Promise((resolve) => call.once('data', resolve));
  call.write(Buffer.from('still allowed'));
  await heard;
  const ended = new Promise<ServiceError>((resolve) => call.on('error', resolve));
  const startedMs = performance.now();
  mesh.feedIntentions(webMayNot);
  const error = await ended;
  assert.equal(error.code, status.PERMISSION_DENIED);
  assert.match(error.details, /cut: .*web -> db says deny/);
  assert.ok(performance.now() - startedMs < 1_000);
  assert.equal(mesh.traffic.edge('inbound', 'web', 'db').cut.value, 1);
});
