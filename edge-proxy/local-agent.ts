import { join } from 'node:path';
import { parseSpiffeId, serviceIdentityOf, trustDomainOf } from '#policies/spiffe-id.ts';
import type { ServedHttp } from '#runtime/http-server.ts';
import type { Metrics } from '#runtime/metrics.ts';
import { loadOrCreateOperatorToken } from '#runtime/operator-token.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { SocketAddress } from '#runtime/socket-address.ts';
import { IdentityEndpoints } from '#runtime/svid/identity-endpoints.ts';
import type { MeshIdentity } from '#runtime/svid/mesh-identity.ts';
import { type Agent, createAgent } from './agent/agent.ts';
import type { AgentAccess, AgentCa, Authorization } from './agent/agent-options.ts';
import { createCatalogClient } from './agent/catalog-client.ts';
import { CatalogForward } from './agent/catalog-forward.ts';
import type { EdgeProxyConfig } from './configuration.ts';
import { serveAgentDns } from './dns/agent-dns.ts';
import type { Sidecar } from './sidecar.ts';

/** The agent of an edge proxy, with its services registered. */
export interface LocalAgent {
  /** Where it serves /v1/agent, if it does. */
  readonly url: string | undefined;
  /** Where it answers DNS, if it does. */
  readonly dnsAddress: SocketAddress | undefined;
  /** The catalog is back after an absence: compare now. */
  catalogReturned(): void;
  /** A successor takes over with what is kept now; clients may only read until it serves. @returns takes that back */
  stepAside(): Promise<() => void>;
  /** Ends without a word to the catalog: a successor has everything. */
  leave(): Promise<void>;
  /** Deregisters everything. */
  close(): Promise<void>;
}

/**
 * Registers each service of the proxy with its checks, and its `<service>-sidecar-proxy` once that knows who may call; keeps the catalog at that, and serves
 * Consul's /v1/agent where an address is given. Registering needs the catalog but does not wait for it.
 */
export async function startLocalAgent(options: {
  config: EdgeProxyConfig;
  sidecars: readonly Sidecar[];
  identity: MeshIdentity;
  metrics: Metrics;
  context: ProcessContext;
  /** The ports at which applications of this host serve, as they were registered: at the start and when they change. */
  onPorts(ports: ReadonlySet<number>): void;
}): Promise<LocalAgent> {
  const { config, sidecars, identity, metrics, context } = options;
  const first = sidecars[0];
  /** Before, not everything is there: a port would look free that is not. */
  let restored = false;
  const trust = config.catalogUrl.startsWith('https:') ? identity.trust : undefined;
  /** What is registered here and carried by no sidecar is spoken for by the first: the catalog then refuses it by name, and nothing else waits for it. */
  const svidFor = (service?: string) => {
    const speaker = sidecars.find(({ config }) => config.service === service) ?? first;
    return speaker && identity.svid(speaker.config.service).current;
  };
  const svid = () => svidFor();
  const agent = createAgent({
    nodeName: config.nodeName,
    nodeAddress: first?.advertised?.host ?? first?.config.listen.host ?? '127.0.0.1',
    datacenter: identity.datacenter,
    catalog: createCatalogClient({
      url: config.catalogUrl,
      trust,
      svidFor,
      clock: context.clock,
    }),
    authorize: (target, uri) => authorize(sidecars, identity, target, uri),
    // As Consul's agent on loopback: whoever can run a process on this host. Web pages are kept out.
    access: { kind: 'open' },
    metrics,
    forward: new CatalogForward({ url: config.catalogUrl, trust, svid, context }),
    ...(config.agentAddr === undefined ? {} : { ca: agentCa(config, sidecars, identity) }),
    ...(config.dataDir === undefined ? {} : { stateFile: join(config.dataDir, agentStateFile) }),
    ...(config.enableLocalScriptChecks === true ? { scripts: withAgentToken(config) } : {}),
    context,
    signal: new AbortController().signal,
    onServices: () => {
      if (restored) options.onPorts(agent.ports());
    },
  });
  for (const sidecar of sidecars) registerSidecar(agent, sidecar, config);
  await agent.restore();
  restored = true;
  options.onPorts(agent.ports());
  const { agentAddr } = config;
  const served = agentAddr && (await serveAgent(agent, agentAddr, context));
  const { datacenter } = identity;
  const dns =
    config.dns &&
    (await serveAgentDns(config.dns, { catalogUrl: config.catalogUrl, trust, svid, datacenter, metrics, context }));
  return {
    url: served?.url,
    dnsAddress: dns?.address,
    catalogReturned: () => agent.catalogReturned(),
    stepAside: () => agent.stepAside(),
    async leave() {
      await dns?.close();
      await served?.close(1_000);
      await agent.leave();
    },
    async close() {
      await dns?.close();
      await served?.close(1_000);
      await agent.close();
    },
  };
}

/** Loads Hono with the API that needs it. */
async function serveAgent(agent: Agent, { host, port }: SocketAddress, context: ProcessContext): Promise<ServedHttp> {
  const [{ serveHttp }, app] = await Promise.all([import('#runtime/http-service.ts'), agent.app()]);
  return serveHttp({ app, host, port, log: context.log, clock: context.clock, sockets: context.sockets });
}

/** File in the data directory that keeps what clients registered. */
const agentStateFile = 'agent-state.json';

/** Whoever can read the token's file; without a data directory nobody. */
function withAgentToken(config: EdgeProxyConfig): AgentAccess {
  return { kind: 'token', check: loadOrCreateOperatorToken(config.dataDir, agentTokenFile).check };
}

/** File in the data directory whose reader may register script checks and have certificates with their keys from the agent. */
const agentTokenFile = 'agent.token';

/** The SVIDs of the proxy's own services, for whoever has the agent's token; in `dev` for everybody, as from the identity service itself. */
function agentCa(config: EdgeProxyConfig, sidecars: readonly Sidecar[], identity: MeshIdentity): AgentCa {
  return {
    bundle: { current: () => identity.trust.signed, onChange: (listener) => identity.trust.onChange(listener) },
    async svid(service) {
      return sidecars.some((sidecar) => sidecar.config.service === service) ? identity.svid(service) : undefined;
    },
    leafAccess: new IdentityEndpoints(config.identityUrl).isPlain ? { kind: 'open' } : withAgentToken(config),
  };
}

function registerSidecar(agent: Agent, sidecar: Sidecar, config: EdgeProxyConfig): void {
  const { checkIntervalMs, locality } = config;
  const { service, serviceId, local, upstreams, tags = [], meta = {} } = sidecar.config;
  // Of both, as Consul's agent does it: who reads of the proxy sees what it stands before.
  const described = {
    Tags: [...tags],
    Meta: meta,
    ...(locality === undefined ? {} : { Locality: { Region: locality.region, Zone: locality.zone } }),
  };
  const { advertised } = sidecar;
  agent.register({
    ID: serviceId,
    Name: service,
    ...described,
    ...(local === undefined
      ? {}
      : {
          Address: local.host,
          Port: local.port,
          Checks: [
            {
              CheckID: `service:${serviceId}`,
              Name: `${service} takes connections`,
              TCP: `${bracketed(local.host)}:${local.port}`,
              Interval: `${checkIntervalMs}ms`,
              Timeout: '5s',
            },
          ],
        }),
  });
  if (advertised === undefined) return;
  const proxy = {
    Kind: 'connect-proxy',
    ID: `${serviceId}-sidecar-proxy`,
    Name: `${service}-sidecar-proxy`,
    ...described,
    Address: advertised.host,
    Port: advertised.port,
    Proxy: {
      DestinationServiceName: service,
      DestinationServiceID: serviceId,
      ...(local === undefined ? {} : { LocalServiceAddress: local.host, LocalServicePort: local.port }),
      Upstreams: upstreams.map((upstream) => ({
        DestinationType: 'service',
        DestinationName: upstream.service,
        LocalBindAddress: upstream.address.host,
        LocalBindPort: upstream.address.port,
      })),
    },
  };
  // Who finds it calls it. Before it knows who may, it refuses them all, and what is refused goes to no other instance.
  let registered = false;
  const registerOnceKnown = (): void => {
    if (registered || sidecar.view.inbound === undefined) return;
    registered = true;
    agent.register(proxy);
  };
  sidecar.view.onInbound(registerOnceKnown);
  registerOnceKnown();
}

/** Consul's authorize, for the services of this proxy, by the intentions that it enforces itself. */
function authorize(sidecars: readonly Sidecar[], identity: MeshIdentity, target: string, uri: string): Authorization {
  const sidecar = sidecars.find(({ config }) => config.service === target);
  if (sidecar === undefined)
    return { allowed: false, rule: 'none', reason: `${target} is not a service of this proxy` };
  const { inbound } = sidecar.view;
  if (inbound === undefined)
    return { allowed: false, rule: 'none', reason: `the intentions of ${target} are not known yet` };
  const id = parseSpiffeId(uri);
  const source = trustDomainOf(id) === identity.trustDomain ? serviceIdentityOf(id)?.service : undefined;
  const { connection } = inbound.intentions.forSource(source);
  // Consul's answer for L7 intentions too: a connection as a whole is not allowed by rules about requests.
  if (connection === 'per-request')
    return { allowed: false, rule: 'L7', reason: 'Matched L7 intention: each request is judged by the proxy' };
  return connection;
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
