import type { Verdict } from '#policies/intention-decision.ts';
import type { SignedBundleSource } from '#runtime/consul-ca.ts';
import type { Metrics } from '#runtime/metrics.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { SvidSource } from '#runtime/svid/svid.ts';
import type { CatalogClient } from './catalog-client.ts';
import type { CatalogForward } from './catalog-forward.ts';
import type { Timers } from './timers.ts';

/** Whether a client may connect, which rule says so, and why: what a Verdict begins with. */
export type Authorization = Pick<Verdict, 'allowed' | 'rule' | 'reason'>;

/** Who may use the agent's HTTP API: asked on every route, reads too, for they show what runs on this host. */
export type AgentAccess =
  /** Anybody who reaches the address: for `dev`, or where only this host's users do. Web pages are still kept out. */
  | { readonly kind: 'open' }
  /** Whoever has the token (`X-Consul-Token`, `Authorization: Bearer`, `?token=`); `check` compares in constant time. */
  | { readonly kind: 'token'; check(presented: string | undefined): boolean };

/** What the agent shows of the CA and of the SVIDs of this host, over Consul's /v1/agent/connect/ca. */
export interface AgentCa {
  /** The trust bundle as identity signed it, proven when it was taken in. */
  readonly bundle: SignedBundleSource;
  /** The SVIDs of a service of this host; undefined: it is none. */
  svid(service: string): Promise<SvidSource | undefined>;
  /**
   * Who may have a leaf, which comes with its private key (invariant 6): with a token, whoever may read the 0600 file that holds it. `open` in `dev` only, where
   * identity gives everybody everything.
   */
  readonly leafAccess: AgentAccess;
}

export interface AgentOptions {
  readonly nodeName: string;
  /** Address of this host for the mesh: host name or IP. */
  readonly nodeAddress: string;
  readonly datacenter: string;
  readonly catalog: CatalogClient;
  /** May the client with this SPIFFE ID connect to this local service? From the proxy's cached intentions; an error means no. */
  authorize(target: string, clientUri: string): Authorization | Promise<Authorization>;
  readonly access: AgentAccess;
  /** Absent: /v1/agent/connect/ca answers that Connect is not enabled. */
  readonly ca?: AgentCa;
  /** Who may register checks that run programs of this host. Absent: nobody. */
  readonly scripts?: AgentAccess;
  /** File that keeps what clients registered over a restart; absent: memory only. */
  readonly stateFile?: string;
  /** Answers what of /v1 is not the agent's. Absent: it is not known here (`dev`, where the catalog answers at the same address). */
  readonly forward?: CatalogForward;
  /** The ports of the services of this host are others than before. */
  onServices?(): void;
  /** Of the process, shown at /v1/agent/metrics. Absent: it has them elsewhere. */
  readonly metrics?: Metrics;
  readonly context: ProcessContext;
  /** When it aborts, checks and blocked readers end; `close` is still owed. */
  readonly signal: AbortSignal;
  /** Time, for tests. */
  readonly timers?: Timers;
}
