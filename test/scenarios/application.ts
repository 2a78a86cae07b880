import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { after } from 'node:test';
import { formatSocketAddress } from '#runtime/socket-address.ts';

/** A request as the application saw it. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** How an application answers one request. */
export type Answer = (outgoing: ServerResponse, request: SeenRequest) => void;

/** 200 with the name of the instance. */
export const well: Answer = (outgoing) => outgoing.end('well\n');

/** A status and nothing else. */
export function status(code: number): Answer {
  return (outgoing) => outgoing.writeHead(code).end();
}

/** An application behind the mesh, in this process so that the test sees what it sees. Nothing in it knows of the mesh. */
export interface HttpApplication {
  /** `host:port` */
  readonly address: string;
  /** Requests since the last `clear`. */
  readonly seen: readonly SeenRequest[];
  /** How many since the last `clear`: also where they are too many to be kept. */
  readonly count: number;
  /** How it answers from now on. */
  answer: Answer;
  /** Takes a request as it comes, with its body on the way; absent: `answer` gets it when it is whole. */
  onRequest?: (incoming: IncomingMessage, outgoing: ServerResponse) => void;
  /** Takes the connection of a request that asks for another protocol; absent: it is answered like any other. */
  onUpgrade?: (socket: Duplex) => void;
  clear(): void;
}

const keptRequests = 1_000;

/** Starts an HTTP application that answers well until told otherwise; it ends with the file's tests. */
export async function startHttpApplication(host = '127.0.0.1'): Promise<HttpApplication> {
  let seen: SeenRequest[] = [];
  let count = 0;
  const application: HttpApplication & { address: string } = {
    address: '',
    get seen() {
      return seen;
    },
    get count() {
      return count;
    },
    answer: well,
    clear() {
      seen = [];
      count = 0;
    },
  };
  const shouldUpgradeCallback = () => application.onUpgrade !== undefined;
  const server = createHttpServer({ keepAliveTimeout: 120_000, shouldUpgradeCallback }, (incoming, outgoing) => {
    if (application.onRequest !== undefined) {
      application.onRequest(incoming, outgoing);
      return;
    }
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const { method = '', url = '', headers } = incoming;
      const request = { method, path: url, headers, body: Buffer.concat(chunks).toString('utf8') };
      count += 1;
      if (seen.length < keptRequests) seen.push(request);
      application.answer(outgoing, request);
    });
  });
  server.on('upgrade', (_incoming, socket) => application.onUpgrade?.(socket));
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  application.address = formatSocketAddress({ host, port: (server.address() as AddressInfo).port });
  after(() => {
    server.close();
    server.closeAllConnections();
  });
  return application;
}

/** Starts a TCP application that sends back what it gets. @returns its address, `host:port`, and the connections that are open */
export async function startEcho(
  host = '127.0.0.1',
): Promise<{ readonly address: string; readonly open: ReadonlySet<Socket> }> {
  const open = new Set<Socket>();
  const server = createServer({ allowHalfOpen: false }, (socket) => {
    open.add(socket);
    socket.on('error', () => undefined); // a cut connection is what some tests are about
    socket.once('close', () => open.delete(socket));
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  after(() => {
    server.close();
    for (const socket of open) socket.destroy();
  });
  return { address: formatSocketAddress({ host, port: (server.address() as AddressInfo).port }), open };
}

/** A connection to the echo, at `host:port` of an upstream, on which a byte came back. Rejects where it is closed before. */
export async function openEcho(address: string): Promise<Socket> {
  const [host, port] = address.split(':');
  const socket = connect(Number(port), host);
  socket.on('error', () => undefined); // a reset is one way of being cut
  socket.write('a');
  const came = await Promise.race([once(socket, 'data'), once(socket, 'close').then(() => undefined)]);
  if (came === undefined) throw new Error('closed before a byte came');
  return socket;
}
