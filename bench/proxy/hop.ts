import type { Leaf } from '../certificates.ts';
import type { BenchProcess } from '../processes.ts';

/** What the proxies of a hop speak at both ends and between them, in Consul's words: HTTP/1.1, HTTP/2, gRPC over it; or they splice bytes. */
export type Mode = 'http' | 'http2' | 'grpc' | 'tcp';

/** A request of the benchmark. */
export interface BenchRequest {
  readonly method: string;
  readonly path: string;
}

/** What the benchmark asks in each mode. But for `tcp` every subject authorises method and path of each request as well. */
export const benchRequests: Readonly<Record<Mode, BenchRequest>> = {
  http: { method: 'GET', path: '/orders' },
  http2: { method: 'GET', path: '/orders' },
  // The server knows an answer's type by the end of the path.
  grpc: { method: 'POST', path: '/shop.Orders/Get.grpc' },
  tcp: { method: 'GET', path: '/orders' },
};

/** The name that is asked for. */
export const benchHost = 'db.mesh';

/** Whether requests of this mode are streams of HTTP/2. */
export const isHttp2 = (mode: Mode): mode is 'http2' | 'grpc' => mode === 'http2' || mode === 'grpc';

/** One gRPC message of 100 bytes as it stands on the wire: not compressed, its length, itself. */
export const grpcMessage: Buffer = Buffer.concat([Buffer.of(0, 0, 0, 0, 95), Buffer.alloc(95, 'x')]);

/** What is measured: client -> client-side proxy -> mTLS -> server-side proxy -> application. */
export interface Hop {
  readonly mode: Mode;
  /** Loopback port of the client-side proxy: without TLS. */
  readonly port: number;
  /** Loopback port of the server-side proxy: mTLS. */
  readonly innerPort: number;
  /** The processes whose CPU counts: client-side and server-side proxy. */
  readonly processes: readonly [BenchProcess, BenchProcess];
  /** Ends the client-side proxy and starts it again as it was. @returns the new process, at once: whether it serves yet is the caller's to see */
  restartClient(): Promise<BenchProcess>;
  stop(): Promise<void>;
}

/** Where the application of each mode listens. */
export type ApplicationPorts = Readonly<Record<Mode, number>>;

/** One proxy under test. */
export interface Subject {
  readonly name: string;
  /** How it checks identities and what else a reader must know to judge the numbers. */
  readonly note: string;
  /** Starts the hop web -> db, and proves that it is one: mTLS with the identity of either side checked. */
  open(mode: Mode): Promise<ProvenHop>;
}

/** A hop with what was tried on it before anything was timed. */
export interface ProvenHop extends Hop {
  /** Lines for the reader: what was tried, what came of it. */
  readonly proof: readonly string[];
}

/** What either proxy of a peer is to do. */
interface Side {
  readonly mode: Mode;
  /** As its documentation says for the edge of a network, and with both versions of HTTP at its port; else as is fastest. For `http` alone. */
  readonly edge: boolean;
  readonly listenPort: number;
  readonly caFile: string;
  readonly own: Leaf;
  /** For its files. */
  readonly directory: string;
}

/** What the client-side proxy of a peer is to do. */
export interface ClientSide extends Side {
  readonly serverPort: number;
  /** The identity that the server must show. */
  readonly expected: Leaf;
}

/** What the server-side proxy of a peer is to do. */
export interface ServerSide extends Side {
  readonly applicationPort: number;
  /** The only identity that may come in. */
  readonly allowed: Leaf;
}

/** How to run one process. */
export interface Launch {
  readonly file: string;
  readonly args: readonly string[];
}

/** A proxy of others, as two configurations. */
export interface Peer {
  readonly name: string;
  readonly note: string;
  clientSide(options: ClientSide): Launch;
  serverSide(options: ServerSide): Launch;
}
