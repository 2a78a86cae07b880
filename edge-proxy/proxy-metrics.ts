import type { Clock } from '#runtime/clock.ts';
import type { Metrics } from '#runtime/metrics.ts';
import type { Sidecar } from './sidecar.ts';

const breakerStates = { closed: 0, 'half-open': 1, open: 2 } as const;

/** Gauges read at the scrape: certificates, the local copy of the catalog, breakers. Label values are names of the configuration and of the catalog. */
export function proxyMetrics(subject: { metrics: Metrics; sidecars: readonly Sidecar[]; clock: Clock }): void {
  const { metrics, sidecars, clock } = subject;
  metrics.gauge('selvedge_svid_expiry_timestamp_seconds', 'End of the SVID in use; 0 without one', ['service'], () =>
    sidecars.map(({ config, svid }) => [{ service: config.service }, (svid.current?.notAfterMs ?? 0) / 1_000] as const),
  );
  metrics.gauge('selvedge_policy_revision', 'Catalog revision of the local copy', ['service'], () =>
    sidecars.map(({ config, view }) => [{ service: config.service }, view.revision] as const),
  );
  metrics.gauge(
    'selvedge_policy_age_seconds',
    'Since the catalog last confirmed the local copy; -1: never',
    ['service'],
    () =>
      sidecars.map(
        ({ config, view }) =>
          [
            { service: config.service },
            view.confirmedAtMs === 0 ? -1 : (clock() - view.confirmedAtMs) / 1_000,
          ] as const,
      ),
  );
  metrics.gauge('selvedge_feed_live', '1 while the catalog feed is connected', ['service'], () =>
    sidecars.map(({ config, feed }) => [{ service: config.service }, feed.state.kind === 'live' ? 1 : 0] as const),
  );
  metrics.gauge(
    'selvedge_breakers_forced',
    'Breakers, or targets whole, that an operator holds open or closed',
    ['service', 'state'],
    () =>
      sidecars.flatMap(({ config, forcedBreakers }) =>
        (['open', 'closed'] as const).map((state) => {
          const held = forcedBreakers.all.filter((one) => one.state === state);
          return [{ service: config.service, state }, held.length] as const;
        }),
      ),
  );
  metrics.gauge(
    'selvedge_breaker_state',
    'Circuit breaker: 0 closed, 1 half-open, 2 open',
    ['service', 'target', 'endpoint'],
    () =>
      sidecars.flatMap(({ config: { service }, targets }) =>
        targets.breakers.map(
          ({ target, endpoint, breaker }) => [{ service, target, endpoint }, breakerStates[breaker.state]] as const,
        ),
      ),
  );
}
