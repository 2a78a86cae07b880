import type { KeptEntry } from '#policies/config-entries/config-entry.ts';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { ChainFlaw } from '#policies/discovery-chain/chain-flaw.ts';
import { type ChainEntries, compileChain } from '#policies/discovery-chain/compile.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import type { ConfigKind } from '../state/config-entries.ts';
import type { Topic } from '../state/topics.ts';

/** Kinds that chains are compiled from. */
const chainKinds = [
  'service-router',
  'service-splitter',
  'service-resolver',
  'service-defaults',
  'proxy-defaults',
] as const;
type ChainKind = (typeof chainKinds)[number];

/** The end of an entry, or a new one. */
export type EntryChange =
  | { readonly put: KeptEntry }
  | { readonly end: { readonly kind: ConfigKind; readonly name: string } };

/** The entries of the catalog as chains are compiled from them. @param consulted is told of each that is asked for, there or not */
export function chainEntriesOf(
  state: CatalogState,
  consulted: (kind: ChainKind, name: string) => void = () => undefined,
): ChainEntries {
  const get = <Kind extends ChainKind>(kind: Kind, name: string) => {
    consulted(kind, name);
    return state.config.get(kind, name)?.record;
  };
  return {
    router: (service) => get('service-router', service),
    splitter: (service) => get('service-splitter', service),
    resolver: (service) => get('service-resolver', service),
    defaults: (service) => get('service-defaults', service),
    proxyDefaults: () => get('proxy-defaults', 'global'),
  };
}

/** What a chain depends on now: whatever changes it touches one of these. */
export function chainTopics(state: CatalogState, service: string): Topic[] {
  const topics = new Set<Topic>();
  const entries = chainEntriesOf(state, (kind, name) => topics.add(`entry/${kind}/${name}`));
  flawOf(service, entries);
  return [...topics];
}

/**
 * Refuses a change after which a chain could not be compiled that can be now: a splitter of a service that is tcp, the end of a resolver whose subset
 * is routed to. (Two such changes at one moment may both pass; then reading the chain says what is wrong.)
 *
 * @throws ConsulError 400 in Consul's words
 */
export function refuseBrokenChains(state: CatalogState, change: EntryChange): void {
  const { kind, name } = 'put' in change ? { kind: change.put.Kind, name: change.put.Name } : change.end;
  if (!chainKinds.some((one) => one === kind)) return;
  const now = chainEntriesOf(state);
  const then = changed(now, kind, name, 'put' in change ? change.put : undefined);
  const named = (['service-router', 'service-splitter', 'service-resolver'] as const).flatMap((one) =>
    state.config.list(one).map(({ record }) => record.Name),
  );
  for (const service of new Set([name, ...named])) {
    const flaw = flawOf(service, then);
    if (flaw !== undefined && flawOf(service, now) === undefined) throw new ConsulError(400, flaw);
  }
}

function changed(entries: ChainEntries, kind: ConfigKind, name: string, entry: KeptEntry | undefined): ChainEntries {
  /** The entry as it will be, if it is the one that changes. */
  const of = <Kind extends ChainKind, Found>(one: Kind, service: string, found: Found) =>
    one !== kind || service !== name ? found : (entry as Found);
  return {
    router: (service) => of('service-router', service, entries.router(service)),
    splitter: (service) => of('service-splitter', service, entries.splitter(service)),
    resolver: (service) => of('service-resolver', service, entries.resolver(service)),
    defaults: (service) => of('service-defaults', service, entries.defaults(service)),
    proxyDefaults: () => of('proxy-defaults', 'global', entries.proxyDefaults()),
  };
}

/** Why the chain can't be compiled; it does not depend on where. */
function flawOf(service: string, entries: ChainEntries): string | undefined {
  try {
    compileChain({ service, datacenter: 'dc', trustDomain: 'mesh' }, entries);
    return undefined;
  } catch (error) {
    if (!(error instanceof ChainFlaw)) throw error;
    return error.message;
  }
}
