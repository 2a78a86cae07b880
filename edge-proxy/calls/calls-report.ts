import { meshRequest } from '#runtime/mesh-http.ts';
import { pause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { MeshIdentity } from '#runtime/svid/mesh-identity.ts';
import { isCatalogOf } from '../catalog-identity.ts';
import type { RecentCalls } from './recent-calls.ts';

/** How often is told, give or take a fifth. */
const defaultEveryMs = 10_000;
/** A catalog that does not take it: one of an older release. */
const unwantedMs = 600_000;
const timeoutMs = 5_000;

/** How a report reaches the catalog. */
export interface CallsReportOptions {
  readonly service: string;
  readonly calls: RecentCalls;
  readonly catalogUrl: string;
  readonly identity: MeshIdentity;
  readonly context: ProcessContext;
  readonly signal: AbortSignal;
  /** Default 10 s. */
  readonly everyMs?: number;
}

/**
 * Tells the catalog every ten seconds how the local service was called, until the signal aborts. A report that does not arrive is lost: it is a summary of the last hour
 * for whoever edits intentions, and nothing waits for it.
 */
export async function reportCalls(options: CallsReportOptions): Promise<void> {
  const { service, calls, context, signal, everyMs = defaultEveryMs } = options;
  while (!signal.aborted) {
    await pause(everyMs * (0.8 + context.random() * 0.4), signal);
    const report = signal.aborted ? undefined : calls.take(service);
    if (report === undefined) continue;
    try {
      const { status } = await tell(options, JSON.stringify(report));
      if (status >= 400) context.log.debug({ status, service }, 'the catalog did not take the summary of calls');
      if (status === 404) await pause(unwantedMs, signal);
    } catch (error) {
      context.log.debug({ err: error, service }, 'summary of calls not told');
    }
  }
}

function tell({ catalogUrl, identity, service, context, signal }: CallsReportOptions, body: string) {
  const svid = identity.svid(service).current;
  return meshRequest({
    url: `${catalogUrl}/v1/mesh/calls`,
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
    ...(catalogUrl.startsWith('https:')
      ? {
          expect: isCatalogOf(identity.trustDomain),
          trust: identity.trust,
          ...(svid === undefined ? {} : { svid }),
        }
      : {}),
    clock: context.clock,
    timeoutMs,
    signal,
  });
}
