import type { ErrorCode } from '#policies/errors/catalogue.ts';
import type { CounterCell, Metrics } from '#runtime/metrics.ts';
import type { CaBackend, CaBackendKind } from './ca-backend.ts';

/** What was issued and refused since the start; also metrics. */
export interface IssueCounts {
  issued(): void;
  refused(code: ErrorCode): void;
  readonly totals: { readonly issued: number; readonly refused: number };
}

/** Counters `selvedge_identity_svids_issued_total` and `selvedge_identity_refused_total` (by code of the catalogue: bounded). */
export function issueCounts(metrics: Metrics, backend: CaBackend): IssueCounts {
  const issuedBy = metrics.counter('selvedge_identity_svids_issued_total', 'SVIDs issued.', ['backend']);
  const issuedCells = new Map<CaBackendKind, CounterCell>();
  let issued = 0;
  const refusedBy = metrics.counter('selvedge_identity_refused_total', 'Requests refused, by error code.', ['code']);
  const cells = new Map<ErrorCode, CounterCell>();
  let refused = 0;
  return {
    issued() {
      const { kind } = backend; // another CA may have taken over
      const cell = issuedCells.get(kind) ?? issuedBy.cell({ backend: kind });
      issuedCells.set(kind, cell);
      cell.value += 1;
      issued += 1;
    },
    refused(code) {
      const cell = cells.get(code) ?? refusedBy.cell({ code });
      cells.set(code, cell);
      cell.value += 1;
      refused += 1;
    },
    get totals() {
      return { issued, refused };
    },
  };
}
