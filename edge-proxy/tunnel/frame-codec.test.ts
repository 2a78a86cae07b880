import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { FrameReader, type FrameSink } from './frame-reader.ts';
import { FrameWriter } from './frame-writer.ts';
import { connectionPreface, Http2ConnectionError, maxFrameSize } from './http2.ts';
import { rawFrame } from './memory-wire.ts';

type Told = [kind: string, ...facts: Array<number | string | boolean>];

/** Writes down frames, with the parts of one DATA frame joined. */
function reading(role: 'client' | 'server' = 'client'): { reader: FrameReader; told: Told[] } {
  const told: Told[] = [];
  const parts = new Map<number, { text: string; flow: number }>();
  const sink: FrameSink = {
    data(streamId, chunk, start, end, flowBytes, endStream) {
      const part = parts.get(streamId) ?? { text: '', flow: 0 };
      part.text += chunk.toString('latin1', start, end);
      part.flow += flowBytes;
      parts.set(streamId, part);
      if (!endStream) return;
      told.push(['data', streamId, part.text, part.flow]);
      parts.delete(streamId);
    },
    headers: (streamId, chunk, start, end, endStream, itself) =>
      told.push(['headers', streamId, chunk.toString('hex', start, end), endStream, itself]),
    rstStream: (streamId, code) => told.push(['rst', streamId, code]),
    settings: (entries) => told.push(['settings', entries.toString('hex')]),
    settingsAck: () => told.push(['settings-ack']),
    ping: (opaque) => told.push(['ping', opaque.toString('hex')]),
    pingAck: (opaque) => told.push(['ping-ack', opaque.toString('hex')]),
    goAwayReceived: (last, code, debug) => told.push(['goaway', last, code, debug]),
    windowUpdate: (streamId, increment) => told.push(['window', streamId, increment]),
    ignored: () => told.push(['ignored']),
  };
  return { reader: new FrameReader(role, sink), told };
}

const streamId = fc.integer({ min: 1, max: 0x7fff_ffff });
const uint32 = fc.integer({ min: 0, max: 0xffff_ffff });
const bytes = (maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));

/** A frame as an act on a writer, and what a reader must tell of it. */
const frame: fc.Arbitrary<{ write(writer: FrameWriter): void; expected: Told }> = fc.oneof(
  fc.tuple(streamId, bytes(200)).map(([id, data]) => ({
    write(writer: FrameWriter) {
      writer.beginData(id, data.length, true);
      writer.append(data, 0, data.length);
    },
    expected: ['data', id, data.toString('latin1'), data.length] as Told,
  })),
  fc
    .tuple(
      streamId,
      fc.oneof(
        bytes(50),
        fc.integer({ min: 16_380, max: 40_000 }).map((size) => Buffer.alloc(size, 7)),
      ),
      fc.boolean(),
    )
    .map(([id, block, end]) => ({
      write: (writer: FrameWriter) => writer.headers(id, block, end),
      expected: ['headers', id, block.toString('hex'), end, false] as Told,
    })),
  fc.tuple(streamId, uint32).map(([id, code]) => ({
    write: (writer: FrameWriter) => writer.rstStream(id, code),
    expected: ['rst', id, code] as Told,
  })),
  fc.tuple(fc.integer({ min: 0, max: 0x7fff_ffff }), streamId).map(([id, increment]) => ({
    write: (writer: FrameWriter) => writer.windowUpdate(id, increment),
    expected: ['window', id, increment] as Told,
  })),
  fc.tuple(streamId, uint32, fc.string({ unit: 'grapheme-ascii', maxLength: 40 })).map(([id, code, debug]) => ({
    write: (writer: FrameWriter) => writer.goAway(id, code, debug),
    expected: ['goaway', id, code, debug] as Told,
  })),
  fc.uint8Array({ minLength: 8, maxLength: 8 }).map((opaque) => ({
    write: (writer: FrameWriter) => writer.ping(Buffer.from(opaque), true),
    expected: ['ping-ack', Buffer.from(opaque).toString('hex')] as Told,
  })),
  fc.constant({ write: (writer: FrameWriter) => writer.settingsAck(), expected: ['settings-ack'] as Told }),
);

function written(act: (writer: FrameWriter) => void): Buffer {
  const output: Buffer[] = [];
  const writer = new FrameWriter({ write: (chunk) => output.push(chunk) > 0, schedule: () => {} });
  act(writer);
  writer.flush();
  return Buffer.concat(output);
}

suite('frames', () => {
  test('what is written is read, in whatever pieces it comes', () => {
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: 1, maxLength: 8 }),
        (frames, cuts) => {
          const stream = written((writer) => {
            for (const each of frames) each.write(writer);
          });
          const { reader, told } = reading();
          let cut = 0;
          for (let offset = 0; offset < stream.length; ) {
            const size = cuts[cut++ % cuts.length] ?? 1;
            reader.receive(stream.subarray(offset, offset + size));
            offset += size;
          }
          assert.deepEqual(
            told,
            frames.map((each) => each.expected),
          );
        },
      ),
      { numRuns: 200 },
    );
  });

  test('the end of a stream is a flag on its last DATA while that is still here, else a frame', () => {
    const data = (writer: FrameWriter, id: number): void => {
      writer.beginData(id, 1, false);
      writer.append(Buffer.of(7), 0, 1);
    };
    const acts: Array<[between: (writer: FrameWriter) => void, frames: Buffer[]]> = [
      [() => {}, [rawFrame(0, 1, 1, '07')]],
      [(writer) => writer.windowUpdate(3, 5), [rawFrame(0, 1, 1, '07'), rawFrame(8, 0, 3, '00000005')]],
      [(writer) => writer.flush(), [rawFrame(0, 0, 1, '07'), rawFrame(0, 1, 1)]],
      [(writer) => data(writer, 3), [rawFrame(0, 0, 1, '07'), rawFrame(0, 0, 3, '07'), rawFrame(0, 1, 1)]],
    ];
    for (const [between, frames] of acts) {
      const sent = written((writer) => {
        data(writer, 1);
        between(writer);
        writer.endData(1);
      });
      assert.equal(sent.toString('hex'), Buffer.concat(frames).toString('hex'));
    }
  });

  test('padding counts for flow control and is not delivered, byte by byte or whole', () => {
    const padded = Buffer.concat([
      rawFrame(0, 0x8, 1, '03 6162 000000'.replaceAll(' ', '')),
      rawFrame(0, 0x9, 1, '00 63'.replaceAll(' ', '')),
      rawFrame(0, 0x9, 3, '02 0000'.replaceAll(' ', '')),
    ]);
    for (const size of [1, padded.length]) {
      const { reader, told } = reading();
      for (let at = 0; at < padded.length; at += size) reader.receive(padded.subarray(at, at + size));
      assert.deepEqual(told, [
        ['data', 1, 'abc', 8],
        ['data', 3, '', 3],
      ]);
    }
  });

  test('no more frames are begun than asked for, but RST_STREAM behind them', () => {
    const { reader } = reading();
    const ping = rawFrame(6, 0, 0, '0000000000000000');
    const reset = rawFrame(3, 0, 1, '00000008');
    const bytes = Buffer.concat([ping, ping, reset, reset, reset, ping]);
    const after = (pings: number, resets: number): number => pings * ping.length + resets * reset.length;
    assert.equal(reader.receive(bytes, 0, 1), after(1, 0));
    assert.equal(reader.receive(bytes, after(1, 0), 1), after(2, 1));
    assert.equal(reader.receive(bytes, after(2, 1), 1), after(2, 3));
    assert.equal(reader.receive(bytes, after(2, 3), 1), bytes.length);
  });

  test('HEADERS with padding and priority; PRIORITY and unknown frames are ignored', () => {
    const { reader, told } = reading();
    reader.receive(rawFrame(1, 0x2d, 5, '01 80000003 10 8286 00'.replaceAll(' ', '')));
    reader.receive(rawFrame(1, 0x24, 7, '00000007 10 82'.replaceAll(' ', '')));
    reader.receive(
      Buffer.concat([
        rawFrame(2, 0, 9, '0000000100'),
        rawFrame(0x22, 0xff, 0, Buffer.alloc(5_000)),
        rawFrame(0x22, 0, 3),
      ]),
    );
    assert.deepEqual(told, [
      ['headers', 5, '8286', true, false],
      ['headers', 7, '82', false, true],
      ['ignored'],
      ['ignored'],
      ['ignored'],
    ]);
  });

  const protocol = 1;
  const frameSize = 6;
  const calm = 11;
  const faults: Array<[title: string, code: number, bytes: Buffer]> = [
    ['frame over 16,384', frameSize, rawFrame(0, 0, 1, Buffer.alloc(maxFrameSize + 1))],
    ['DATA on stream 0', protocol, rawFrame(0, 0, 0, '00')],
    ['DATA padded beyond its length', protocol, rawFrame(0, 8, 1, '0261')],
    ['DATA padded without a pad length', frameSize, rawFrame(0, 8, 1)],
    ['HEADERS on stream 0', protocol, rawFrame(1, 4, 0, '82')],
    ['HEADERS padded beyond their length', protocol, rawFrame(1, 0xc, 1, '0582')],
    ['HEADERS too short for their priority', frameSize, rawFrame(1, 0x24, 1, '82')],
    ['PRIORITY on stream 0', protocol, rawFrame(2, 0, 0, '0000000100')],
    ['PRIORITY of four octets', frameSize, rawFrame(2, 0, 1, '00000001')],
    ['PRIORITY on itself', protocol, rawFrame(2, 0, 1, '0000000100')],
    ['RST_STREAM on stream 0', protocol, rawFrame(3, 0, 0, '00000000')],
    ['RST_STREAM of three octets', frameSize, rawFrame(3, 0, 1, '000000')],
    ['SETTINGS on a stream', protocol, rawFrame(4, 0, 1)],
    ['SETTINGS of seven octets', frameSize, rawFrame(4, 0, 0, '00000000000000')],
    ['SETTINGS ack with a payload', frameSize, rawFrame(4, 1, 0, '000000000000')],
    ['PUSH_PROMISE', protocol, rawFrame(5, 4, 1, '0000000282')],
    ['PING on a stream', protocol, rawFrame(6, 0, 1, '0000000000000000')],
    ['PING of seven octets', frameSize, rawFrame(6, 0, 0, '00000000000000')],
    ['GOAWAY on a stream', protocol, rawFrame(7, 0, 1, '0000000000000000')],
    ['GOAWAY of seven octets', frameSize, rawFrame(7, 0, 0, '00000000000000')],
    ['WINDOW_UPDATE of five octets', frameSize, rawFrame(8, 0, 1, '0000000100')],
    ['CONTINUATION without HEADERS', protocol, rawFrame(9, 4, 1, '82')],
    ['CONTINUATION of another stream', protocol, Buffer.concat([rawFrame(1, 0, 1, '82'), rawFrame(9, 4, 3, '82')])],
    ['DATA within a block', protocol, Buffer.concat([rawFrame(1, 0, 1, '82'), rawFrame(0, 0, 1, '82')])],
    ['an unknown frame within a block', protocol, Buffer.concat([rawFrame(1, 0, 1, '82'), rawFrame(0x22, 0, 1)])],
    [
      'a block over 64 KiB',
      calm,
      Buffer.concat([
        rawFrame(1, 0, 1),
        ...Array.from({ length: 5 }, () => rawFrame(9, 0, 1, Buffer.alloc(maxFrameSize))),
      ]),
    ],
    [
      'a block of endless empty CONTINUATION',
      calm,
      Buffer.concat([rawFrame(1, 0, 1), ...Array.from({ length: 40 }, () => rawFrame(9, 0, 1))]),
    ],
  ];
  for (const [title, code, input] of faults) {
    test(`error ${code}: ${title}`, () => {
      assert.throws(
        () => reading().reader.receive(input),
        (error) => error instanceof Http2ConnectionError && error.code === code,
      );
    });
  }

  test('a server reads the preface first, and nothing else', () => {
    const { reader, told } = reading('server');
    for (const octet of connectionPreface) reader.receive(Buffer.of(octet));
    reader.receive(rawFrame(4, 0, 0));
    assert.deepEqual(told, [['settings', '']]);
    assert.throws(() => reading('server').reader.receive(Buffer.from('GET / HTTP/1.1\r\n\r\n')), Http2ConnectionError);
  });
});
