import { once } from 'node:events';
import {
  type ClientHttp2Session,
  connect,
  createServer as createHttp2Server,
  type ServerHttp2Stream,
} from 'node:http2';
import { createServer, type Server, type Socket } from 'node:net';
import type { Request } from '#policies/requests.fixture.ts';
import { dial, dialTlsPeer, type RawPeer } from '../raw-client.ts';
import type { Mesh } from '../sidecars.ts';

/** The ways in which a request of `web` reaches `db`. */

/** One of them. */
export interface WayIn {
  readonly name: string;
  readonly protocol: 'http' | 'http2' | 'grpc';
  /** By the port for all services. */
  readonly httpProxy?: true;
  /** What each of its requests is; absent: what it says. */
  readonly method?: 'GET';
  /** A connection that may be asked often, and left. */
  open(mesh: Mesh): Promise<Asker>;
}

/** Asks, and says whether the application got it. */
export interface Asker {
  ask(request: Request): Promise<boolean>;
  close(): void;
}

const patienceMs = 10_000;
const webSocket = { ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'http' };
const grpcCall = { 'content-type': 'application/grpc', te: 'trailers' };

/** All ways: as an application does it, behind both proxies, and as a hostile client does it that has an SVID and comes to the inbound port itself. */
export const waysIn: readonly WayIn[] = [
  {
    name: 'HTTP/1.1, both proxies',
    protocol: 'http',
    open: async (mesh) => http1(() => Promise.resolve(dial(mesh.port))),
  },
  {
    name: 'HTTP/1.1 with Upgrade, both proxies',
    protocol: 'http',
    open: async (mesh) =>
      http1(() => Promise.resolve(dial(mesh.port)), { more: 'Connection: upgrade\r\nUpgrade: websocket\r\n' }),
  },
  {
    name: 'HTTP/1.1, port for all services',
    protocol: 'http',
    httpProxy: true,
    open: async (mesh) => http1(() => Promise.resolve(dial(mesh.web.httpProxyPort ?? 0)), { host: 'db' }),
  },
  {
    name: 'CONNECT, port for all services',
    protocol: 'http',
    httpProxy: true,
    open: async (mesh) =>
      http1(() =>
        Promise.resolve(dial(mesh.web.httpProxyPort ?? 0).send('CONNECT db:80 HTTP/1.1\r\nHost: db:80\r\n\r\n')),
      ),
  },
  {
    name: 'HTTP/1.1, inbound port',
    protocol: 'http',
    open: async (mesh) => http1(async () => (await dialTlsPeer(mesh.db.inboundPort, mesh.webSvid.current)).peer),
  },
  {
    name: 'HTTP/2, both proxies',
    protocol: 'http2',
    open: async (mesh) => http2(() => connect(`http://127.0.0.1:${mesh.port}`)),
  },
  {
    name: 'HTTP/2, port for all services',
    protocol: 'http2',
    httpProxy: true,
    open: async (mesh) =>
      http2(() => connect(`http://127.0.0.1:${mesh.web.httpProxyPort}`), undefined, { ':authority': 'db' }),
  },
  {
    name: 'gRPC, both proxies',
    protocol: 'grpc',
    open: async (mesh) => http2(() => connect(`http://127.0.0.1:${mesh.port}`), undefined, grpcCall),
  },
  {
    name: 'HTTP/2, inbound port',
    protocol: 'http2',
    open: (mesh) => tunnelled(mesh),
  },
  {
    name: 'WebSocket over HTTP/2 to an application of HTTP/1.1, both proxies',
    protocol: 'http',
    method: 'GET',
    open: async (mesh) => http2(() => connect(`http://127.0.0.1:${mesh.port}`), undefined, webSocket),
  },
  {
    name: 'WebSocket over HTTP/2, inbound port',
    protocol: 'http2',
    method: 'GET',
    open: (mesh) => tunnelled(mesh, webSocket),
  },
  {
    name: 'HTTP/2 to an application of HTTP/1.1, both proxies',
    protocol: 'http',
    open: async (mesh) => http2(() => connect(`http://127.0.0.1:${mesh.port}`)),
  },
  {
    name: 'HTTP/2 to an application of HTTP/1.1, inbound port',
    protocol: 'http',
    open: (mesh) => tunnelled(mesh),
  },
  {
    name: 'HTTP/1.1 to an application of HTTP/2, both proxies',
    protocol: 'http2',
    open: async (mesh) => http1(() => Promise.resolve(dial(mesh.port))),
  },
  {
    name: 'HTTP/1.1 to an application of HTTP/2, inbound port',
    protocol: 'http2',
    open: async (mesh) => http1(async () => (await dialTlsPeer(mesh.db.inboundPort, mesh.webSvid.current)).peer),
  },
];

/** Requests of HTTP/2 as a client of mTLS sends them. */
async function tunnelled(mesh: Mesh, more: Readonly<Record<string, string>> = {}): Promise<Asker> {
  const tls = () => dialTlsPeer(mesh.db.inboundPort, mesh.webSvid.current, { ALPNProtocols: ['h2'] });
  let { socket } = await tls();
  return http2(
    () => connect('https://db', { createConnection: () => socket }),
    async () => {
      socket = (await tls()).socket;
    },
    more,
  );
}

/** Applications that say of every request that they got it: by an answer that opens no WebSocket. */
export const applications: Readonly<Record<WayIn['protocol'], () => Server>> = {
  http: () =>
    createServer((socket: Socket) => {
      // One request at a time comes here, none of them with a body.
      socket.on('data', (bytes: Buffer) => {
        if (bytes.includes('\r\n\r\n'))
          socket.write('HTTP/1.1 404 Not Found\r\nX-Reached: yes\r\nContent-Length: 0\r\n\r\n');
      });
      socket.on('end', () => socket.end());
    }),
  http2: streamApplication,
  grpc: streamApplication,
};

function streamApplication(): Server {
  const settings = { enableConnectProtocol: true };
  return createHttp2Server({ settings }).on('stream', (stream: ServerHttp2Stream) =>
    stream.respond({ ':status': 404, 'x-reached': 'yes', 'grpc-status': '0' }, { endStream: true }),
  );
}

/** A connection a request: many of them end it. */
function http1(dialOne: () => Promise<RawPeer>, { host = 'host', more = 'Connection: close\r\n' } = {}): Asker {
  return {
    async ask({ method, target, lines }) {
      const peer = await dialOne();
      const headers = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('');
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const timer = setTimeout(reject, patienceMs, new Error(`no answer to ${method} ${JSON.stringify(target)}`));
      peer.socket.once('close', () => resolve());
      peer.send(`${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n${more}${headers}\r\n`).end();
      try {
        await promise;
      } finally {
        clearTimeout(timer);
        peer.socket.destroy();
      }
      return /^x-reached: /im.test(peer.text);
    },
    close() {},
  };
}

/** Streams of one session, and of a new one where a proxy has ended the last. */
function http2(
  start: () => ClientHttp2Session,
  renew: () => Promise<void> = async () => {},
  more: Readonly<Record<string, string>> = {},
): Asker {
  let session: ClientHttp2Session | undefined;
  const open = () => {
    session = start();
    session.on('error', () => {}); // it is closed then
    return session;
  };
  return {
    async ask({ method, target, lines }) {
      if (session?.closed || session?.destroyed) {
        await renew();
        session = undefined;
      }
      const current = session ?? open();
      if (more[':protocol'] !== undefined && current.remoteSettings?.enableConnectProtocol !== true)
        await once(current, 'remoteSettings');
      const headers: Record<string, string[]> = {};
      for (const [name, value] of lines) headers[name] = [...(headers[name] ?? []), value];
      const stream = current.request({
        ':method': method,
        ':path': target,
        ':authority': 'host',
        ...more,
        ...headers,
      });
      const { promise, resolve } = Promise.withResolvers<boolean>();
      stream.on('response', (head) => resolve(head['x-reached'] !== undefined));
      stream.on('error', () => {}); // it is closed then
      stream.on('close', () => resolve(false));
      stream.setTimeout(patienceMs, () => stream.destroy(new Error('no answer')));
      stream.resume();
      return promise;
    },
    close() {
      session?.destroy();
    },
  };
}
