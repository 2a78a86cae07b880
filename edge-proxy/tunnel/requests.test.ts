import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { connectionPreface, errorCode } from './http2.ts';
import { record, type StreamRecord, settle, WireEnd } from './memory-wire.ts';
import type { TunnelLimits } from './tunnel.ts';
import type { HeaderFields, InboundTunnelStream, TunnelStream } from './tunnel-stream.ts';

/** Requests and their answers on a connection, beside which CONNECT streams may run (connection.test.ts). */

const head = (path: string): HeaderFields => [
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', path],
  [':authority', 'db'],
];

interface Asked {
  readonly near: TunnelStream;
  readonly nearTold: StreamRecord;
  readonly far: InboundTunnelStream;
  readonly farTold: StreamRecord;
  readonly answers: [status: number, headers: HeaderFields, ends: boolean][];
}

function scene(limits: Partial<TunnelLimits> = {}) {
  const clock = { nowMs: 0 };
  const client = new WireEnd('client', clock, { limits });
  const server = new WireEnd('server', clock, { limits, requests: true });
  settle(client, server);
  const ask = (whole: boolean): Asked => {
    const answers: Asked['answers'] = [];
    const near = client.connection.request(head('/x'), whole, (...answer) => answers.push(answer));
    const nearTold = record(near);
    settle(client, server);
    const far = server.lastOffered;
    return { near, nearTold, far, farTold: record(far), answers };
  };
  return { clock, client, server, ask, settle: () => settle(client, server) };
}

suite('requests', () => {
  test('head, body and trailers both ways, behind hints', () => {
    const { ask, server, settle } = scene();
    const { near, nearTold, far, farTold, answers } = ask(false);
    assert.deepEqual(server.offered[0]?.request, {
      method: 'POST',
      authority: 'db',
      path: '/x',
      protocol: undefined,
      whole: false,
      over: false,
      headers: [],
    });
    near.write('half');
    settle();
    assert.equal(farTold.received, 0, 'nothing is told before resume');
    far.resume();
    near.end([['x-sum', '1']]);
    settle();
    assert.equal(String(Buffer.concat(farTold.chunks)), 'half');
    assert.deepEqual(farTold.trailers, [[['x-sum', '1']]]);
    assert.equal(farTold.ended, 1);
    far.inform(103, [['link', 'a']]);
    far.write('waits for its head');
    far.answer(201, [['x', 'y']]);
    far.end([['x-status', '0']]);
    settle();
    assert.deepEqual(answers, [
      [103, [['link', 'a']], false],
      [201, [['x', 'y']], false],
    ]);
    assert.equal(String(Buffer.concat(nearTold.chunks)), 'waits for its head');
    assert.deepEqual(nearTold.trailers, [[['x-status', '0']]]);
    assert.equal(nearTold.ended, 1);
    assert.equal(server.connection.activeStreams, 0);
  });

  test('trailers wait for the body before them', () => {
    const { ask, settle } = scene({ initialStreamWindow: 65_535, maxStreamWindow: 65_535 });
    const { near, nearTold, far } = ask(true);
    near.pause();
    far.resume();
    far.answer(200, []);
    far.write(Buffer.alloc(200_000));
    far.end([['x-status', '0']]);
    settle();
    assert.deepEqual(nearTold.trailers, []);
    near.resume();
    settle();
    assert.equal(nearTold.received, 200_000);
    assert.deepEqual(nearTold.trailers, [[['x-status', '0']]]);
  });

  test('an answer before the request is whole: the rest is not wanted, and nobody is to blame', () => {
    const { ask, client, settle } = scene();
    const { near, nearTold, far, answers } = ask(false);
    far.resume();
    far.refuse(413, []);
    settle();
    assert.deepEqual(answers, [[413, [], true]]);
    assert.equal(nearTold.ended, 1);
    assert.deepEqual(nearTold.resets, []);
    near.write('late');
    settle();
    assert.equal(client.connection.activeStreams, 0);
  });

  test('broken off: what waits is dropped, the trailers are not', () => {
    const { ask, settle } = scene({ initialStreamWindow: 65_535, maxStreamWindow: 65_535 });
    const { near, nearTold, far } = ask(false);
    near.pause();
    far.resume();
    far.answer(200, []);
    far.write(Buffer.alloc(100_000));
    settle();
    far.breakOff([['grpc-status', '7']]);
    settle();
    near.resume();
    settle();
    assert.equal(nearTold.received, 65_535);
    assert.deepEqual(nearTold.trailers, [[['grpc-status', '7']]]);
  });

  for (const [what, fields] of [
    ['a pseudo-header field', [[':path', '/']]],
    ['a capital', [['X', 'y']]],
  ] as const) {
    test(`trailers with ${what}: a stream error`, () => {
      const { ask, settle } = scene();
      const { near, farTold, far } = ask(false);
      far.resume();
      near.end(fields);
      settle();
      assert.deepEqual(farTold.resets, [[errorCode.protocolError, false]]);
    });
  }
});

suite('slow and greedy peers', () => {
  test('an answer for which no window comes is ended after its time; its neighbour goes on', () => {
    const { clock, server, ask, settle } = scene({
      initialStreamWindow: 65_535,
      maxStreamWindow: 65_535,
      stallTimeoutMs: 30_000,
    });
    const stalled = ask(true);
    stalled.near.pause();
    const lively = ask(true);
    for (const { far } of [stalled, lively]) {
      far.resume();
      far.answer(200, []);
      far.write(Buffer.alloc(100_000));
    }
    settle();
    for (clock.nowMs = 1_000; clock.nowMs <= 32_000; clock.nowMs += 1_000) {
      lively.far.write(Buffer.alloc(1_000));
      server.connection.checkTimers();
      settle();
      if (clock.nowMs < 30_000) assert.deepEqual(stalled.farTold.resets, []);
    }
    assert.deepEqual(stalled.farTold.resets, [[errorCode.enhanceYourCalm, false]]);
    assert.deepEqual(stalled.nearTold.resets, [[errorCode.enhanceYourCalm, true]]);
    assert.deepEqual(lively.farTold.resets, []);
    assert.equal(lively.nearTold.received, 132_000);
  });

  test('a head whose frames do not come to an end, however lively the peer', () => {
    const clock = { nowMs: 0 };
    const server = new WireEnd('server', clock, { requests: true });
    const frame = (type: number, streamId: number, size: number) => {
      const bytes = Buffer.alloc(9 + size);
      bytes.writeUIntBE(size, 0, 3);
      bytes.writeUInt8(type, 3);
      bytes.writeUInt32BE(streamId, 5);
      return bytes;
    };
    const settingsAck = frame(4, 0, 0);
    settingsAck.writeUInt8(1, 4);
    server.connection.receive(Buffer.concat([connectionPreface, frame(4, 0, 0), settingsAck, frame(1, 1, 1)]));
    for (clock.nowMs = 0; clock.nowMs < 10_000; clock.nowMs += 1_000) {
      server.connection.receive(frame(9, 1, 1));
      server.connection.checkTimers();
      assert.equal(server.connection.state, 'open');
    }
    server.connection.checkTimers();
    assert.equal(server.connection.state, 'closed');
    assert.match(String(server.closedWith), /slow head/);
  });
});

suite('extended CONNECT', () => {
  const opening: HeaderFields = [
    [':method', 'CONNECT'],
    [':protocol', 'websocket'],
    [':scheme', 'http'],
    [':path', '/chat'],
    [':authority', 'db'],
  ];

  test('who takes requests says that it takes it; it is offered, and carries bytes once it is accepted', () => {
    const { client, server, settle } = scene();
    assert.deepEqual([client.connection.takesProtocols, server.connection.takesProtocols], [true, false]);
    const answers: number[] = [];
    const near = client.connection.request(opening, false, (status) => answers.push(status));
    const nearTold = record(near);
    near.write('early');
    settle();
    const [offer = assert.fail('not offered')] = server.offered;
    const { method, path, protocol, whole } = offer.request;
    assert.deepEqual([method, path, protocol, whole], ['CONNECT', '/chat', 'websocket', false]);
    const farTold = record(offer.stream);
    offer.stream.resume();
    assert.equal(farTold.received, 0, 'nothing is told before it is accepted');
    offer.stream.accept();
    offer.stream.write('back');
    near.end();
    settle();
    assert.equal(String(Buffer.concat(farTold.chunks)), 'early');
    assert.equal(farTold.ended, 1);
    assert.equal(String(Buffer.concat(nearTold.chunks)), 'back');
    assert.deepEqual(answers, [200]);
  });

  for (const [what, fields] of [
    ['another method', opening.map(([name, value]) => [name, name === ':method' ? 'GET' : value] as const)],
    ['no path', opening.filter(([name]) => name !== ':path')],
    ['no scheme', opening.filter(([name]) => name !== ':scheme')],
    ['no authority', opening.filter(([name]) => name !== ':authority')],
    ['two protocols', [[':protocol', 'websocket'], ...opening]],
    [
      'a protocol that is no token',
      opening.map(([name, value]) => [name, name === ':protocol' ? 'a b' : value] as const),
    ],
  ] as const) {
    test(`${what}: malformed`, () => {
      const { client, server, settle } = scene();
      const told = record(client.connection.request(fields, false, () => {}));
      settle();
      assert.deepEqual([told.resets[0], server.offered.length], [[errorCode.protocolError, true], 0]);
    });
  }

  test('where it is not said to be taken it is malformed', () => {
    const clock = { nowMs: 0 };
    const [client, server] = [new WireEnd('client', clock), new WireEnd('server', clock)];
    settle(client, server);
    assert.equal(client.connection.takesProtocols, false);
    const told = record(client.connection.request(opening, false, () => {}));
    settle(client, server);
    assert.deepEqual([told.resets[0], server.offered.length], [[errorCode.protocolError, true], 0]);
  });
});
