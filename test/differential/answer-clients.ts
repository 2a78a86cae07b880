import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { z } from 'zod';
import type { ResponseHead } from '#edge-proxy/http1/message.ts';
import type { Recorded } from '#edge-proxy/http1/recorder.ts';
import { ResponseDecoder } from '#edge-proxy/http1/response-decoder.ts';
import { type Answered, comparableHeaders, ownReading } from './answer-reading.ts';

/** Asks over connections that it keeps, and says how it reads what comes. */
export interface AnswerClient {
  readonly name: string;
  /** It may refuse what we forward, or say of it less than it has read. */
  readonly ours: boolean;
  ask(method: string, target: string): Promise<Answered>;
  /** Ends its connections; the next that it asks for is asked for on a new one. */
  leave(): void;
}

const patienceMs = 10_000;

/** Ours, on one connection: strict about every byte, also about those that come behind an answer. */
export class OwnClient implements AnswerClient {
  readonly name: string;
  readonly ours: boolean;
  readonly #port: number;
  #socket: Socket | undefined;
  #decoder: ResponseDecoder | undefined;
  #current: Recorded<ResponseHead> | undefined;
  #settle: ((answered: Answered) => void) | undefined;
  /** What came that nobody had asked for. */
  #unasked: string | undefined;

  /** @param name of the proxy between us and `port`, if there is one */
  constructor(port: number, name?: string) {
    this.name = name ?? 'the caller itself';
    this.ours = name === undefined;
    this.#port = port;
  }

  /** @throws Error when something came that nobody had asked for */
  async ask(method: string, target: string): Promise<Answered> {
    if (this.#unasked !== undefined) throw new Error(`${this.name} got what it did not ask for: ${this.#unasked}`);
    const { promise, resolve, reject } = Promise.withResolvers<Answered>();
    const timer = setTimeout(() => reject(new Error(`${this.name} waits for ${method} ${target}`)), patienceMs);
    this.#settle = resolve;
    if (this.#socket === undefined || this.#decoder?.idle !== true || this.#socket.destroyed) this.#dial();
    this.#decoder?.startResponse(method);
    const length = method === 'POST' ? 'Content-Length: 0\r\n' : '';
    this.#socket?.write(`${method} ${target} HTTP/1.1\r\nHost: db\r\n${length}\r\n`);
    return promise.finally(() => clearTimeout(timer));
  }

  leave(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  #dial(): void {
    this.#socket?.destroy();
    const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true });
    this.#current = undefined;
    let keepAlive = true;
    const decoder: ResponseDecoder = new ResponseDecoder({
      onInformational() {},
      onHead: (head) => {
        keepAlive = head.keepAlive;
        this.#current = { head, body: '', complete: false };
      },
      onBody: (chunk) => {
        if (this.#current !== undefined) this.#current.body += chunk.toString('latin1');
      },
      onComplete: () => {
        const read = this.#current;
        this.#current = undefined;
        if (read !== undefined) this.#answer(ownReading(read));
        if (!keepAlive) socket.destroy();
      },
      onUpgraded: () => this.#answer({ broken: '101' }),
      onRefusal: ({ reason, code }) => {
        // An end is one; all else is what a strict reader must never get from us.
        if (code !== 'SLV-4222' && this.ours) this.#unasked = reason;
        this.#answer({ broken: reason });
        socket.destroy();
      },
    });
    socket.on('data', (chunk: Buffer) => decoder.execute(chunk));
    socket.on('end', () => {
      if (decoder.idle) socket.destroy();
      else decoder.end();
    });
    socket.on('error', () => {}); // it closes then
    socket.on('close', () => {
      if (this.#socket === socket) this.#answer({ broken: 'the connection closed' });
    });
    this.#socket = socket;
    this.#decoder = decoder;
  }

  #answer(answered: Answered): void {
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.(answered);
  }
}

/** Node's own. */
export class NodeClient implements AnswerClient {
  readonly name = 'node:http';
  readonly ours = false;
  readonly #port: number;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  constructor(port: number) {
    this.#port = port;
  }

  ask(method: string, path: string): Promise<Answered> {
    const { promise, resolve } = Promise.withResolvers<Answered>();
    const options = { port: this.#port, host: '127.0.0.1', method, path, agent: this.#agent, timeout: patienceMs };
    const outgoing = request({ ...options, headers: { Host: 'db' } }, (incoming) => {
      let body = '';
      incoming.setEncoding('latin1');
      incoming.on('data', (text: string) => {
        body += text;
      });
      incoming.on('error', (error) => resolve({ broken: error.message }));
      incoming.on('end', () => {
        const { statusCode = 0, rawHeaders } = incoming;
        resolve({ status: statusCode, headers: comparableHeaders(rawHeaders), body });
      });
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error('node:http waits')));
    outgoing.on('error', (error) => resolve({ broken: error.message }));
    outgoing.end();
    return promise;
  }

  leave(): void {
    this.#agent.destroy();
  }
}

const toldSchema = z.object({
  status: z.number(),
  headers: z.array(z.string()).nullable(),
  body: z.string(),
  broken: z.string(),
});

/** Go's net/http, which tells how it reads through the program of go/. */
export class GoClient implements AnswerClient {
  readonly name = 'net/http';
  readonly ours = false;
  readonly #teller: OwnClient;

  /** @param port of the program */
  constructor(port: number) {
    this.#teller = new OwnClient(port);
  }

  async ask(method: string, target: string): Promise<Answered> {
    // Asked as a POST: of a HEAD nothing could be told.
    const told = await this.#teller.ask('POST', `/${method}${target}`);
    if ('broken' in told) throw new Error(`the program in Go: ${told.broken}`);
    const { status, headers, body, broken } = toldSchema.parse(JSON.parse(Buffer.from(told.body, 'latin1').toString()));
    return broken === '' ? { status, headers: comparableHeaders(headers ?? []), body } : { broken };
  }

  leave(): void {
    this.#teller.leave();
  }
}
