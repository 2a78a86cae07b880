import type { ErrorCode } from '#policies/errors/catalogue.ts';
import type { CounterCell, Metrics } from '#runtime/metrics.ts';
import type { IssueCounts } from '../issue-counts.ts';

/** JWT-SVIDs issued and refused since the start. */
export interface JwtCounts {
  issued(): void;
  refused(code: ErrorCode): void;
}

/**
 * Counters `selvedge_identity_jwt_svids_issued_total` and `selvedge_identity_jwt_svids_refused_total` (by code of the catalogue: bounded).
 * @param all a refusal counts there as well
 */
export function jwtCounts(metrics: Metrics, all: Pick<IssueCounts, 'refused'>): JwtCounts {
  const issued = metrics.counter('selvedge_identity_jwt_svids_issued_total', 'JWT-SVIDs issued.', []).cell({});
  const name = 'selvedge_identity_jwt_svids_refused_total';
  const refusedBy = metrics.counter(name, 'Requests for JWT-SVIDs refused, by error code.', ['code']);
  const cells = new Map<ErrorCode, CounterCell>();
  return {
    issued() {
      issued.value += 1;
    },
    refused(code) {
      const cell = cells.get(code) ?? refusedBy.cell({ code });
      cells.set(code, cell);
      cell.value += 1;
      all.refused(code);
    },
  };
}
