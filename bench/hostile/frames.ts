import { connectionPreface, frameType } from '#edge-proxy/tunnel/http2.ts';
import { encodeFields, rawFrame } from '#edge-proxy/tunnel/memory-wire.ts';
import { benchHost, benchRequests } from '../proxy/hop.ts';

/** A payload of 32-bit numbers. */
export function numbers(...values: readonly number[]): Buffer {
  const payload = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) payload.writeUInt32BE(value, index * 4);
  return payload;
}

/** The payload of a SETTINGS frame. */
function settings(...entries: readonly (readonly [id: number, value: number])[]): Buffer {
  return Buffer.concat(
    entries.map(([id, value]) => {
      const entry = Buffer.alloc(6);
      entry.writeUInt16BE(id, 0);
      entry.writeUInt32BE(value, 2);
      return entry;
    }),
  );
}

/** What a client says first: the preface and SETTINGS. */
export const greeting = (...entries: readonly (readonly [id: number, value: number])[]): Buffer =>
  Buffer.concat([connectionPreface, rawFrame(frameType.settings, 0, 0, settings(...entries))]);

/** The head of a request that is allowed. */
export const requestBlock = (path: string = benchRequests.http.path): Buffer =>
  encodeFields([
    [':method', benchRequests.http.method],
    [':scheme', 'https'],
    [':path', path],
    [':authority', benchHost],
  ]);

/** The head of a CONNECT. */
export const connectBlock: Buffer = encodeFields([
  [':method', 'CONNECT'],
  [':authority', benchHost],
]);

/** The same frames again and again, on the next stream each time: the stream's number is written into a copy. `frames`: all on stream 0, filled in at each of them. */
export function onNextStreams(frames: readonly Buffer[], times: number): () => Buffer {
  const offsets: number[] = [];
  let size = 0;
  for (const one of frames) {
    offsets.push(size + 5);
    size += one.length;
  }
  const pattern = Buffer.concat(frames);
  let next = 1;
  return () => {
    const out = Buffer.allocUnsafe(size * times);
    for (let turn = 0; turn < times; turn++) {
      pattern.copy(out, turn * size);
      for (const offset of offsets) out.writeUInt32BE(next, turn * size + offset);
      next += 2;
    }
    return out;
  };
}
