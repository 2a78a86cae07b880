import type { Leaf } from '../certificates.ts';
import type { BenchProcess } from '../processes.ts';

/** Whether the proxies of a hop read HTTP or splice bytes. */
export type Mode = 'http' | 'tcp';

/** The one request of the benchmark. In HTTP mode every subject authorises method and path of each request as well. */
export const benchRequest = { method: 'GET', path: '/orders', host: 'db.mesh' } as const;

/** What is measured: client -> client-side proxy -> mTLS -> server-side proxy -> application. */
export interface Hop {
  /** Loopback port of the client-side proxy: plain HTTP. */
  readonly port: number;
  /** Loopback port of the server-side proxy: mTLS. */
  readonly innerPort: number;
  /** The processes whose CPU counts: both proxies. */
  readonly processes: readonly BenchProcess[];
  /** Ends the client-side proxy and starts it again as it was. @returns the new process, at once: whether it serves yet is the caller's to see */
  restartClient(): Promise<BenchProcess>;
  stop(): Promise<void>;
}

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

/** What the client-side proxy of a peer is to do. */
export interface ClientSide {
  readonly mode: Mode;
  readonly listenPort: number;
  readonly serverPort: number;
  readonly caFile: string;
  readonly own: Leaf;
  /** The identity that the server must show. */
  readonly expected: Leaf;
  /** For its files. */
  readonly directory: string;
}

/** What the server-side proxy of a peer is to do. */
export interface ServerSide {
  readonly mode: Mode;
  readonly listenPort: number;
  readonly applicationPort: number;
  readonly caFile: string;
  readonly own: Leaf;
  /** The only identity that may come in. */
  readonly allowed: Leaf;
  readonly directory: string;
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
