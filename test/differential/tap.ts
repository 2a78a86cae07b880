import assert from 'node:assert/strict';
import { createServer, type Server, type Socket } from 'node:net';
import type { RequestHead } from '#edge-proxy/http1/message.ts';
import type { Recorded } from '#edge-proxy/http1/recorder.ts';
import { RequestDecoder } from '#edge-proxy/http1/request-decoder.ts';
import { type Answer, ReaderConnection } from './reader-connection.ts';
import type { Reader } from './readers.ts';
import { ownReading, type Reading } from './reading.ts';

const done = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';

/** What was forwarded, read by our codec, and how often each reader would not take it. */
export interface TapRecord {
  readonly forwarded: readonly Reading[];
  readonly refusals: ReadonlyMap<Reader['name'], number>;
}

/**
 * The application: hands every byte that the proxy sends it to all readers, in the same pieces and on connections that live as long as the proxy's, and answers when
 * each has said how it reads the request.
 */
export class Tap {
  readonly server: Server;
  readonly #readers: readonly Reader[];
  readonly #connections = new Set<ReaderConnection>();
  readonly #refusals = new Map<Reader['name'], number>();
  #forwarded: Reading[] = [];
  #fault: unknown;

  constructor(readers: readonly Reader[]) {
    this.#readers = readers;
    this.server = createServer({ noDelay: true }, (socket) => this.#serve(socket));
  }

  /** @returns what was recorded since the last time. @throws the first difference */
  take(): TapRecord {
    const fault = this.#fault;
    this.#fault = undefined;
    const record = { forwarded: this.#forwarded, refusals: this.#refusals };
    this.#forwarded = [];
    if (fault !== undefined) throw fault;
    return record;
  }

  /** Leaves the readers. */
  end(): void {
    for (const connection of this.#connections) connection.end();
  }

  #serve(socket: Socket): void {
    const lines = new Map<Reader, ReaderConnection>();
    const raw: Buffer[] = [];
    let current: Recorded<RequestHead> | undefined;
    const decoder = new RequestDecoder({
      onHead: (head) => {
        current = { head, body: '', complete: false };
      },
      onBody: (chunk) => {
        if (current !== undefined) current.body += chunk.toString('latin1');
      },
      onComplete: () => {
        if (current !== undefined) current.complete = true;
      },
      onRefusal: (refusal) => {
        if (!socket.readableEnded) this.#fail(raw, new Error(`we forward what we refuse: ${JSON.stringify(refusal)}`));
      },
    });
    const leave = () => {
      for (const line of lines.values()) {
        if (!line.spent && line.claims)
          this.#fail(raw, new Error(`${line.reader.name} answers what is not whole, or twice`));
        line.end();
        this.#connections.delete(line);
      }
      lines.clear();
    };
    socket.on('data', (chunk: Buffer) => {
      raw.push(Buffer.from(chunk));
      for (const reader of this.#readers) this.#line(lines, reader).send(chunk);
      decoder.execute(chunk);
      if (current?.complete !== true) return;
      const request = current;
      current = undefined;
      this.#compare(request, lines).then(
        () => {
          raw.length = 0;
          socket.write(done);
        },
        (error: unknown) => {
          this.#fail(raw, error);
          leave();
          socket.write(done);
        },
      );
    });
    socket.on('end', () => socket.end());
    socket.on('close', leave);
  }

  /** The connection to a reader, a new one where it has left the last. */
  #line(lines: Map<Reader, ReaderConnection>, reader: Reader): ReaderConnection {
    const known = lines.get(reader);
    if (known !== undefined && !known.spent) return known;
    const fresh = new ReaderConnection(reader);
    if (known !== undefined) this.#connections.delete(known);
    lines.set(reader, fresh);
    this.#connections.add(fresh);
    return fresh;
  }

  async #compare(request: Recorded<RequestHead>, lines: ReadonlyMap<Reader, ReaderConnection>): Promise<void> {
    const own = ownReading(request);
    this.#forwarded.push(own);
    const answers = await Promise.all(
      [...lines.values()].map(async (line): Promise<[Reader, Answer]> => [line.reader, await line.answer()]),
    );
    for (const [{ name }, answer] of answers) {
      if ('refusedWith' in answer) this.#refusals.set(name, (this.#refusals.get(name) ?? 0) + 1);
      else assert.deepEqual(answer, { ...own, path: answer.path && own.path }, `${name} reads otherwise`);
    }
  }

  #fail(raw: readonly Buffer[], cause: unknown): void {
    const bytes = JSON.stringify(Buffer.concat(raw).toString('latin1'));
    this.#fault ??= new Error(`${cause instanceof Error ? cause.message : String(cause)}\nforwarded: ${bytes}`);
  }
}
