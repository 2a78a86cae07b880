import { connect, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { benchRequest } from './hop.ts';

const probeDeadlineMs = 5_000;

/** What came back for one request: an HTTP status, or nothing but the end of the connection. */
export type Outcome = number | 'closed';

/** Sends the benchmark's request over plain TCP on a connection of its own. */
export function probe(port: number): Promise<Outcome> {
  const socket = connect(port, '127.0.0.1');
  return askOn(socket, socket, 'connect');
}

/** What a TLS client saw of a server, and what came back for its request. */
export interface TlsOutcome {
  readonly outcome: Outcome;
  /** `TLSv1.3`, or null when no handshake completed. */
  readonly protocol: string | null;
}

/** Sends the benchmark's request over TLS without a client certificate, verifying nothing. */
export async function probeWithoutCertificate(port: number): Promise<TlsOutcome> {
  let protocol: string | null = null;
  const socket: TLSSocket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false });
  socket.once('secureConnect', () => {
    protocol = socket.getProtocol();
  });
  const outcome = await askOn(socket, socket, 'secureConnect');
  return { outcome, protocol };
}

function askOn(socket: Socket, ready: Socket, event: 'connect' | 'secureConnect'): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    let received = '';
    ready.once(event, () => {
      socket.write(
        `${benchRequest.method} ${benchRequest.path} HTTP/1.1\r\nHost: ${benchRequest.host}\r\nConnection: close\r\n\r\n`,
      );
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
