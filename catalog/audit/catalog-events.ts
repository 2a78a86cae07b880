import type { AuditLog } from '#runtime/audit/audit-event.ts';

/** Who did it, and by which request. */
export type Act = {
  /** SPIFFE ID of a workload, `token <accessor>`, `operator` (that of the data directory), `anonymous`, or `catalog` for what it does by itself. */
  readonly caller: string;
  /** Address of the other end. */
  readonly remote?: string;
  readonly method?: string;
  readonly path?: string;
  /** Without tokens. */
  readonly query?: string;
};

/** What the catalog records. Of what was written the places only, never the values: a value may be a secret of its writer. */
export type CatalogEvent =
  | (Act & {
      readonly event: 'changed';
      /** `put services/n1/web-1`, `delete config/service-intentions/db`. */
      readonly changes: readonly string[];
      /** Of the store: Consul's index. */
      readonly revision: number;
    })
  | (Act & {
      readonly event: 'refused';
      readonly status: number;
      readonly code?: string;
      readonly reason: string;
    })
  /** So many more were refused than are recorded one by one. */
  | { readonly event: 'refused-more'; readonly count: number };

/** The audit log of the catalog. */
export type CatalogAuditLog = AuditLog<CatalogEvent>;
