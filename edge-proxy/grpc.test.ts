import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { describe, test } from 'node:test';
import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js';
import type { ErrorCode } from '#policies/errors/catalogue.ts';
import { get, orders, type Scene, same, scene } from '#test/grpc-scene.ts';
import { intention, webMayCall, webMayNot } from '#test/sidecars.ts';
import { waitFor } from '#test/wait-for.ts';

/** gRPC through both proxies: the kinds of call, and how the mesh says no. */

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
    assert.equal(mesh.breaker.snapshot().failures, 0);
    // Where the service takes it; else it is refused: see below.
    mesh.feedNormalization({ underscores: 'ALLOW' });
    const odd = await get(client, 'hello', 5_000, orders.get.path, { x_tenant: '7' });
    assert.equal(odd.error, null);
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
    const { failures } = mesh.breaker.snapshot() ?? {};
    assert.equal(failures, 0);
  });

  let letGo = (): void => {};
  /** Makes a call and waits until the application, which does not answer it, has it. */
  const hold = async ({ client, seen }: Scene): Promise<void> => {
    const before = seen();
    const call = client.makeUnaryRequest(orders.get.path, same, same, Buffer.from('holds the place'), () => {});
    letGo = () => call.cancel();
    await waitFor('the call', () => seen() > before);
  };

  /** With gRPC's own mapping of the HTTP status that it would be, as Envoy's local replies, but for the time and the limit, of which more can be said. */
  const refusals: readonly {
    readonly what: string;
    readonly is: number;
    readonly says: ErrorCode;
    readonly when: (scene: Scene) => unknown;
    readonly path?: string;
    readonly metadata?: Readonly<Record<string, string>>;
  }[] = [
    { what: 'an intention', is: 7, says: 'SLV-4001', when: ({ mesh }) => mesh.feedIntentions(webMayNot) },
    { what: 'no instance', is: 14, says: 'SLV-4002', when: ({ mesh }) => mesh.feedUpstream({ endpoints: [] }) },
    {
      what: 'an open breaker',
      is: 14,
      says: 'SLV-4003',
      when: ({ mesh }) => mesh.breaker.force('open'),
    },
    {
      what: 'the policy’s time',
      is: 4,
      says: 'SLV-4004',
      when: ({ mesh }) => mesh.feedUpstream({ resilience: { requestTimeoutMs: 100 } }),
    },
    { what: 'a connection that breaks', is: 14, says: 'SLV-4005', when: () => {}, metadata: { 'x-do': 'break' } },
    {
      what: 'a full bulkhead',
      is: 14,
      says: 'SLV-4006',
      when(opened) {
        opened.mesh.feedUpstream({ resilience: { maxConcurrent: 1 } });
        return hold(opened);
      },
    },
    { what: 'a path without a canonical form', is: 13, says: 'SLV-4011', when: () => {}, path: '/shop.Orders/%zz' },
    {
      what: 'another protocol at the service',
      is: 13,
      says: 'SLV-4014',
      when: ({ mesh }) => mesh.feedIntentions(webMayCall, 'tcp'),
    },
    {
      what: 'a request limit',
      is: 8,
      says: 'SLV-4015',
      when(opened) {
        const { mesh } = opened;
        const requestLimit = { perSecond: 0.1, burst: 1 };
        mesh.feed(mesh.db.sidecar, [{ kind: 'limits', name: 'db', requestLimit }]);
        return hold(opened);
      },
    },
    {
      what: 'a path that others are redirected from',
      is: 13,
      says: 'SLV-4011',
      when: ({ mesh }) => mesh.feedNormalization({ escapedSlashes: 'UNESCAPE_AND_REDIRECT' }),
      path: '/shop.Orders%2FGet',
    },
    { what: 'an underscore in a name', is: 13, says: 'SLV-4201', when: () => {}, metadata: { x_role: 'admin' } },
    {
      what: 'a head that is too large',
      is: 2,
      says: 'SLV-4206',
      when: () => {},
      metadata: Object.fromEntries(Array.from({ length: 101 }, (_, n) => [`x-${n}`, 'y'])),
    },
  ];
  test('whatever refuses: a status, its code in the message, and a decision that can be looked up', async (t) => {
    // It answers nobody, and breaks the connection of who asks for it.
    const opened = await scene(t, {
      get: (call) => {
        if (call.metadata.get('x-do')[0] === 'break') breakConnections();
      },
    });
    const { mesh, client } = opened;
    const sockets = new Set<Socket>();
    opened.server.on('connection', (socket: Socket) => sockets.add(socket));
    const breakConnections = (): void => {
      for (const socket of sockets) socket.destroy();
    };
    for (const { what, is, says, when, path, metadata = {} } of refusals) {
      letGo();
      mesh.feedIntentions(webMayCall);
      mesh.feedUpstream();
      mesh.breaker.reset();
      mesh.feed(mesh.db.sidecar, [{ kind: 'limits', name: 'db' }]);
      await waitFor('what was before to be over', () => mesh.settled);
      await when(opened);
      const { error, trailers } = await get(client, 'hello', 5_000, path, metadata);
      assert.equal(error?.code, is, `${what}: ${error?.message}`);
      assert.match(error.details, new RegExp(`^${says}: `), what);
      const id = String(trailers?.get('selvedge-decision')[0]);
      assert.equal(mesh.traffic.decisions.find(id)?.code, says, what);
    }
  });

  test('no application: UNAVAILABLE', async (t) => {
    const { client } = await scene(t, { applications: [undefined] });
    const { error } = await get(client);
    assert.equal(error?.code, status.UNAVAILABLE);
    assert.match(error?.details ?? '', /SLV-4007/);
  });
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

test('by :authority at the port for all services, without a port of its own', async (t) => {
  const { mesh } = await scene(t, { httpProxy: true });
  const at = (authority: string): Client => {
    const place = `127.0.0.1:${mesh.web.httpProxyPort}`;
    const client = new Client(place, credentials.createInsecure(), { 'grpc.default_authority': authority });
    mesh.defer(() => client.close());
    return client;
  };
  const { error, answer, trailers } = await get(at('db.mesh'));
  assert.equal(error, null);
  assert.equal(String(answer), 'hello');
  assert.match(String(trailers?.get('x-source')[0]), /svc\/web$/);
  assert.match((await get(at('example.com'))).error?.details ?? '', /^SLV-4012: /);
});
