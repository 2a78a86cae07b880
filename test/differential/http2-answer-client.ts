import { type ClientHttp2Session, connect } from 'node:http2';
import type { AnswerClient } from './answer-clients.ts';
import { type Answered, comparableHeaders } from './answer-reading.ts';

const patienceMs = 10_000;

/** node:http2 (nghttp2), which takes no answer that breaks the rules: none of ours may. It asks a proxy of ours what the application answers in HTTP/1.1. */
export class Http2Client implements AnswerClient {
  readonly name = 'node:http2';
  readonly ours = true;
  readonly #port: number;
  #session: ClientHttp2Session | undefined;

  constructor(port: number) {
    this.#port = port;
  }

  ask(method: string, target: string): Promise<Answered> {
    const { promise, resolve } = Promise.withResolvers<Answered>();
    const stream = this.#open().request(
      { ':method': method, ':path': target, ':authority': 'db' },
      { endStream: true, signal: AbortSignal.timeout(patienceMs) },
    );
    let status = 0;
    let fields: string[] = [];
    let body = '';
    stream.setEncoding('latin1');
    stream.on('response', (head, _flags, raw: string[]) => {
      status = head[':status'] ?? 0;
      fields = raw.flatMap((name, at) => (at % 2 === 0 && !name.startsWith(':') ? [name, raw[at + 1] ?? ''] : []));
    });
    stream.on('data', (piece: string) => {
      body += piece;
    });
    stream.on('error', ({ message }) => resolve({ broken: message }));
    stream.on('end', () => {
      // A reset ends what is read, too: what it is comes behind.
      if (stream.rstCode === 0) resolve({ status, headers: comparableHeaders(fields), body });
    });
    stream.on('close', () => resolve({ broken: `a reset (${stream.rstCode})` }));
    return promise;
  }

  leave(): void {
    this.#session?.destroy();
    this.#session = undefined;
  }

  #open(): ClientHttp2Session {
    if (this.#session === undefined || this.#session.closed || this.#session.destroyed) {
      this.#session = connect(`http://127.0.0.1:${this.#port}`);
      this.#session.on('error', () => {}); // its streams tell
    }
    return this.#session;
  }
}
