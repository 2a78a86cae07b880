import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { connectionPreface } from './http2.ts';
import { rawFrame, record, type StreamRecord, settle, WireEnd } from './memory-wire.ts';
import type { TunnelRequest } from './tunnel.ts';
import type { HeaderFields } from './tunnel-stream.ts';

/** What an honest client sends: greeting, streams, data both small and large, a reset, ends. */
function honestBytes(): Buffer {
  const clock = { nowMs: 0 };
  const client = new WireEnd('client', clock);
  const server = new WireEnd('server', clock, {
    requests: true,
    onStream: (stream) => stream.accept([['x-a', 'b']]),
  });
  const sent: Buffer[] = [];
  const exchange = (): void => {
    const bytes = client.take();
    sent.push(bytes);
    server.connection.receive(bytes);
    settle(server, client);
  };
  exchange();
  for (let at = 0; at < 6; at++) {
    const stream =
      at % 2 === 0
        ? client.connection.open(`service-${at}.dc1.example.org:80`, [['traceparent', `00-${at}`]], () => {})
        : client.connection.request(requestHead(at), false, () => {});
    stream.write(Buffer.alloc(at * 700, at));
    exchange();
    if (at % 3 === 0) stream.reset('cancel');
    else stream.end(at === 5 ? [['x-sum', '1']] : undefined);
  }
  client.connection.goAway();
  exchange();
  return Buffer.concat(sent);
}

function requestHead(at: number): HeaderFields {
  return [
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', `/${at}`],
    [':authority', `service-${at}`],
  ];
}

const honest = honestBytes();

/** Feeds bytes in pieces to an accepting end that echoes. Whatever they are, nothing is thrown, and little is kept or answered. */
function survives(role: 'client' | 'server', bytes: Buffer, piece: number): void {
  const clock = { nowMs: 0 };
  const end = new WireEnd(role, clock, {
    requests: true,
    onStream(stream, request) {
      if (request.authority.endsWith('3')) {
        stream.refuse(403);
        return;
      }
      const told = record(stream);
      stream.handlers = {
        ...stream.handlers,
        onData(chunk) {
          told.received += chunk.length;
          stream.write(chunk);
          if (told.received > 3_000) stream.pause();
        },
        onEnd: () => stream.end(request.method === 'CONNECT' ? undefined : [['x-sum', '1']]),
      };
      stream.accept();
    },
  });
  if (role === 'client') {
    for (let at = 0; at < 5; at++) record(end.connection.open('db:80', [], () => {}));
    for (let at = 0; at < 3; at++) record(end.connection.request(requestHead(at), at > 0, () => {}));
  }
  let answered = 0;
  for (let at = 0; at < bytes.length; at += piece) {
    end.connection.receive(bytes.subarray(at, at + piece));
    answered += end.take().length;
  }
  assert.ok(answered < 20 * bytes.length + 100_000, `${answered} bytes answered to ${bytes.length}`);
  if (end.connection.state !== 'closed') end.connection.close();
  assert.equal(end.connection.activeStreams, 0);
}

const piece = fc.integer({ min: 1, max: 2_000 });
const role = fc.constantFrom('client' as const, 'server' as const);

suite('fuzz', () => {
  test('random bytes, with and without a preface', () => {
    fc.assert(
      fc.property(role, fc.uint8Array({ maxLength: 400 }), fc.boolean(), piece, (side, noise, greeted, size) => {
        survives(side, greeted ? Buffer.concat([connectionPreface, noise]) : Buffer.from(noise), size);
      }),
      { numRuns: 1_500 },
    );
  });

  test('random frames with plausible headers after an honest greeting', () => {
    const frame = fc
      .tuple(
        fc.integer({ min: 0, max: 11 }),
        fc.uint8Array({ maxLength: 40 }),
        fc.integer({ min: 0, max: 255 }),
        fc.integer({ min: 0, max: 17 }),
      )
      .map(([type, payload, flags, streamId]) => rawFrame(type, flags, streamId, payload));
    const settings = Buffer.from('000000040000000000', 'hex');
    fc.assert(
      fc.property(role, fc.array(frame, { maxLength: 25 }), piece, (side, frames, size) => {
        const greeting = side === 'server' ? [connectionPreface, settings] : [settings];
        survives(side, Buffer.concat([...greeting, ...frames]), size);
      }),
      { numRuns: 2_000 },
    );
  });

  test('honest bytes with a few of them changed, removed or doubled', () => {
    const mutation = fc.record({
      at: fc.nat(honest.length - 1),
      kind: fc.constantFrom('set', 'cut', 'double'),
      byte: fc.integer({ min: 0, max: 255 }),
    });
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 6 }), piece, (mutations, size) => {
        let bytes = Buffer.from(honest);
        for (const { at, kind, byte } of mutations) {
          if (at >= bytes.length) continue;
          if (kind === 'set') bytes.writeUInt8(byte, at);
          else if (kind === 'cut') bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + (byte % 20))]);
          else bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.max(0, at - byte))]);
        }
        survives('server', bytes, size);
      }),
      { numRuns: 1_500 },
    );
  });

  test('honest bytes give the same in any pieces', () => {
    const outcome = (sizes: readonly number[]): unknown[] => {
      const told: Array<{ request: TunnelRequest; told: StreamRecord }> = [];
      const server = new WireEnd(
        'server',
        { nowMs: 0 },
        {
          requests: true,
          onStream(stream, request) {
            told.push({ request, told: record(stream) });
            stream.accept();
          },
        },
      );
      let turn = 0;
      for (let at = 0; at < honest.length; ) {
        const size = sizes[turn++ % sizes.length] ?? 1;
        server.connection.receive(honest.subarray(at, at + size));
        at += size;
      }
      return told.map((each) => ({ ...each, told: { ...each.told, chunks: Buffer.concat(each.told.chunks) } }));
    };
    const whole = outcome([honest.length]);
    assert.equal(whole.length, 6);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1, maxLength: 6 }), (sizes) => {
        assert.deepEqual(outcome(sizes), whole);
      }),
      { numRuns: 60 },
    );
  });
});
