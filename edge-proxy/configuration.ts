import type { Locality } from '#policies/wire/feed-routing.ts';
import type { DnsConfig } from '#runtime/dns/serve-zone.ts';
import type { SocketAddress } from '#runtime/socket-address.ts';
import type { KeyType } from '#runtime/svid/key-type.ts';
import type { NodeEvidence } from '#runtime/svid/node-evidence.ts';
import type { TlsVersion } from '#runtime/tls-identity.ts';
import type { InProcessApplication } from './inbound/application.ts';
import type { AccessLogMode } from './traffic.ts';
import type { WorkloadSocket } from './workload-api/unix-socket.ts';

/** One service that a proxy stands for. */
export interface SidecarConfig {
  readonly service: string;
  /** Id of this instance in the catalog. */
  readonly serviceId: string;
  /** What the catalog is told of this instance, for its readers and for the subsets of service-resolver. */
  readonly tags?: readonly string[];
  readonly meta?: Readonly<Record<string, string>>;
  /** Where the application listens; undefined for a service that only calls. */
  readonly local: SocketAddress | undefined;
  /** Where the mesh reaches it; port 0: any free one. */
  readonly listen: SocketAddress;
  /** What the catalog is told instead of `listen`. */
  readonly advertise: SocketAddress | undefined;
  /** Local addresses at which the application reaches its upstreams. */
  readonly upstreams: readonly { readonly service: string; readonly address: SocketAddress }[];
  /** Where the application calls any service of the mesh, by Host or as through an HTTP proxy; loopback only. */
  readonly httpProxyAddr?: SocketAddress | undefined;
  /** The application is this process: it calls by `Sidecar.serveNamed`, and is called so, if at all. */
  readonly inProcess?: InProcessApplication;
  /** Listens at the addresses of `<service>.mesh` for all services; of one service in a process. */
  readonly meshListeners?: boolean;
  /** Where the application gets its SVIDs itself (SPIFFE Workload API, Envoy's SDS). */
  readonly workloadApiSocket?: WorkloadSocket | undefined;
}

/** A whole edge proxy process: one host's or pod's services. */
export interface EdgeProxyConfig {
  readonly sidecars: readonly SidecarConfig[];
  readonly catalogUrl: string;
  readonly identityUrl: string | readonly string[];
  readonly joinTokenFile: string | undefined;
  /** How the node joins without a join token. */
  readonly attestBy?: NodeEvidence | undefined;
  readonly caFile: string | undefined;
  readonly caPin: string | undefined;
  readonly nodeName: string;
  /** False: redirects, splits, failover and mirrors lead to no other service than the upstream. */
  readonly rerouted?: boolean;
  /** Where this host is: told to the catalog, and what is near is measured from. */
  readonly locality?: Locality | undefined;
  /** Node key, SVIDs, views; undefined: memory only. */
  readonly dataDir: string | undefined;
  /** A local copy of the catalog that was confirmed longer ago is not used at the start. */
  readonly maxCacheAgeMs: number;
  readonly adminAddr: SocketAddress;
  readonly agentAddr: SocketAddress | undefined;
  /** DNS for this host; undefined: none. */
  readonly dns?: DnsConfig | undefined;
  readonly checkIntervalMs: number;
  /** Clients that have the agent's token may register checks that run programs of this host. */
  readonly enableLocalScriptChecks?: boolean;
  readonly svidTtlMs: number | undefined;
  /** Of the SVIDs. */
  readonly keyType?: KeyType;
  readonly accessLog: AccessLogMode;
  /** Per listener. */
  readonly maxConnections: number;
  /** The oldest version that callers may speak; absent: 1.3. */
  readonly tlsMinVersion?: TlsVersion;
}
