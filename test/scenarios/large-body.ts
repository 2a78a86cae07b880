import { createHash, type Hash, randomBytes } from 'node:crypto';
import { type IncomingMessage, request, type ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

/** Bodies that are never as a whole in memory, known by their hash. */

const pieceBytes = 262_144;

/** What both ends have sent and heard, as SHA-256; they agree where nothing was lost, doubled or changed. */
export interface CarriedBodies {
  readonly up: { readonly sent: string; readonly heard: string };
  readonly down: { readonly sent: string; readonly heard: string };
}

/**
 * Sends so many bytes up, and once they are there, in chunks of their own, as many down.
 *
 * @param address `host:port` at which the application is reached
 * @param serveBy gives the application what answers the one request
 */
export async function carryBodies(
  address: string,
  bytes: number,
  serveBy: (serve: (incoming: IncomingMessage, outgoing: ServerResponse) => void) => void,
): Promise<CarriedBodies> {
  const { promise: served, resolve, reject } = Promise.withResolvers<{ heard: string; sent: string }>();
  serveBy((incoming, outgoing) => answer(incoming, outgoing, bytes).then(resolve, reject));
  const [application, client] = await Promise.all([served, ask(address, bytes)]);
  return {
    up: { sent: client.sent, heard: application.heard },
    down: { sent: application.sent, heard: client.heard },
  };
}

async function answer(incoming: IncomingMessage, outgoing: ServerResponse, bytes: number) {
  const heard = await digestOf(incoming);
  const body = new LargeBody(bytes);
  await pipeline(body.stream(), outgoing);
  return { heard, sent: body.sha256 };
}

async function ask(address: string, bytes: number) {
  const body = new LargeBody(bytes);
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const headers = { 'content-length': String(bytes) };
  const outgoing = request(`http://${address}/`, { method: 'PUT', headers, agent: false }, resolve).on('error', reject);
  await pipeline(body.stream(), outgoing);
  const incoming = await promise;
  if (incoming.statusCode !== 200) throw new Error(`answered ${incoming.statusCode}`);
  return { sent: body.sha256, heard: await digestOf(incoming) };
}

async function digestOf(stream: Readable): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(stream, hash);
  return hash.digest('hex');
}

/** One that is made as it goes; no two pieces of it are alike. */
class LargeBody {
  readonly #bytes: number;
  readonly #hash: Hash = createHash('sha256');

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  stream(): Readable {
    return Readable.from(this.#pieces(), { objectMode: false });
  }

  /** Once it has gone. */
  get sha256(): string {
    return this.#hash.copy().digest('hex');
  }

  *#pieces(): Generator<Buffer> {
    const random = randomBytes(pieceBytes);
    for (let at = 0; at < this.#bytes; at += pieceBytes) {
      const piece = Buffer.from(random.subarray(0, Math.min(pieceBytes, this.#bytes - at)));
      piece.write(String(at));
      this.#hash.update(piece);
      yield piece;
    }
  }
}
