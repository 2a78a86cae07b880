import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  createServer as createHttp2Server,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Server } from 'node:net';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';

/** WebSockets for tests: applications that echo, in either version of HTTP, and a client of HTTP/2. The client of HTTP/1.1 is Node's own. */

/** What an application has seen of the openings. */
export type Openings = IncomingHttpHeaders[];

/** An application of HTTP/1.1: echoes messages, and answers what asks for no WebSocket with 426, and `/none` with 404. */
export function echoApplication(seen: Openings = []): Server {
  return createServer((_, response) => response.writeHead(426).end('a WebSocket is served here')).on(
    'upgrade',
    ({ url, method, headers }, socket) => {
      seen.push({ ':path': url, ':method': method, ...headers });
      if (url === '/none') {
        socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnone');
        return;
      }
      const key = `${headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
      const accept = createHash('sha1').update(key).digest('base64');
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nX-App: 1\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
      );
      echo(socket);
    },
  );
}

/** The same over HTTP/2 (RFC 8441). */
export function echoApplication2(seen: Openings = [], enableConnectProtocol = true): Server {
  return createHttp2Server({ settings: { enableConnectProtocol } }).on(
    'stream',
    (stream: ServerHttp2Stream, headers) => {
      stream.on('error', () => {}); // a test that breaks connections breaks them here too
      seen.push(headers);
      if (headers[':path'] === '/none') {
        stream.respond({ ':status': 404 });
        stream.end('none');
        return;
      }
      stream.respond({ ':status': 200, 'x-app': '2' });
      echo(stream);
    },
  );
}

/** A WebSocket over a stream of HTTP/2, or the answer that refused it. */
export class WebSocketStream {
  readonly stream: ClientHttp2Stream;
  /** Of the answer, once it has come. */
  headers: IncomingHttpHeaders = {};
  readonly messages: string[] = [];

  private constructor(stream: ClientHttp2Stream) {
    this.stream = stream;
  }

  /** Asks for one, of `db` if nothing else is said, and waits for the answer. Rejects where the stream is reset before it. */
  static async open(client: ClientHttp2Session, headers: OutgoingHttpHeaders = {}): Promise<WebSocketStream> {
    if (client.remoteSettings?.enableConnectProtocol !== true) await once(client, 'remoteSettings');
    const socket = new WebSocketStream(
      client.request({
        ':method': 'CONNECT',
        ':protocol': 'websocket',
        ':scheme': 'http',
        ':path': '/chat',
        ':authority': 'db',
        'sec-websocket-version': '13',
        ...headers,
      }),
    );
    const [answer] = await once(socket.stream, 'response');
    socket.headers = answer;
    if (socket.status === 200) onMessage(socket.stream, (_, payload) => socket.messages.push(payload.toString()));
    return socket;
  }

  get status(): number {
    return Number(this.headers[':status']);
  }

  /** The content of an answer that refused it. */
  async refusal(): Promise<string> {
    const said = await text(this.stream);
    this.stream.close();
    return said;
  }

  /** Sends a message of less than 126 bytes, and waits for the next that comes. */
  async say(words: string): Promise<string> {
    const before = this.messages.length;
    this.stream.write(masked(1, Buffer.from(words)));
    while (this.messages.length === before) await once(this.stream, 'data');
    return this.messages[before] ?? '';
  }

  /** Says goodbye, and waits for the other side's. */
  async end(): Promise<void> {
    this.stream.end(masked(8, Buffer.alloc(0)));
    if (!this.stream.closed) await once(this.stream, 'close');
  }
}

function echo(peer: Duplex): void {
  onMessage(peer, (opcode, payload) => {
    peer.write(Buffer.concat([Buffer.from([0x80 | opcode, payload.length]), payload]));
    if (opcode === 8) peer.end();
  });
}

/** Reads frames of one byte of length (RFC 6455 5.2). */
function onMessage(peer: Duplex, handle: (opcode: number, payload: Buffer) => void): void {
  let held = Buffer.alloc(0);
  peer.on('data', (chunk: Buffer) => {
    held = Buffer.concat([held, chunk]);
    for (;;) {
      const [first = 0, second = 0] = held;
      const head = (second & 0x80) === 0 ? 2 : 6;
      const end = head + (second & 0x7f);
      if (held.length < 2 || held.length < end) return;
      const mask = held.subarray(2, head);
      const payload = held.subarray(head, end).map((byte, at) => byte ^ (mask[at % 4] ?? 0));
      held = held.subarray(end);
      handle(first & 0x0f, Buffer.from(payload));
    }
  });
}

function masked(opcode: number, payload: Buffer): Buffer {
  const mask = [1, 2, 3, 4];
  return Buffer.concat([
    Buffer.from([0x80 | opcode, 0x80 | payload.length, ...mask]),
    payload.map((byte, at) => byte ^ (mask[at % 4] ?? 0)),
  ]);
}
