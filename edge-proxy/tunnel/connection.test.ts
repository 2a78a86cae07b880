import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { connectionPreface, errorCode } from './http2.ts';
import { encodeFields, rawFrame, record, settle, WireEnd } from './memory-wire.ts';
import type { TunnelLimits } from './tunnel.ts';
import type { InboundTunnelStream, TunnelStream } from './tunnel-stream.ts';

/** Both ends of a tunnel over a wire in memory. In one file: the scenes are told by the same two ends, and one alone is a dozen lines. */

interface Pair {
  readonly clock: { nowMs: number };
  readonly client: WireEnd;
  readonly server: WireEnd;
  /** Opens a stream and accepts it. */
  connect(): { near: TunnelStream; far: InboundTunnelStream };
}

function pair(options: { client?: Partial<TunnelLimits>; server?: Partial<TunnelLimits> } = {}): Pair {
  const clock = { nowMs: 0 };
  const client = new WireEnd('client', clock, { limits: options.client ?? {} });
  const server = new WireEnd('server', clock, { limits: options.server ?? {} });
  settle(client, server);
  return {
    clock,
    client,
    server,
    connect() {
      const near = client.connection.open('db.dc1.example.org:80', [], () => {});
      settle(client, server);
      const far = server.lastOffered;
      far.accept();
      settle(client, server);
      return { near, far };
    },
  };
}

/** A server end that has been greeted by hand, to send it what no client of ours would. */
function bareServer(limits: Partial<TunnelLimits> = {}): {
  server: WireEnd;
  clock: { nowMs: number };
  send(...frames: Buffer[]): Frame[];
} {
  const clock = { nowMs: 0 };
  const server = new WireEnd('server', clock, { limits });
  server.connection.receive(Buffer.concat([connectionPreface, rawFrame(4, 0, 0)]));
  server.take();
  return {
    server,
    clock,
    send(...frames) {
      server.connection.receive(Buffer.concat(frames));
      return framesOf(server.take());
    },
  };
}

type Frame = [type: number, flags: number, streamId: number, payload: string];

function framesOf(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUIntBE(at, 3);
    const [type, flags] = [bytes.readUInt8(at + 3), bytes.readUInt8(at + 4)];
    frames.push([type, flags, bytes.readUInt32BE(at + 5), bytes.toString('hex', at + 9, at + 9 + length)]);
    at += 9 + length;
  }
  return frames;
}

const connectHead = encodeFields([
  [':method', 'CONNECT'],
  [':authority', 'db:80'],
]);
const connectFrame = (streamId: number, flags = 4): Buffer => rawFrame(1, flags, streamId, connectHead);
const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

/** HTTP/2 code of the GOAWAY that ends what was sent. */
function goAwayCode(frames: Frame[]): number | undefined {
  const last = frames.at(-1);
  return last?.[0] === 7 ? Number.parseInt(last[3].slice(8, 16), 16) : undefined;
}

function closedWithCode(end: WireEnd): string | undefined {
  return end.closedWith instanceof MeshError ? end.closedWith.code : undefined;
}

suite('streams', () => {
  test('a request is offered, accepted, carries bytes both ways, and closes by halves', () => {
    const { client, server } = pair();
    const answers: unknown[] = [];
    const near = client.connection.open('db.dc1.example.org:80', [['selvedge-trace', 'a1']], (status, headers) =>
      answers.push([status, headers]),
    );
    const nearTold = record(near);
    near.write('before the answer ');
    settle(client, server);
    const offer = server.offered[0];
    assert.deepEqual(offer?.request, {
      method: 'CONNECT',
      authority: near.authority,
      path: '',
      protocol: undefined,
      whole: false,
      over: false,
      headers: [['selvedge-trace', 'a1']],
    });
    const far = server.lastOffered;
    const farTold = record(far);
    assert.equal(farTold.received, 0);
    far.accept([['selvedge-decision', 'd1']]);
    assert.equal(Buffer.concat(farTold.chunks).toString(), 'before the answer ');
    far.write(Buffer.from('hello'));
    settle(client, server);
    assert.deepEqual(answers, [[200, [['selvedge-decision', 'd1']]]]);
    near.end();
    settle(client, server);
    assert.equal(farTold.ended, 1);
    assert.equal(client.connection.activeStreams, 1);
    far.write(' and goodbye');
    far.end();
    settle(client, server);
    assert.equal(Buffer.concat(nearTold.chunks).toString(), 'hello and goodbye');
    assert.deepEqual([nearTold.ended, nearTold.resets], [1, []]);
    assert.deepEqual([client.connection.activeStreams, server.connection.activeStreams], [0, 0]);
  });

  test('a refusal ends the stream on both sides, without a reset that would count', () => {
    const { client, server } = pair();
    const answers: unknown[] = [];
    const near = client.connection.open('db:80', [], (status, headers) => answers.push([status, headers]));
    const told = record(near);
    near.write('not for you');
    settle(client, server);
    server.lastOffered.refuse(403, [['selvedge-decision', 'd2']]);
    settle(client, server);
    assert.deepEqual(answers, [[403, [['selvedge-decision', 'd2']]]]);
    assert.deepEqual([told.ended, told.resets, told.received], [0, [], 0]);
    assert.deepEqual([client.connection.activeStreams, server.connection.activeStreams], [0, 0]);
    near.write('dropped');
    near.end();
    near.reset('cancel');
    settle(client, server);
    assert.equal(client.connection.state, 'open');
  });

  test('a reset reaches the other side with its code, and late frames are ignored', () => {
    const { client, server, connect } = pair();
    const { near, far } = connect();
    const told = record(far);
    far.write('crossing');
    near.reset('cancel');
    settle(client, server);
    assert.deepEqual(told.resets, [[errorCode.cancel, true]]);
    const again = connect();
    const nearTold = record(again.near);
    again.far.reset('refused');
    settle(client, server);
    assert.deepEqual(nearTold.resets, [[errorCode.refusedStream, true]]);
    assert.equal(client.connection.state, 'open');
  });

  test('what is written before the answer is given follows it', () => {
    const { client, server } = pair();
    const told = record(client.connection.open('db:80', [], () => {}));
    settle(client, server);
    const far = server.lastOffered;
    far.write('early');
    far.end();
    settle(client, server);
    assert.deepEqual([told.received, told.ended], [0, 0]);
    far.accept();
    settle(client, server);
    assert.deepEqual([told.received, told.ended], [5, 1]);
  });

  test('answers: interim ones are skipped, malformed ones and data without one are stream errors', () => {
    const { client } = pair();
    const answer = (streamId: number, flags: number, ...fields: Array<[string, string]>): void =>
      client.connection.receive(rawFrame(1, flags, streamId, encodeFields(fields)));
    const statuses: number[] = [];
    const told = Array.from({ length: 5 }, () =>
      record(client.connection.open('db:80', [], (status) => statuses.push(status))),
    );
    client.take();
    client.connection.receive(rawFrame(1, 4, 1, Buffer.concat([Buffer.of(0x20), encodeFields([[':status', '103']])])));
    answer(1, 4, [':status', '200']);
    answer(3, 4, [':status', '2xx']);
    answer(5, 5, [':status', '100']);
    answer(7, 4, ['x', 'y']);
    client.connection.receive(rawFrame(0, 0, 9, '61'));
    assert.deepEqual(statuses, [200]);
    const broken = [[errorCode.protocolError, false]];
    assert.deepEqual(
      told.map((each) => each.resets),
      [[], broken, broken, broken, broken],
    );
    // Late answers for them are decoded and ignored.
    answer(3, 5, [':status', '200']);
    assert.deepEqual([client.connection.state, client.connection.activeStreams], ['open', 1]);
  });

  test('more streams than the peer takes are not opened, and refused when opened all the same', () => {
    const { client, server } = pair({ server: { maxConcurrentStreams: 2 } });
    assert.equal(client.connection.available, 2);
    client.connection.open('db:80', [], () => {});
    client.connection.open('db:80', [], () => {});
    assert.equal(client.connection.available, 0);
    assert.throws(() => client.connection.open('db:80', [], () => {}), { code: 'SLV-4104' });
    settle(client, server);
    const bare = bareServer({ maxConcurrentStreams: 1 });
    const sent = bare.send(connectFrame(1), connectFrame(3));
    assert.deepEqual(sent.at(-1), [3, 0, 3, '00000007']);
  });

  test('only CONNECT is served', () => {
    const { server, send } = bareServer();
    const get = encodeFields([
      [':method', 'GET'],
      [':scheme', 'https'],
      [':path', '/'],
    ]);
    const answer = send(rawFrame(1, 5, 1, get));
    assert.deepEqual(
      answer.map(([type, flags, id]) => [type, flags, id]),
      [[1, 5, 1]],
    );
    const unfinished = send(rawFrame(1, 4, 3, get), rawFrame(0, 0, 3, '6162'));
    assert.deepEqual(
      unfinished.map(([type, , id]) => [type, id]),
      [
        [1, 3],
        [3, 3],
      ],
    );
    assert.equal(server.offered.length, 0);
  });
});

suite('flow control', () => {
  test('a stalled stream holds no more than its window and does not stall its neighbour', () => {
    const { client, server, connect } = pair();
    const stalled = connect();
    const flowing = connect();
    const stalledTold = record(stalled.far);
    const flowingTold = record(flowing.far);
    stalled.far.pause();
    const block = Buffer.alloc(64 * 1_024);
    for (let round = 0; round < 100; round++) {
      stalled.near.write(block);
      flowing.near.write(block);
      settle(client, server);
    }
    assert.equal(flowingTold.received, 100 * block.length);
    assert.equal(stalledTold.received, 0);
    stalled.far.resume();
    settle(client, server);
    assert.equal(stalledTold.received, 100 * block.length);
  });

  test('write answers false above the high-water mark, and onDrain follows', () => {
    const { client, server, connect } = pair();
    const { near, far } = connect();
    const told = record(near);
    record(far);
    far.pause();
    assert.equal(near.write(Buffer.alloc(256 * 1_024)), true);
    assert.equal(near.write(Buffer.alloc(60 * 1_024)), true);
    assert.equal(near.write(Buffer.alloc(8 * 1_024)), false);
    settle(client, server);
    assert.equal(told.drains, 0);
    far.resume();
    settle(client, server);
    assert.equal(told.drains, 1);
  });

  test('of passing bytes what can go at once goes, and what has to wait is copied, in order', () => {
    const { client, server, connect } = pair({ server: { initialStreamWindow: 100_000 } });
    const { near, far } = connect();
    const told = record(far);
    far.pause();
    const passing = Buffer.alloc(65_536);
    const answers = [...'abcd'].map((letter) => near.writePassing(passing.fill(letter)));
    passing.fill('x');
    assert.deepEqual(answers, [true, true, false, false]);
    settle(client, server);
    assert.equal(told.received, 0);
    far.resume();
    settle(client, server);
    const expected = [...'abcd'].map((letter) => letter.repeat(65_536)).join('');
    assert.ok(Buffer.concat(told.chunks).toString() === expected);
    near.end();
    assert.equal(near.writePassing(passing), true);
    settle(client, server);
    assert.equal(told.received, expected.length, 'nothing follows the end');
  });

  test('small frames for a paused stream do not keep their chunks alive', () => {
    const { server, send } = bareServer();
    send(connectFrame(1), connectFrame(3));
    const [held, other] = server.offered.map(({ stream }) => stream);
    assert.ok(held !== undefined && other !== undefined);
    const told = record(held);
    other.accept();
    for (let at = 0; at < 50; at++) send(rawFrame(0, 0, 1, '61'), rawFrame(0, 0, 3, Buffer.alloc(16_000)));
    held.accept();
    assert.equal(Buffer.concat(told.chunks).toString(), 'a'.repeat(50));
    assert.equal(told.chunks.length, 1);
  });

  test('streams take turns when the connection window is short', () => {
    const { client, server, connect } = pair({ server: { connectionWindow: 65_535, initialStreamWindow: 1_000_000 } });
    const pairs = [connect(), connect(), connect(), connect()];
    const told = pairs.map(({ far }) => record(far));
    for (const { near } of pairs) near.write(Buffer.alloc(500_000));
    for (let turn = 0; turn < 6; turn++) {
      server.connection.receive(client.take());
      client.connection.receive(server.take());
    }
    const received = told.map((each) => each.received);
    assert.ok(Math.max(...received.slice(1)) - Math.min(...received.slice(1)) <= 2 * 16_384, received.join());
    settle(client, server);
    assert.deepEqual(
      told.map((each) => each.received),
      [500_000, 500_000, 500_000, 500_000],
    );
  });

  test('a full output holds bulk back in its stream, not control frames', () => {
    const { client, connect } = pair();
    const { near } = connect();
    client.takesMore = false;
    near.write(Buffer.alloc(100));
    client.take();
    assert.equal(near.write(Buffer.alloc(70 * 1_024)), false);
    assert.equal(client.take().length, 0);
    client.takesMore = true;
    client.connection.drained();
    assert.equal(client.take().length, 70 * 1_024 + 5 * 9);
  });

  test('the window of a fast stream grows with the round trip, to its maximum and within the budget', () => {
    const transfer = (limits: Partial<TunnelLimits>, roundTripMs: number): number => {
      const clock = { nowMs: 0 };
      const client = new WireEnd('client', clock);
      const server = new WireEnd('server', clock, { limits });
      // The round trip is first measured from SETTINGS to their acknowledgement.
      server.connection.receive(client.take());
      client.connection.receive(server.take());
      clock.nowMs += roundTripMs;
      const near = client.connection.open('db:80', [], () => {});
      settle(client, server);
      assert.equal(server.connection.roundTripMs, roundTripMs);
      const far = server.lastOffered;
      far.accept();
      settle(client, server);
      const told = record(far);
      near.write(Buffer.alloc(32 * 1_024 * 1_024));
      let largest = 0;
      while (told.received < 32 * 1_024 * 1_024) {
        const before = told.received;
        server.connection.receive(client.take());
        clock.nowMs += 50;
        client.connection.receive(server.take());
        largest = Math.max(largest, told.received - before);
      }
      return largest;
    };
    const mebibyte = 1_024 * 1_024;
    assert.equal(transfer({}, 50), 4 * mebibyte);
    assert.equal(transfer({ maxStreamWindow: mebibyte }, 50), mebibyte);
    assert.equal(transfer({ windowGrowthBudget: 256 * 1_024 }, 50), 512 * 1_024);
    // The first window is taken at once; from then on it is not the round trip that makes the sender wait.
    assert.equal(transfer({}, 1), 512 * 1_024);
  });

  test('a smaller SETTINGS_INITIAL_WINDOW_SIZE makes windows negative, and later credit counts from there', () => {
    const { server, send } = bareServer();
    send(connectFrame(1));
    const stream = server.lastOffered;
    stream.accept();
    stream.write(Buffer.alloc(60_000));
    server.take();
    send(rawFrame(4, 0, 0, '000400000000'));
    stream.write('x');
    assert.deepEqual(send(rawFrame(8, 0, 1, uint32(60_000))), []);
    assert.deepEqual(send(rawFrame(8, 0, 1, uint32(1))), [[0, 0, 1, '78']]);
  });
});

suite('errors of the peer', () => {
  const badHead = (fields: Array<[string, string]>): Buffer => rawFrame(1, 4, 1, encodeFields(fields));
  const streamErrors: Array<[title: string, code: number, ...frames: Buffer[]]> = [
    [
      'CONNECT with :path',
      1,
      badHead([
        [':method', 'CONNECT'],
        [':authority', 'db:80'],
        [':path', '/'],
      ]),
    ],
    ['CONNECT without :authority', 1, badHead([[':method', 'CONNECT']])],
    ['no method', 1, badHead([[':authority', 'db:80']])],
    [
      'two methods',
      1,
      badHead([
        [':method', 'CONNECT'],
        [':method', 'CONNECT'],
        [':authority', 'db:80'],
      ]),
    ],
    [
      'unknown pseudo-header field',
      1,
      badHead([
        [':method', 'CONNECT'],
        [':authority', 'db:80'],
        [':x', 'y'],
      ]),
    ],
    [
      'pseudo-header field after a regular one',
      1,
      badHead([
        [':method', 'CONNECT'],
        ['x', 'y'],
        [':authority', 'db:80'],
      ]),
    ],
    [
      'capital in a name',
      1,
      badHead([
        [':method', 'CONNECT'],
        [':authority', 'db:80'],
        ['X-a', 'y'],
      ]),
    ],
    [
      'empty name',
      1,
      badHead([
        [':method', 'CONNECT'],
        [':authority', 'db:80'],
        ['', 'y'],
      ]),
    ],
    [
      'line feed in a value',
      1,
      badHead([
        [':method', 'CONNECT'],
        [':authority', 'db:80'],
        ['x', 'a\nb'],
      ]),
    ],
    [
      'blank at the end of a value',
      1,
      badHead([
        [':method', 'CONNECT'],
        [':authority', 'db:80'],
        ['x', 'a '],
      ]),
    ],
    [
      'connection-specific field',
      1,
      badHead([
        [':method', 'CONNECT'],
        [':authority', 'db:80'],
        ['connection', 'close'],
      ]),
    ],
    [
      'te other than trailers',
      1,
      badHead([
        [':method', 'CONNECT'],
        [':authority', 'db:80'],
        ['te', 'gzip'],
      ]),
    ],
    [
      'blank in :authority',
      1,
      badHead([
        [':method', 'CONNECT'],
        [':authority', 'db 80'],
      ]),
    ],
    [
      ':authority over its limit',
      1,
      badHead([
        [':method', 'CONNECT'],
        [':authority', 'd'.repeat(600)],
      ]),
    ],
    ['a stream that depends on itself', 1, rawFrame(1, 0x24, 1, Buffer.concat([uint32(1), Buffer.of(9), connectHead]))],
    ['DATA after END_STREAM', 5, connectFrame(1, 5), rawFrame(0, 0, 1, '61')],
    ['HEADERS on a tunnel', 1, connectFrame(1), connectFrame(1)],
    ['WINDOW_UPDATE by 0', 1, connectFrame(1), rawFrame(8, 0, 1, uint32(0))],
    ['WINDOW_UPDATE past 2^31-1', 3, connectFrame(1), rawFrame(8, 0, 1, uint32(0x7fffffff))],
    [
      'more DATA than the stream window',
      3,
      connectFrame(1),
      ...Array.from({ length: 17 }, () => rawFrame(0, 0, 1, Buffer.alloc(16_384))),
    ],
  ];
  for (const [title, code, ...frames] of streamErrors) {
    test(`stream error ${code}: ${title}`, () => {
      const { server, send } = bareServer();
      assert.deepEqual(
        send(...frames).filter(([type]) => type === 3),
        [[3, 0, 1, uint32(code).toString('hex')]],
      );
      assert.equal(server.connection.state, 'open');
      assert.equal(server.connection.activeStreams, 0);
      assert.deepEqual(send(rawFrame(6, 0, 0, '0102030405060708')), [[6, 1, 0, '0102030405060708']]);
    });
  }

  const connectionErrors: Array<[title: string, code: number, ...frames: Buffer[]]> = [
    ['a stream of ours', 1, connectFrame(2)],
    ['a stream number that goes back', 5, connectFrame(5, 5), rawFrame(3, 0, 5, uint32(0)), connectFrame(3)],
    ['DATA on an idle stream', 1, rawFrame(0, 0, 1, '61')],
    ['RST_STREAM on an idle stream', 1, rawFrame(3, 0, 1, uint32(0))],
    ['WINDOW_UPDATE on an idle stream', 1, rawFrame(8, 0, 1, uint32(1))],
    ['WINDOW_UPDATE by 0 on the connection', 1, rawFrame(8, 0, 0, uint32(0))],
    ['connection window past 2^31-1', 3, rawFrame(8, 0, 0, uint32(0x7fffffff))],
    [
      'SETTINGS that overflow a window',
      3,
      connectFrame(1),
      rawFrame(8, 0, 1, uint32(0x7fff0000)),
      rawFrame(4, 0, 0, '00047fffffff'),
    ],
    ['initial window over 2^31-1', 3, rawFrame(4, 0, 0, '000480000000')],
    ['MAX_FRAME_SIZE too small', 1, rawFrame(4, 0, 0, '000500003fff')],
    ['ENABLE_PUSH 2', 1, rawFrame(4, 0, 0, '000200000002')],
    ['broken HPACK', 9, rawFrame(1, 4, 1, '80')],
    [
      'GOAWAY that takes back another',
      1,
      connectFrame(1),
      rawFrame(7, 0, 0, '0000000000000000'),
      rawFrame(7, 0, 0, '0000000500000000'),
    ],
    ['flood of SETTINGS', 11, ...Array.from({ length: 80 }, () => rawFrame(4, 0, 0))],
    ['flood of PING', 11, ...Array.from({ length: 11_000 }, () => rawFrame(6, 0, 0, '0000000000000000'))],
    ['flood of empty DATA', 11, connectFrame(1), ...Array.from({ length: 1_100 }, () => rawFrame(0, 0, 1))],
    ['flood of unknown frames', 11, ...Array.from({ length: 1_100 }, () => rawFrame(0x33, 0, 0))],
    [
      'flood of requests that make us reset',
      11,
      ...Array.from({ length: 1_100 }, (_, at) => rawFrame(1, 4, 2 * at + 1, encodeFields([[':method', 'x']]))),
    ],
    [
      'flood of resets',
      11,
      ...Array.from({ length: 20_100 }, (_, at) => [
        connectFrame(2 * at + 1),
        rawFrame(3, 0, 2 * at + 1, uint32(8)),
      ]).flat(),
    ],
  ];
  for (const [title, code, ...frames] of connectionErrors) {
    test(`connection error ${code}: ${title}`, () => {
      const { server, send } = bareServer();
      assert.equal(goAwayCode(send(...frames)), code);
      assert.equal(server.connection.state, 'closed');
      assert.equal(closedWithCode(server), code === 11 ? 'SLV-4106' : 'SLV-4101');
      assert.ok(server.closedWith instanceof MeshError);
      assert.equal(
        server.closedWith.detail['ofCallers'],
        title === 'flood of resets',
        'a peer may not be able to help it',
      );
      assert.deepEqual(send(rawFrame(6, 0, 0, '0000000000000000')), []);
    });
  }

  test('the first frame must be SETTINGS', () => {
    const server = new WireEnd('server', { nowMs: 0 });
    server.connection.receive(Buffer.concat([connectionPreface, rawFrame(6, 0, 0, '0000000000000000')]));
    assert.equal(goAwayCode(framesOf(server.take())), 1);
  });

  test('a client cancels no more than a tunnel takes: beyond that it says so later, and the streams count as open', () => {
    const { clock, client, server, connect } = pair();
    let cancelled = 0;
    for (; client.connection.available > 0; cancelled++) {
      client.connection.open('db:80', [], () => {}).reset('cancel');
      if (cancelled % 100 === 0) settle(client, server);
    }
    settle(client, server);
    assert.equal(cancelled, 17_000, 'as many at once as are allowed, and as many as a tunnel has streams');
    assert.equal(server.connection.activeStreams, 1_000);
    assert.equal(server.connection.state, 'open');
    clock.nowMs += 1_000;
    client.connection.checkTimers();
    settle(client, server);
    assert.equal(server.connection.activeStreams, 0);
    assert.equal(client.connection.available, 1_000);
    const { near, far } = connect();
    const told = record(far);
    near.write('still here');
    settle(client, server);
    assert.equal(told.received, 10);
  });

  test('ten thousand cancels of honest clients do not end a tunnel', () => {
    const { client, server, connect } = pair();
    for (let at = 0; at < 10_000; at++) {
      client.connection.open('db:80', [], () => {}).reset('cancel');
      if (at % 100 === 0) settle(client, server);
    }
    settle(client, server);
    const { near, far } = connect();
    const told = record(far);
    near.write('still here');
    settle(client, server);
    assert.equal(told.received, 10);
  });
});

suite('life and end', () => {
  test('a drain lets running streams finish, loses none on the way, and takes no new ones', () => {
    const { client, server, connect } = pair();
    const { near, far } = connect();
    const told = record(near);
    server.connection.goAway();
    // Opened before the GOAWAY arrives: still served.
    const crossing = record(client.connection.open('db:80', [], () => {}));
    settle(client, server);
    assert.equal(server.offered.length, 2);
    assert.deepEqual([client.goAways, client.connection.available, client.connection.state], [1, 0, 'draining']);
    assert.throws(() => client.connection.open('db:80', [], () => {}), { code: 'SLV-4104' });
    far.write('to the end');
    far.end();
    near.end();
    server.lastOffered.refuse(503);
    settle(client, server);
    assert.equal(told.received, 10);
    assert.deepEqual(crossing.resets, []);
    assert.deepEqual([client.closedWith, server.closedWith], [undefined, undefined]);
  });

  test('streams above the last of a GOAWAY were not looked at: safe to retry', () => {
    const { client, server } = pair();
    const first = record(client.connection.open('db:80', [], () => {}));
    const second = record(client.connection.open('db:80', [], () => {}));
    settle(client, server);
    client.connection.receive(rawFrame(7, 0, 0, '0000000100000000'));
    assert.deepEqual([first.resets, second.resets], [[], [[errorCode.refusedStream, true]]]);
  });

  test('an originator drains by itself, too', () => {
    const { client, server, connect } = pair();
    const { near, far } = connect();
    client.connection.goAway();
    settle(client, server);
    assert.equal(server.goAways, 1);
    near.end();
    far.end();
    settle(client, server);
    assert.deepEqual([client.closedWith, server.closedWith], [undefined, undefined]);
  });

  test('close resets what runs', () => {
    const { client, server, connect } = pair();
    const { near, far } = connect();
    const [nearTold, farTold] = [record(near), record(far)];
    server.connection.close();
    assert.deepEqual(farTold.resets, [[errorCode.cancel, false]]);
    settle(client, server);
    client.connection.lost();
    assert.equal(nearTold.resets.length, 1);
    assert.equal(client.connection.state, 'closed');
  });

  test('the words of a GOAWAY with an error reach the reason', () => {
    const { client } = pair();
    client.connection.receive(rawFrame(7, 0, 0, Buffer.concat([uint32(0), uint32(11), Buffer.from('calm\u0007')])));
    assert.equal(closedWithCode(client), 'SLV-4105');
    assert.match(String(client.closedWith), /error 11: calm\?/);
  });

  test('a silent peer is pinged after 15 s and given up 10 s later', () => {
    const { clock, client, server, connect } = pair();
    const told = record(connect().near);
    clock.nowMs = 14_999;
    client.connection.checkTimers();
    assert.equal(client.take().length, 0);
    clock.nowMs = 15_000;
    client.connection.checkTimers();
    const ping = client.take();
    assert.deepEqual(
      framesOf(ping).map(([type]) => type),
      [6],
    );
    server.connection.receive(ping);
    client.connection.receive(server.take());
    clock.nowMs = 30_000;
    client.connection.checkTimers();
    clock.nowMs = 39_999;
    client.connection.checkTimers();
    assert.equal(client.connection.state, 'open');
    clock.nowMs = 40_000;
    client.connection.checkTimers();
    assert.equal(closedWithCode(client), 'SLV-4102');
    assert.deepEqual(told.resets, [[errorCode.cancel, false]]);
  });

  test('bulk refreshes an old round trip', () => {
    const { clock, client, server, connect } = pair();
    const { near, far } = connect();
    record(far);
    clock.nowMs += 6_000;
    near.write(Buffer.alloc(300_000));
    server.connection.receive(client.take());
    const sent = server.take();
    assert.deepEqual(framesOf(sent).filter(([type]) => type === 6).length, 1);
    clock.nowMs += 8;
    client.connection.receive(sent);
    server.connection.receive(client.take());
    assert.equal(server.connection.roundTripMs, 2);
  });

  test('SETTINGS that are not acknowledged within 10 s', () => {
    const { server, clock } = bareServer();
    clock.nowMs = 10_000;
    server.connection.checkTimers();
    assert.equal(goAwayCode(framesOf(server.take())), errorCode.settingsTimeout);
  });

  test('a peer that asks and does not read is given up before its answers fill the memory', () => {
    const { server, send, clock } = bareServer();
    server.takesMore = false;
    send(connectFrame(1));
    server.lastOffered.accept();
    server.take();
    let kept = 0;
    for (let round = 0; round < 200 && server.connection.state === 'open'; round++) {
      clock.nowMs += 1_000;
      server.connection.receive(
        Buffer.concat([rawFrame(4, 1, 0), ...Array.from({ length: 99 }, () => rawFrame(6, 0, 0, '0000000000000000'))]),
      );
      kept += server.take().length;
      server.connection.checkTimers();
    }
    assert.ok(kept < 2 * 1_048_576);
  });

  test('a handler that throws ends the tunnel and is heard', () => {
    const { server, send } = bareServer();
    send(connectFrame(1));
    const stream = server.lastOffered;
    stream.accept();
    stream.handlers = {
      ...stream.handlers,
      onData() {
        throw new TypeError('ours');
      },
    };
    assert.throws(() => send(rawFrame(0, 0, 1, '61')), TypeError);
    assert.equal(closedWithCode(server), 'SLV-1007');
  });
});
