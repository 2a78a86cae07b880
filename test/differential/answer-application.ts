import { createServer, type Server, type Socket } from 'node:net';
import { RequestDecoder } from '#edge-proxy/http1/request-decoder.ts';
import { type OddAnswer, piecesOf } from './odd-answers.ts';

/** Answers in order, with the path that was asked for, so that an answer to another request shows. */
export function goodAnswer(target: string): string {
  return `HTTP/1.1 200 OK\r\nX-Asked: ${target}\r\nContent-Length: ${target.length}\r\n\r\n${target}`;
}

/** The application: on `/odd/…` the odd answer of now, on all else a good one. */
export class AnswerApplication {
  readonly server: Server;
  /** What `/odd/…` is answered with, as often as it is asked. */
  odd: OddAnswer | undefined;

  constructor() {
    this.server = createServer({ noDelay: true }, (socket) => this.#serve(socket));
  }

  #serve(socket: Socket): void {
    let asked = '';
    const decoder = new RequestDecoder({
      onHead: ({ target }) => {
        asked = target;
      },
      onBody() {},
      onComplete: () => void this.#answer(socket, asked),
      onRefusal: () => socket.destroy(),
    });
    socket.on('error', () => {}); // it closes then
    socket.on('data', (chunk: Buffer) => decoder.execute(chunk));
    socket.on('end', () => socket.end());
  }

  async #answer(socket: Socket, target: string): Promise<void> {
    const odd = target.startsWith('/odd/') ? this.odd : undefined;
    if (odd === undefined) {
      socket.write(goodAnswer(target));
      return;
    }
    for (const piece of piecesOf(odd)) {
      if (piece.length > 0) socket.write(piece);
      await new Promise((resume) => setImmediate(resume));
    }
    if (odd.ends) socket.end();
  }
}
