import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { benchHost, benchRequests, grpcMessage, isHttp2, type Mode } from './hop.ts';

const probeDeadlineMs = 5_000;

/** What came back for one request: an HTTP status, what a gRPC call ended with where that is not OK, or nothing but the end of the connection. */
export type Outcome = number | `grpc-status ${string}` | 'closed';

/** Sends the benchmark's request of a mode without TLS, on a connection of its own. */
export function probe(mode: Mode, port: number): Promise<Outcome> {
  const socket = connect(port, '127.0.0.1');
  return askOn(mode, socket, 'connect');
}

/** What a TLS client saw of a server, and what came back for its request. */
export interface TlsOutcome {
  readonly outcome: Outcome;
  /** `TLSv1.3`, or null when no handshake completed. */
  readonly protocol: string | null;
}

/** Sends the benchmark's request over TLS without a client certificate, verifying nothing. */
export async function probeWithoutCertificate(mode: Mode, port: number): Promise<TlsOutcome> {
  let protocol: string | null = null;
  const ALPNProtocols = isHttp2(mode) ? ['h2'] : [];
  const socket: TLSSocket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols });
  socket.once('secureConnect', () => {
    protocol = socket.getProtocol();
  });
  const outcome = await askOn(mode, socket, 'secureConnect');
  return { outcome, protocol };
}

function askOn(mode: Mode, socket: Socket, event: 'connect' | 'secureConnect'): Promise<Outcome> {
  return isHttp2(mode) ? askInHttp2(mode, socket, event) : askInHttp1(mode, socket, event);
}

function askInHttp1(mode: Mode, socket: Socket, event: 'connect' | 'secureConnect'): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    let received = '';
    socket.once(event, () => {
      const { method, path } = benchRequests[mode];
      socket.write(`${method} ${path} HTTP/1.1\r\nHost: ${benchHost}\r\nConnection: close\r\n\r\n`);
    });
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => {
      received += chunk;
    });
    // A reset or a TLS alert is a way of being refused: 'close' follows and reports what was received.
    socket.on('error', () => socket.destroy());
    socket.once('close', () => {
      const status = /^HTTP\/1\.[01] (\d{3}) /.exec(received)?.[1];
      resolve(status === undefined ? 'closed' : Number(status));
    });
    socket.setTimeout(probeDeadlineMs, () => {
      socket.destroy();
      reject(new Error(`no answer and no end within ${probeDeadlineMs} ms`));
    });
  });
}

/** By prior knowledge, or after the handshake. A gRPC call has been answered when it has ended with OK. */
async function askInHttp2(
  mode: 'http2' | 'grpc',
  socket: Socket,
  event: 'connect' | 'secureConnect',
): Promise<Outcome> {
  const deadline = AbortSignal.timeout(probeDeadlineMs);
  try {
    await once(socket, event, { signal: deadline });
  } catch (error) {
    socket.destroy();
    if (deadline.aborted) throw new Error(`no connection within ${probeDeadlineMs} ms`, { cause: error });
    return 'closed';
  }
  return new Promise((resolve, reject) => {
    const session = connectHttp2(`http://${benchHost}`, { createConnection: () => socket });
    let outcome: Outcome = 'closed';
    const settle = (): void => {
      clearTimeout(timer);
      session.destroy();
      resolve(outcome);
    };
    const timer = setTimeout(() => {
      session.destroy();
      reject(new Error(`no answer and no end within ${probeDeadlineMs} ms`));
    }, probeDeadlineMs);
    // As with HTTP/1.1: a way of being refused.
    session.on('error', settle);
    session.once('close', settle);
    const { method, path } = benchRequests[mode];
    const grpc = mode === 'grpc' ? { 'content-type': 'application/grpc', te: 'trailers' } : {};
    const stream = session.request({ ':method': method, ':path': path, ...grpc });
    let status = 0;
    stream.on('response', (headers) => {
      status = headers[':status'] ?? 0;
      outcome = mode === 'grpc' && status === 200 ? `grpc-status ${headers['grpc-status'] ?? 'missing'}` : status;
    });
    stream.on('trailers', (trailers) => {
      if (mode !== 'grpc' || status !== 200) return;
      outcome = trailers['grpc-status'] === '0' ? status : `grpc-status ${trailers['grpc-status'] ?? 'missing'}`;
    });
    stream.on('error', settle);
    stream.once('close', settle);
    stream.resume();
    stream.end(mode === 'grpc' ? grpcMessage : undefined);
  });
}
