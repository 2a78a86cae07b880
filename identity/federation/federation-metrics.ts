import type { TrustDomain } from '#policies/spiffe-id.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Metrics } from '#runtime/metrics.ts';
import type { Failure } from './federation.ts';
import type { Relationship } from './relationship.ts';

/** What is read of a federation at each scrape. */
export interface ObservedFederation {
  readonly relationships: { readonly list: readonly Relationship[] };
  failureOf(trustDomain: TrustDomain): Failure | undefined;
}

/** Registers how the bundles of other trust domains are. The label `trust_domain` is an operator's word: there are as many as relationships. */
export function registerFederationMetrics(metrics: Metrics, federation: ObservedFederation, clock: Clock): void {
  const gauge = (name: string, help: string, read: (relationship: Relationship) => number | undefined): void =>
    metrics.gauge(name, help, ['trust_domain'], () =>
      federation.relationships.list.flatMap((relationship) => {
        const value = read(relationship);
        return value === undefined ? [] : [[{ trust_domain: relationship.trustDomain }, value] as const];
      }),
    );
  gauge(
    'selvedge_identity_federation_last_fetch_seconds',
    'When their bundle was last fetched, Unix seconds.',
    ({ held }) => (held.kind === 'fetched' ? held.fetchedAtMs / 1_000 : undefined),
  );
  gauge('selvedge_identity_federation_bundle_sequence', 'Sequence of their bundle, 0 where it has none.', ({ held }) =>
    held.kind === 'none' ? undefined : held.bundle.sequence,
  );
  gauge(
    'selvedge_identity_federation_bundle_age_seconds',
    'Since their bundle was fetched, or configured where it never was.',
    ({ held, createdAtMs }) => {
      if (held.kind === 'none') return undefined;
      const sinceMs = held.kind === 'fetched' ? held.fetchedAtMs : createdAtMs;
      return Math.max(0, clock() - sinceMs) / 1_000;
    },
  );
  gauge('selvedge_identity_federation_failing', '1 when the last fetch failed.', ({ trustDomain }) =>
    federation.failureOf(trustDomain) === undefined ? 0 : 1,
  );
}
