import { once } from 'node:events';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { createServer as createTlsServer, type SecureContextOptions } from 'node:tls';
import { freePorts } from '#test/free-ports.ts';
import { makeCa } from '#test/mini-ca.ts';

/** Real listeners on loopback. They end with the test. */

/** @returns its port */
export async function listening(t: TestContext, server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined); // Probes leave without a word.
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

export async function application(t: TestContext, listener: RequestListener): Promise<string> {
  return `http://127.0.0.1:${await listening(t, createHttpServer(listener))}/health`;
}

/** Takes connections and says nothing. */
export function silentServer(t: TestContext): Promise<number> {
  return listening(t, createServer());
}

/** A port at which nobody listens. */
export async function freePort(): Promise<number> {
  const [port = 0] = await freePorts(1);
  return port;
}

/** A certificate for `app.test`, and the root that vouches for it. */
export function serverCertificate(): { keyAndCert: SecureContextOptions; root: string } {
  const ca = makeCa('mesh.test');
  const { keyPem, chainPem } = ca.issue({ uris: [], dns: ['app.test'], commonName: 'app.test' });
  const root = `-----BEGIN CERTIFICATE-----\n${Buffer.from(ca.root.certificate).toString('base64')}\n-----END CERTIFICATE-----\n`;
  return { keyAndCert: { key: keyPem, cert: chainPem }, root };
}

/** A TLS server; `names` gets the SNI of each handshake. */
export function tlsServer(t: TestContext, keyAndCert: SecureContextOptions, names: string[] = []): Promise<number> {
  const server = createTlsServer({
    ...keyAndCert,
    SNICallback(name, done) {
      names.push(name);
      done(null);
    },
  });
  server.on('tlsClientError', () => undefined); // What probes that do not trust it end in.
  return listening(t, server);
}
