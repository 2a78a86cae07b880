import type { Metrics } from '#runtime/metrics.ts';
import type { IdentityAudit } from './audit-events.ts';
import type { CaBackend } from './ca-backend.ts';
import { type SeenRole, seenRoles } from './processes/process-record.ts';
import type { ServiceHealth } from './status/service-health.ts';

/** Registers what is read at each scrape: whether the CA can sign, what ends when, how long the mesh can do without. */
export function registerIdentityMetrics(
  metrics: Metrics,
  { backend, health, audit }: { backend: CaBackend; health: ServiceHealth; audit: IdentityAudit },
): void {
  const seconds = (ms: number | undefined) => (ms === undefined ? [] : [[{}, ms / 1_000] as const]);
  metrics.gauge('selvedge_identity_backend_healthy', '1 when the CA can sign, as far as is known.', ['backend'], () => [
    [{ backend: backend.kind }, backend.health.state === 'healthy' ? 1 : 0],
  ]);
  metrics.gauge(
    'selvedge_identity_not_after_seconds',
    'End of life of a certificate, Unix seconds.',
    ['certificate'],
    () => health.endings.map(({ what, endMs }) => [{ certificate: what }, endMs / 1_000] as const),
  );
  metrics.gauge('selvedge_identity_earliest_expiry_seconds', 'The first of those ends, Unix seconds.', [], () =>
    seconds(health.earliestEndMs),
  );
  metrics.gauge(
    'selvedge_identity_time_to_outage_seconds',
    'Until the first SVID runs out that can not be renewed: if the CA failed now, or since it did.',
    [],
    () => seconds(health.outage.timeToOutageMs),
  );
  metrics.gauge(
    'selvedge_identity_audit_log_writable',
    '1 while the audit log can be written; at 0 nothing is issued.',
    [],
    () => [[{}, audit.failure === undefined ? 1 : 0]],
  );
  metrics.gauge('selvedge_identity_outage_budget_seconds', 'What that is at the least while all is well.', [], () =>
    seconds(health.outage.budgetMs),
  );
  metrics.gauge('selvedge_identity_svids_issued_last_minute', 'SVIDs issued in the last minute.', [], () => [
    [{}, health.issuedLastMinute],
  ]);
  metrics.gauge(
    'selvedge_identity_ca_token_seconds',
    'Until the token for the CA ends, unless it is renewed.',
    [],
    () => seconds(health.tokenLeftMs),
  );
  const { roll } = health;
  if (roll === undefined) return;
  const ofRole = (is: (seen: { role: SeenRole; isSelf: boolean }) => boolean) => () => {
    const { processes } = roll.current ?? {};
    return processes === undefined
      ? []
      : seenRoles.map((role) => [{ role }, processes.filter((seen) => seen.role === role && is(seen)).length] as const);
  };
  metrics.gauge(
    'selvedge_identity_processes',
    'Processes that share the store, this one among them; none of these while the store can not be asked.',
    ['role'],
    ofRole(() => true),
  );
  metrics.gauge(
    'selvedge_identity_process_role',
    '1 for what this process is.',
    ['role'],
    ofRole(({ isSelf }) => isSelf),
  );
}
