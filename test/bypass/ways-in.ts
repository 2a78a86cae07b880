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
import { waitFor } from '../wait-for.ts';

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
/** So often a request is asked again whose session a proxy has ended for what others had asked. */
const maxCuts = 5;
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
    open: async (mesh) => http1(() => shakenHands(mesh)),
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
    open: async (mesh) => http2(() => connect(`http://127.0.0.1:${mesh.web.httpProxyPort}`), { ':authority': 'db' }),
  },
  {
    name: 'gRPC, both proxies',
    protocol: 'grpc',
    open: async (mesh) => http2(() => connect(`http://127.0.0.1:${mesh.port}`), grpcCall),
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
    open: async (mesh) => http2(() => connect(`http://127.0.0.1:${mesh.port}`), webSocket),
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
    open: async (mesh) => http1(() => shakenHands(mesh)),
  },
];

/** Requests of HTTP/2 as a client of mTLS sends them. */
async function tunnelled({ db, webSvid }: Mesh, more: Readonly<Record<string, string>> = {}): Promise<Asker> {
  const own = { cert: webSvid.current?.chainPem, key: webSvid.current?.keyPem };
  return http2(() => connect(`https://127.0.0.1:${db.inboundPort}`, { ...own, rejectUnauthorized: false }), more);
}

/** A connection of HTTP/1.1 as a client of mTLS has it; another where one ends within its handshake, as it may on a busy machine. */
function shakenHands({ db, webSvid }: Mesh): Promise<RawPeer> {
  return waitFor('a handshake', async () => {
    const { peer } = await dialTlsPeer(db.inboundPort, webSvid.current);
    return peer.closed ? undefined : peer;
  });
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
function http2(start: () => ClientHttp2Session, more: Readonly<Record<string, string>> = {}): Asker {
  let served: Promise<ClientHttp2Session> | undefined;
  let last: ClientHttp2Session | undefined;
  /** One that is served: who was cut, since disguises in number are a flood, is not let in again at once. */
  const serve = () =>
    waitFor('a session', async () => {
      const session = start();
      last = session;
      session.on('error', () => {}); // it is closed then
      const { promise, resolve } = Promise.withResolvers<boolean>();
      session.once('remoteSettings', () => resolve(true));
      session.once('close', () => resolve(false));
      return (await promise) ? session : undefined;
    });
  const askOnce = async ({ method, target, lines }: Request): Promise<boolean | 'cut'> => {
    served ??= serve();
    const standing = served;
    const session = await standing;
    if (session.closed || session.destroyed) {
      if (served === standing) served = undefined;
      return 'cut';
    }
    const headers: Record<string, string[]> = {};
    for (const [name, value] of lines) headers[name] = [...(headers[name] ?? []), value];
    const stream = session.request({ ':method': method, ':path': target, ':authority': 'host', ...more, ...headers });
    const { promise, resolve, reject } = Promise.withResolvers<boolean | 'cut'>();
    stream.on('response', (head) => resolve(head['x-reached'] !== undefined));
    stream.on('error', () => {}); // it is closed then
    stream.on('close', () => resolve(session.closed || session.destroyed ? 'cut' : false));
    stream.setTimeout(patienceMs, () => reject(new Error(`no answer to ${method} ${JSON.stringify(target)}`)));
    stream.resume();
    return promise;
  };
  return {
    async ask(request) {
      for (let cuts = 0; cuts < maxCuts; cuts++) {
        const outcome = await askOnce(request);
        if (outcome !== 'cut') return outcome;
      }
      throw new Error(`cut ${maxCuts} times for ${JSON.stringify(request)}`);
    },
    close() {
      last?.destroy();
    },
  };
}
