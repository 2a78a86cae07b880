import type { TrustDomain } from '#policies/spiffe-id.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { Store } from '#store/contract.ts';
import type { CallerPolicy } from './access/caller.ts';
import type { CatalogAudit } from './audit/catalog-audit.ts';
import type { AnswerCache } from './consul/answer-cache.ts';
import type { CatalogState } from './state/catalog-state.ts';
import type { CatalogWriter } from './state/catalog-writer.ts';
import type { StoreFollower } from './state/store-follower.ts';

/** What the routes of the catalog work with: made once in main.ts. */
export interface CatalogParts {
  readonly datacenter: string;
  readonly nodeName: string;
  readonly trustDomain: TrustDomain;
  /** What decides where no intention does. */
  readonly defaultAction: 'allow' | 'deny';
  readonly callers: CallerPolicy;
  /** Read and written through `state` and `writer`; itself only for what is about all of it. */
  readonly store: Store;
  readonly state: CatalogState;
  readonly writer: CatalogWriter;
  readonly audit: CatalogAudit;
  readonly follower: StoreFollower;
  readonly answers: AnswerCache;
  readonly context: ProcessContext;
  /** Aborts when the catalog stops: whoever waits is answered. */
  readonly stopping: AbortSignal;
}
