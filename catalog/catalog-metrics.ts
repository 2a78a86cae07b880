import { DnsMetrics } from '#runtime/dns/dns-metrics.ts';
import { type CounterCell, createMetrics, type Metrics } from '#runtime/metrics.ts';
import type { FeedHub } from './feed/feed-hub.ts';
import type { KeyFetcher } from './jwt/key-fetcher.ts';
import type { CatalogParts } from './parts.ts';

/** What requests are counted under: never a name that came from outside. */
const areas = ['catalog', 'health', 'connect', 'config', 'kv', 'txn', 'agent', 'status', 'mesh'] as const;

/** Prometheus metrics of a catalog. */
export class CatalogMetrics {
  readonly #metrics: Metrics = createMetrics();
  readonly #requests = this.#metrics.counter('selvedge_catalog_requests_total', 'Requests answered.', [
    'area',
    'class',
  ]);
  /** Counts of the DNS server. */
  readonly dns = new DnsMetrics(this.#metrics, {
    queries: 'selvedge_catalog_dns_queries_total',
    seconds: 'selvedge_catalog_dns_seconds',
  });

  constructor(parts: CatalogParts, hub: FeedHub, keyFetcher: KeyFetcher) {
    const { state } = parts;
    const gauge = (name: string, help: string, read: () => number): void =>
      this.#metrics.gauge(`selvedge_catalog_${name}`, help, [], () => [[{}, read()]]);
    gauge('revision', 'Store revision that the state holds.', () => state.revision);
    gauge('following', '1 while the state follows the store.', () => Number(parts.follower.current));
    gauge('nodes', 'Nodes registered.', () => state.nodes.size);
    gauge('instances', 'Instances registered.', () => state.services.size);
    gauge('checks', 'Checks registered.', () => state.checks.size);
    gauge('intentions', 'Intentions written.', () => state.intentions.size);
    gauge('blocking_queries', 'Reads that wait for a change.', () => state.topics.waiting);
    gauge('feeds', 'Feeds of proxies that are open.', () => hub.size);
    this.#metrics.gauge(
      'selvedge_catalog_jwks_age_seconds',
      'Since the issuer of a remote jwt-provider last confirmed its keys to this catalog; absent until it does.',
      ['provider'],
      () =>
        state.config.list('jwt-provider').flatMap(({ record: { Name } }) => {
          const confirmedAtMs = keyFetcher.stateOf(Name)?.confirmedAtMs;
          if (confirmedAtMs === undefined) return [];
          return [[{ provider: Name }, (parts.context.clock() - confirmedAtMs) / 1_000] as const];
        }),
    );
    this.#metrics.gauge('selvedge_catalog_default_allow', '1 where no intention means allow.', [], () => [
      [{}, Number(parts.defaultAction === 'allow')],
    ]);
  }

  /** Counts one answer. */
  answered(path: string, status: number): void {
    const area = areas.find((name) => path.startsWith(`/v1/${name}/`) || path === `/v1/${name}`) ?? 'other';
    const cell: CounterCell = this.#requests.cell({ area, class: `${Math.floor(status / 100)}xx` });
    cell.value += 1;
  }

  exposition(): Promise<{ contentType: string; text: string }> {
    return this.#metrics.exposition();
  }
}
