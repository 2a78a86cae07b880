import { type AddressInfo, createServer as createPlainServer, type Socket } from 'node:net';
import { after } from 'node:test';
import { createServer } from 'node:tls';
import type { Svid } from '#runtime/svid/svid.ts';
import { serverTlsOptions } from '#runtime/tls-identity.ts';

/** A server that pretends. It records every byte that clients send it. */
export interface Impostor {
  readonly url: string;
  /** What it was sent, all connections one after the other. */
  readonly heard: string;
  /** TCP connections. */
  readonly connections: number;
}

/**
 * Starts a server that answers requests; it ends with the file's tests.
 *
 * @param svid  what it shows; undefined: it speaks plain HTTP
 * @param pages bodies by path; anything else is answered 404
 */
export async function startImpostor(
  svid: Svid | undefined,
  pages: Readonly<Record<string, string>>,
): Promise<Impostor> {
  const impostor = { url: '', heard: '', connections: 0 };
  const onConnection = (socket: Socket): void => {
    let text = '';
    socket.on('error', () => undefined); // clients that see through it hang up
    socket.on('data', (chunk: Buffer) => {
      impostor.heard += chunk.toString('latin1');
      text += chunk.toString('latin1');
      const path = /^\w+ (\S+).*\r\n\r\n/s.exec(text)?.[1];
      if (path === undefined) return;
      const page = pages[path.split('?', 1)[0] ?? ''];
      const head = page === undefined ? 'HTTP/1.1 404 Not Found' : 'HTTP/1.1 200 OK';
      socket.end(
        `${head}\r\nContent-Length: ${Buffer.byteLength(page ?? '')}\r\nConnection: close\r\n\r\n${page ?? ''}`,
      );
    });
  };
  const server =
    svid === undefined ? createPlainServer(onConnection) : createServer(serverTlsOptions(svid), onConnection);
  server.on('connection', () => {
    impostor.connections += 1;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  impostor.url = `${svid === undefined ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}`;
  after(() => server.close());
  return impostor;
}
