import { connect, type Socket } from 'node:net';
import type { Reader } from './readers.ts';
import { type Reading, readEcho } from './reading.ts';

/** What a reader said of one request: how it reads it, or that it does not take it (0: it hung up; what it said before may be lost when more came for it). */
export type Answer = Reading | { readonly refusedWith: number };

const patienceMs = 20_000;

/** A connection to one reader. */
export class ReaderConnection {
  readonly reader: Reader;
  readonly #socket: Socket;
  #text = '';
  #closed = false;
  /** No answer comes any more. */
  spent = false;
  #wake: (() => void) | undefined;

  constructor(reader: Reader) {
    this.reader = reader;
    this.#socket = connect({ port: reader.port, host: '127.0.0.1', noDelay: true });
    this.#socket.setEncoding('latin1').on('data', (text: string) => {
      this.#text += text;
      this.#wake?.();
    });
    this.#socket.on('error', () => {}); // it closes then
    this.#socket.on('close', () => {
      this.#closed = true;
      this.#wake?.();
    });
  }

  /** It has said, unasked, that it has read a request: a refusal may come before all is there. */
  get claims(): boolean {
    return this.#text !== '' && !/^HTTP\/1\.[01] [45]/.test(this.#text);
  }

  send(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  end(): void {
    this.spent = true;
    this.#socket.destroy();
  }

  /** @throws Error when none comes, or one that is none */
  async answer(): Promise<Answer> {
    for (;;) {
      const end = this.#text.indexOf('\r\n\r\n');
      if (end < 0 && this.#closed && this.#text === '') {
        this.end();
        return { refusedWith: 0 };
      }
      if (end < 0) await this.#more();
      else {
        const head = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 4);
        const status = Number(/^HTTP\/1\.[01] (\d{3}) /.exec(head)?.[1]);
        if (status >= 100 && status < 200) continue;
        const echo = /^x-echo: (.*)$/im.exec(head)?.[1];
        if (echo !== undefined && /^content-length: 0$/im.test(head)) return readEcho(echo);
        this.end(); // an answer of its own: what comes behind it is its body
        if (!(status >= 400)) throw new Error(`${this.reader.name} says ${JSON.stringify(head)}`);
        return { refusedWith: status };
      }
    }
  }

  async #more(): Promise<void> {
    if (this.#closed) throw new Error(`${this.reader.name} hangs up after ${JSON.stringify(this.#text)}`);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(reject, patienceMs, new Error(`${this.reader.name} waits for more`));
    this.#wake = resolve;
    try {
      await promise;
    } finally {
      clearTimeout(timer);
    }
  }
}
