import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/**
 * What all sockets of this thread read into. libuv reads and calls back at once, one socket after the other, so one buffer serves them all, and a
 * connection that waits holds none. Node's own way, a fresh 64 KiB block for each read, cut to size, and a trip through node:stream, costs a proxy 1 to 2 µs of
 * some 20 a request.
 */
const shared = Buffer.allocUnsafeSlow(65_536);

/** What net.Socket keeps of its option `onread`, and the handle that reads for it. */
interface ReadingSocket {
  [symbol: symbol]: unknown;
  readonly _handle?: { useUserBuffer?(buffer: Uint8Array): void } | null;
}

/** Below this a read is copied at once, bytes: to ask first costs more. */
const passingBytes = 8_192;

/**
 * Has a connected socket hand what it reads to `onChunk`, directly where that can be had. Chunks may be kept.
 *
 * @param onPassing offered much at once before it is copied for `onChunk`: bytes that are there during the call only. False: it did not take them
 */
export function readFrom(
  socket: Duplex,
  onChunk: (chunk: Buffer) => void,
  onPassing?: (bytes: Buffer) => boolean,
): void {
  const direct = socket instanceof Socket && readDirectly(socket, onChunk, onPassing);
  // A reader that node:stream does not know of: `resume` alone starts it. What a TLS socket has read before comes as `data`, ahead of the next look at the sockets.
  if (direct && socket.readableLength === 0) socket.resume();
  else socket.on('data', onChunk);
}

/**
 * Has a connected socket, of TCP or TLS, hand what it reads from now on to `onChunk` instead of emitting `data`: what the documented option `onread` of net.connect
 * does, for sockets too that a server accepted, for which Node has no such option. `pause`, `resume`, `end` and errors stay as they are, and what was read before
 * comes as `data`. Chunks may be kept.
 *
 * @returns false: this Node keeps `onread` in another way; listen to `data`
 */
export function readDirectly(
  socket: Socket,
  onChunk: (chunk: Buffer) => void,
  onPassing: (bytes: Buffer) => boolean = nobody,
): boolean {
  const reading = socket as unknown as ReadingSocket;
  const symbols = onreadSymbols(socket);
  const handle = reading._handle;
  if (symbols === undefined || typeof handle?.useUserBuffer !== 'function') return false;
  reading[symbols.buffer] = shared;
  reading[symbols.callback] = (length: number): boolean => {
    if (length >= passingBytes && onPassing(shared.subarray(0, length))) return true;
    const chunk = Buffer.allocUnsafe(length);
    shared.copy(chunk, 0, 0, length);
    onChunk(chunk);
    return true;
  };
  handle.useUserBuffer(shared);
  return true;
}

const nobody = (): boolean => false;

/** The names under which net.Socket keeps its option: own properties of every socket, set or not. */
function onreadSymbols(socket: Socket): { readonly buffer: symbol; readonly callback: symbol } | undefined {
  if (known !== undefined) return known;
  const named = (name: string): symbol | undefined =>
    Object.getOwnPropertySymbols(socket).find(({ description }) => description === name);
  const buffer = named('kBuffer');
  const callback = named('kBufferCb');
  if (buffer === undefined || callback === undefined) return undefined;
  known = { buffer, callback };
  return known;
}

let known: { readonly buffer: symbol; readonly callback: symbol } | undefined;
