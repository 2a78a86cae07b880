import { parseSpiffeId } from '#policies/spiffe-id.ts';
import type { FeedEndpoint } from '#policies/wire/feed.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { MeshIdentity } from '#runtime/svid/mesh-identity.ts';
import type { SvidSource } from '#runtime/svid/svid.ts';
import type { TargetView } from '../view/service-view.ts';
import { endpointDialer } from './dial.ts';
import { Endpoint } from './endpoint.ts';
import { endpointFlaw } from './endpoint-flaw.ts';
import { EndpointTunnels } from './endpoint-tunnels.ts';

/** What the endpoints of one upstream need of the world. */
export interface EndpointPoolOptions {
  /** The upstream. */
  readonly name: string;
  readonly svid: SvidSource;
  readonly identity: MeshIdentity;
  readonly process: ProcessContext;
  /** Whether calls may be answered by other services than the upstream's own, as the catalog says. */
  readonly rerouted: boolean;
}

/**
 * The endpoints of one upstream, each once however many targets hold it: an instance has one set of tunnels, whether it is called as one of all or of a subset.
 * Those of services that have the upstream's identity are kept through changes of the catalog; what is gone is closed.
 */
export class EndpointPool {
  readonly #options: EndpointPoolOptions;
  /** By service and id. */
  #endpoints = new Map<string, Endpoint>();
  #next = new Map<string, Endpoint>();
  #all: readonly Endpoint[] = [];

  constructor(options: EndpointPoolOptions) {
    this.#options = options;
  }

  get all(): readonly Endpoint[] {
    return this.#all;
  }

  /** Between this and `end`, `of` says which endpoints there are. */
  begin(): void {
    this.#next = new Map();
  }

  /** The endpoints of a target that may be called, as the catalog has them now. */
  of({ service, endpoints, resilience }: TargetView): Endpoint[] {
    return endpoints.flatMap((entry) => {
      const key = `${service}\n${entry.id}`;
      const taken = this.#next.get(key);
      if (taken?.isAt(entry) === true) return [taken];
      const { name, identity, process, rerouted } = this.#options;
      const own = rerouted || service === name;
      const flaw = own
        ? endpointFlaw(entry, service, identity.trustDomain)
        : `${service} is not ${name}: --reroute is off`;
      if (flaw !== undefined) {
        process.log.error({ upstream: name, endpoint: entry.id, flaw }, 'instance of the catalog not called');
        return [];
      }
      const known = this.#endpoints.get(key);
      const endpoint = known?.isAt(entry) === true ? known : this.#make(service, entry);
      endpoint.status = entry.status;
      endpoint.weight = entry.weight;
      endpoint.connectTimeoutMs = resilience.connectTimeoutMs;
      this.#next.set(key, endpoint);
      return [endpoint];
    });
  }

  /** What was not asked for since `begin` is closed. */
  end(): void {
    const kept = new Set(this.#next.values());
    for (const endpoint of this.#endpoints.values()) if (!kept.has(endpoint)) endpoint.close();
    this.#endpoints = this.#next;
    this.#all = [...kept];
  }

  /** Closes all. */
  close(): void {
    this.begin();
    this.end();
  }

  #make(service: string, entry: FeedEndpoint): Endpoint {
    const { svid, identity, process } = this.#options;
    const endpoint: Endpoint = new Endpoint(
      entry,
      (onRetire) =>
        new EndpointTunnels({
          authority: `${service}.${identity.datacenter}.${identity.trustDomain}:${entry.port}`,
          dial: endpointDialer({
            target: { host: entry.address, port: entry.port, expect: parseSpiffeId(entry.spiffeId) },
            svid,
            trust: identity.trust,
            process,
            onVerified: (peer) => {
              endpoint.verified = peer.spiffeId;
            },
          }),
          clock: process.clock,
          log: process.log,
          onRetire,
        }),
    );
    return endpoint;
  }
}
