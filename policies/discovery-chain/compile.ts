import { isHashBased } from '../config-entries/load-balancer.ts';
import { type ProxyDefaults, protocolOfAll } from '../config-entries/proxy-defaults.ts';
import type { ServiceDefaults } from '../config-entries/service-defaults.ts';
import type { ServiceResolver } from '../config-entries/service-resolver.ts';
import type { ServiceRouter } from '../config-entries/service-router.ts';
import type { ServiceSplitter } from '../config-entries/service-splitter.ts';
import { formatGoDuration, parseGoDuration } from '../consul/go-duration.ts';
import { ChainFlaw } from './chain-flaw.ts';
import {
  type ChainNode,
  type ChainTarget,
  type CompiledChain,
  catchAllRoute,
  type ResolverNode,
  type SplitterNode,
  type TargetChoice,
  targetOf,
} from './compiled-chain.ts';
import { flattenSplitters, refuseCycles, withoutUnused } from './graph.ts';

/** The entries that chains are made of. */
export interface ChainEntries {
  router(service: string): ServiceRouter | undefined;
  splitter(service: string): ServiceSplitter | undefined;
  resolver(service: string): ServiceResolver | undefined;
  defaults(service: string): ServiceDefaults | undefined;
  proxyDefaults(): ProxyDefaults | undefined;
}

/** Which chain. */
export interface ChainRequest {
  readonly service: string;
  readonly datacenter: string;
  readonly trustDomain: string;
  /** Instead of the one compiled. tcp leaves routers and splitters out. */
  readonly overrideProtocol?: string | undefined;
  readonly overrideConnectTimeoutNs?: number | undefined;
  readonly overrideMeshGateway?: string | undefined;
}

const defaultConnectTimeoutNs = 5e9;

/**
 * Compiles the chain of a service, as Consul's discoverychain.Compile: redirects followed, default subsets filled in, splitters that lead to splitters
 * made one, what nothing leads to left out. Written from Consul's documentation and wire format.
 *
 * @throws ChainFlaw
 */
export function compileChain(request: ChainRequest, entries: ChainEntries): CompiledChain {
  return new Compiler(request, entries).compile();
}

/** What a redirect or a failover says instead. */
type Rewrite = { readonly [Field in keyof TargetChoice]?: TargetChoice[Field] | undefined };

/** HTTP and what is built on it: what can be routed and split. */
function isHttp(protocol: string): boolean {
  return protocol === 'http' || protocol === 'http2' || protocol === 'grpc';
}

class Compiler {
  readonly #request: ChainRequest;
  readonly #entries: ChainEntries;
  readonly #nodes = new Map<string, ChainNode>();
  readonly #targets = new Map<string, ChainTarget>();
  readonly #retained = new Set<string>();
  readonly #customized = new Map<string, unknown>();
  /** Routers and splitters are left out. */
  readonly #plain: boolean;
  #advanced = false;
  #protocol: string | undefined;

  constructor(request: ChainRequest, entries: ChainEntries) {
    this.#request = request;
    this.#entries = entries;
    this.#plain = request.overrideProtocol !== undefined && !isHttp(request.overrideProtocol);
  }

  compile(): CompiledChain {
    const { service, datacenter, overrideProtocol } = this.#request;
    const start = this.#start();
    refuseCycles(this.#nodes, start);
    flattenSplitters(this.#nodes);
    const nodes = withoutUnused(this.#nodes, start);
    const compiled = this.#protocol ?? 'tcp';
    if (this.#advanced && !isHttp(compiled)) {
      throw new ChainFlaw(
        `discovery chain ${JSON.stringify(service)} uses a protocol ${JSON.stringify(compiled)} that does not permit advanced routing or splitting behavior`,
      );
    }
    const protocol = overrideProtocol ?? compiled;
    if (protocol !== compiled) this.#customized.set('protocol', protocol);
    const own = this.#entries.defaults(service);
    const extensions = [...(this.#entries.proxyDefaults()?.EnvoyExtensions ?? []), ...(own?.EnvoyExtensions ?? [])];
    return {
      ServiceName: service,
      Namespace: 'default',
      Partition: 'default',
      Datacenter: datacenter,
      ...(this.#customized.size === 0 ? {} : { CustomizationHash: shortHash(JSON.stringify([...this.#customized])) }),
      ...(this.#isDefault(start) ? { Default: true } : {}),
      Protocol: protocol,
      ...(own?.Meta === undefined ? {} : { ServiceMeta: own.Meta }),
      ...(extensions.length === 0 ? {} : { EnvoyExtensions: extensions }),
      StartNode: start,
      Nodes: Object.fromEntries(nodes),
      Targets: Object.fromEntries([...this.#targets].filter(([id]) => this.#retained.has(id))),
    };
  }

  #start(): string {
    const { service } = this.#request;
    const router = this.#unlessPlain(this.#entries.router(service));
    if (router === undefined) return this.#splitterOrResolver(service);
    this.#advanced = true;
    this.#meet(service);
    const routes = (router.Routes ?? []).map((route) => {
      const { Service = service, ServiceSubset } = route.Destination ?? {};
      const next =
        ServiceSubset === undefined
          ? this.#splitterOrResolver(Service)
          : this.#resolve(this.#target({ Service, ServiceSubset }), 'for itself');
      return { Definition: route, NextNode: next };
    });
    routes.push({ Definition: catchAllRoute(service), NextNode: this.#splitterOrResolver(service) });
    return this.#record({ Type: 'router', Name: `${service}.default.default`, Routes: routes });
  }

  #splitterOrResolver(service: string): string {
    return this.#splitter(service) ?? this.#resolve(this.#target({ Service: service }), 'for itself');
  }

  #splitter(service: string): string | undefined {
    const name = `${service}.default.default`;
    if (this.#nodes.has(`splitter:${name}`)) return `splitter:${name}`;
    const splitter = this.#unlessPlain(this.#entries.splitter(service));
    if (splitter === undefined) return undefined;
    this.#advanced = true;
    const node: SplitterNode = { Type: 'splitter', Name: name, Splits: [] };
    const key = this.#record(node); // before what it leads to, so that a circle ends here
    node.Splits = (splitter.Splits ?? []).map((split) => {
      const { Service = service, ServiceSubset, Weight } = split;
      const further = Service !== service && ServiceSubset === undefined ? this.#splitter(Service) : undefined;
      const next = further ?? this.#resolve(this.#target({ Service, ServiceSubset }), 'for itself');
      const leaf = this.#nodes.get(next);
      // The request is hashed once for all splits: by the first of them that says how.
      if (further === undefined && leaf?.Type === 'resolver' && leaf.LoadBalancer && isHashBased(leaf.LoadBalancer)) {
        node.LoadBalancer ??= leaf.LoadBalancer;
      }
      return { Definition: split, ...(Weight === 0 ? {} : { Weight }), NextNode: next };
    });
    return key;
  }

  /**
   * Follows redirects and default subsets to what answers in the end.
   * @returns the key of its node; when it is for a failover, the id of its target, and there is no node
   */
  #resolve(asked: ChainTarget, use: 'for itself' | 'for failover'): string {
    const history: string[] = [];
    for (let target = asked; ; ) {
      if (use === 'for itself' && this.#nodes.has(`resolver:${target.ID}`)) return `resolver:${target.ID}`;
      if (target.Peer === undefined) this.#meet(target.Service);
      const resolver = this.#entries.resolver(target.Service);
      if (history.includes(target.ID)) {
        throw new ChainFlaw(`detected circular resolver redirect: [${[...history, target.ID].join(' -> ')}]`);
      }
      history.push(target.ID);
      const redirected = resolver?.Redirect === undefined ? target : this.#rewritten(target, resolver.Redirect);
      if (redirected.ID !== target.ID) {
        target = redirected;
        continue;
      }
      if (target.ServiceSubset === undefined && resolver?.DefaultSubset !== undefined) {
        target = this.#rewritten(target, { ServiceSubset: resolver.DefaultSubset, Peer: target.Peer });
        continue;
      }
      return this.#settle(target, resolver, use);
    }
  }

  #settle(target: ChainTarget, resolver: ServiceResolver | undefined, use: 'for itself' | 'for failover'): string {
    const { ServiceSubset: subset } = target;
    if (subset !== undefined && !Object.hasOwn(resolver?.Subsets ?? {}, subset)) {
      throw new ChainFlaw(
        `service ${JSON.stringify(target.Service)} does not have a subset named ${JSON.stringify(subset)}`,
      );
    }
    const ConnectTimeout = this.#connectTimeout(resolver);
    target.ConnectTimeout = ConnectTimeout;
    if (subset !== undefined) target.Subset = resolver?.Subsets?.[subset] ?? {};
    this.#applyDefaults(target, resolver);
    this.#retained.add(target.ID);
    if (use === 'for failover') return target.ID;
    const requestNs = parseGoDuration(resolver?.RequestTimeout ?? '0s') ?? 0;
    const node: ResolverNode = {
      Type: 'resolver',
      Name: target.ID,
      Resolver: {
        ...(saysNothing(resolver) ? { Default: true } : {}),
        ConnectTimeout,
        ...(requestNs === 0 ? {} : { RequestTimeout: requestNs }),
        Target: target.ID,
      },
      ...(resolver?.LoadBalancer === undefined ? {} : { LoadBalancer: resolver.LoadBalancer }),
    };
    const key = this.#record(node);
    const failover = this.#failover(target, resolver);
    if (failover !== undefined) node.Resolver.Failover = failover;
    return key;
  }

  #failover(target: ChainTarget, resolver: ServiceResolver | undefined): ResolverNode['Resolver']['Failover'] {
    const { Failover = {} } = resolver ?? {};
    const bySubset = Object.hasOwn(Failover, target.ServiceSubset ?? '')
      ? Failover[target.ServiceSubset ?? '']
      : undefined;
    const failover = bySubset ?? Failover['*'];
    if (failover === undefined) return undefined;
    const { Service, ServiceSubset, Datacenters, Targets, Policy } = failover;
    const choices = Datacenters?.map((Datacenter) => ({ Service, ServiceSubset, Datacenter })) ??
      Targets ?? [{ Service, ServiceSubset }];
    const others = choices.map((choice) => this.#rewritten(target, choice)).filter(({ ID }) => ID !== target.ID);
    if (others.length === 0) return undefined; // nobody fails over to itself
    const policy = Policy?.Mode === undefined ? this.#entries.proxyDefaults()?.FailoverPolicy : Policy;
    return {
      Targets: others.map((other) => this.#resolve(other, 'for failover')),
      ...(policy === undefined ? {} : { Policy: policy }),
    };
  }

  /** What service-defaults and proxy-defaults say of a target. */
  #applyDefaults(target: ChainTarget, resolver: ServiceResolver | undefined): void {
    const own = this.#entries.defaults(target.Service);
    if (own?.ExternalSNI !== undefined) {
      target.SNI = own.ExternalSNI;
      target.External = true;
      for (const [field, what] of [
        ['Redirect', 'redirects'],
        ['Subsets', 'subsets'],
        ['Failover', 'failover'],
      ] as const) {
        if (resolver?.[field] === undefined) continue;
        throw new ChainFlaw(
          `service ${JSON.stringify(target.Service)} has an external SNI set; cannot define ${what} for external services`,
        );
      }
      return;
    }
    const all = this.#entries.proxyDefaults();
    const mode = own?.MeshGateway?.Mode ?? all?.MeshGateway?.Mode;
    const { overrideMeshGateway: override } = this.#request;
    if (override !== undefined && override !== mode) this.#customized.set('mesh gateway', override);
    const gateway = override ?? mode;
    target.MeshGateway = gateway === undefined ? {} : { Mode: gateway };
    const direct = own?.TransparentProxy?.DialedDirectly ?? all?.TransparentProxy?.DialedDirectly;
    target.TransparentProxy = direct === undefined ? {} : { DialedDirectly: direct };
  }

  #connectTimeout(resolver: ServiceResolver | undefined): string {
    const said = parseGoDuration(resolver?.ConnectTimeout ?? '0s') ?? 0;
    const own = said < 1 ? defaultConnectTimeoutNs : said;
    const { overrideConnectTimeoutNs: override = 0 } = this.#request;
    if (override <= 0 || override === own) return formatGoDuration(own);
    this.#customized.set('connect timeout', override);
    return formatGoDuration(override);
  }

  /** All services of a chain speak one protocol. */
  #meet(service: string): void {
    const protocol = this.#entries.defaults(service)?.Protocol || protocolOfAll(this.#entries.proxyDefaults()) || 'tcp';
    this.#protocol ??= protocol;
    if (this.#protocol === protocol) return;
    throw new ChainFlaw(
      `discovery chain ${JSON.stringify(this.#request.service)} uses inconsistent protocols; service ${JSON.stringify(service)} has ${JSON.stringify(protocol)} which is not ${JSON.stringify(this.#protocol)}`,
    );
  }

  #target(choice: TargetChoice): ChainTarget {
    const made = targetOf(choice, this.#request.datacenter, this.#request.trustDomain);
    const known = this.#targets.get(made.ID);
    if (known !== undefined) return known;
    this.#targets.set(made.ID, made);
    return made;
  }

  /** A target with what a redirect or failover says instead; another service's subset is not its own. */
  #rewritten(target: ChainTarget, to: Rewrite): ChainTarget {
    const Service = to.Service ?? target.Service;
    const subset = Service === target.Service ? target.ServiceSubset : undefined;
    return this.#target({
      Service,
      ServiceSubset: to.ServiceSubset ?? subset,
      Datacenter: to.Datacenter ?? target.Datacenter,
      Peer: to.Peer,
    });
  }

  #unlessPlain<T>(entry: T | undefined): T | undefined {
    if (entry === undefined || !this.#plain) return entry;
    this.#customized.set('protocol', this.#request.overrideProtocol);
    return undefined;
  }

  #record(node: ChainNode): string {
    const key = `${node.Type}:${node.Name}`;
    this.#nodes.set(key, node);
    return key;
  }

  #isDefault(start: string): boolean {
    const node = this.#nodes.get(start);
    if (node?.Type !== 'resolver' || node.Resolver.Default !== true) return false;
    return this.#targets.get(node.Resolver.Target)?.Service === this.#request.service;
  }
}

function saysNothing(resolver: ServiceResolver | undefined): boolean {
  if (resolver === undefined) return true;
  const { Kind: _, Name: __, Meta: ___, PrioritizeByLocality: ____, ...said } = resolver;
  return Object.keys(said).length === 0;
}

/** FNV-1a: a mark to tell chains apart, no more. */
function shortHash(text: string): string {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}
