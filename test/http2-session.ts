import { type ClientHttp2Session, connect, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2';
import { dialTlsPeer } from './raw-client.ts';
import type { Mesh } from './sidecars.ts';

/** A client of HTTP/2 by prior knowledge, for tests. */

/** A whole answer. */
export interface Http2Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  readonly body: string;
}

/** A session of the application's with its own proxy; ends with the mesh. */
export function session(mesh: Mesh, port = mesh.port): ClientHttp2Session {
  const client = connect(`http://127.0.0.1:${port}`, { maxHeaderListPairs: 2_000 });
  client.on('error', () => {});
  mesh.defer(() => client.destroy());
  return client;
}

/** Asks `db`, if nothing else is said. Rejects where the stream is reset. */
export function ask(
  client: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  body?: string | Buffer,
): Promise<Http2Answer> {
  return new Promise((resolve, reject) => {
    const stream = client.request({ ':authority': 'db', ...headers }, { endStream: body === undefined });
    let answer: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders = {};
    let text = '';
    stream.setEncoding('utf8');
    stream.on('response', (head) => {
      answer = head;
    });
    stream.on('trailers', (fields) => {
      trailers = fields;
    });
    stream.on('data', (chunk) => {
      text += chunk;
    });
    stream.on('error', reject);
    stream.on('end', () => resolve({ status: Number(answer[':status']), headers: answer, trailers, body: text }));
    if (body !== undefined) stream.end(body);
  });
}

/** A client of HTTP/2 over mTLS, as `web`, straight at the inbound port of `db`; ends with the mesh. */
export async function plainSession(mesh: Mesh): Promise<ClientHttp2Session> {
  const { socket } = await dialTlsPeer(mesh.db.inboundPort, mesh.webSvid.current, { ALPNProtocols: ['h2'] });
  const client = connect('https://db', { createConnection: () => socket });
  client.on('error', () => {});
  mesh.defer(() => client.destroy());
  return client;
}
