import { ConsulError } from '#policies/consul/consul-error.ts';
import type { Fields } from '#policies/consul/filter/fields.ts';
import { compileFilter, type Filter } from '#policies/consul/filter/filter.ts';
import { parseGoDuration } from '#policies/consul/go-duration.ts';
import { urlOf } from '../access/request-url.ts';

/** How a reader wants its answer (Consul: api-docs/features/consistency, /blocking and /caching). Presence counts, not value. */
export interface QueryOptions {
  readonly consistency: 'leader' | 'stale' | 'consistent';
  /** Whether an answer out of a cache would do. The state in memory is one, and never older than a write, so all that it changes is what the headers say. */
  readonly cache: 'not asked' | 'allowed' | 'revalidated';
  /** Wait until the index is above this; 0: answer at once. */
  readonly index: number;
  /** Longest wait, before jitter. */
  readonly waitMs: number;
  readonly pretty: boolean;
}

const defaultWaitMs = 300_000;
const maxWaitMs = 600_000;

/**
 * Reads the parameters that all of Consul's reads share. `near` is one of them and needs nothing: it sorts by network coordinates, and Consul leaves
 * the order as it is where there are none.
 *
 * @throws ConsulError 400 in Consul's words; 500 for another datacenter, as Consul says it; 501 for what Selvedge does not do and must not ignore
 */
export function parseQueryOptions(request: Request, datacenter: string): QueryOptions {
  const query = urlOf(request).searchParams;
  const stale = query.has('stale') || parseMaxStale(query.get('max_stale')) > 0;
  const consistent = query.has('consistent');
  const cached = query.has('cached');
  if (stale && consistent) throw new ConsulError(400, 'Cannot specify ?stale with ?consistent, conflicting semantics.');
  if (cached && consistent)
    throw new ConsulError(400, 'Cannot specify ?cached with ?consistent, conflicting semantics.');
  refuseUnsupported(request, datacenter);
  const revalidated = mustRevalidate(request.headers.get('cache-control') ?? '');
  return {
    consistency: stale ? 'stale' : consistent ? 'consistent' : 'leader',
    cache: cached ? (revalidated ? 'revalidated' : 'allowed') : 'not asked',
    index: parseIndex(query.get('index')),
    waitMs: parseWait(query.get('wait')),
    pretty: query.has('pretty'),
  };
}

/** Parameters that change what an answer means: ignoring one would be a wrong answer. */
export function refuseUnsupported(request: Request, datacenter: string): void {
  const query = urlOf(request).searchParams;
  const dc = query.get('dc') ?? '';
  if (dc !== '' && dc !== datacenter) throw new ConsulError(500, 'No path to datacenter');
  for (const [place, name, value, what] of [
    ['query parameter', 'ns', query.get('ns'), 'Namespaces are'],
    ['query parameter', 'partition', query.get('partition'), 'Partitions are'],
    ['header', 'X-Consul-Namespace', request.headers.get('x-consul-namespace'), 'Namespaces are'],
    ['header', 'X-Consul-Partition', request.headers.get('x-consul-partition'), 'Partitions are'],
  ] as const) {
    if (value !== null && value !== '' && value !== 'default') {
      throw new ConsulError(400, `Invalid ${place}: "${name}" - ${what} not offered; the only one is "default"`);
    }
  }
  if ((query.get('peer') ?? '') !== '') throw new ConsulError(501, '?peer is not supported by this catalog yet');
}

/**
 * Reads `?filter=` for a list whose things have these fields; undefined: nothing that Consul filters, where it ignores the parameter. Here that is a
 * refusal, for whoever filters means something by it.
 * @throws ConsulError 400 in go-bexpr's words
 */
export function parseFilter(query: URLSearchParams, fields: Fields | undefined): Filter {
  const text = query.get('filter') ?? '';
  if (fields !== undefined) return compileFilter(text, fields);
  if (text !== '') throw new ConsulError(400, 'This endpoint takes no ?filter, in Consul neither');
  return () => true;
}

/** `Cache-Control` of the request; what it may name besides has nothing to say about an answer that is never stale. */
function mustRevalidate(header: string): boolean {
  return header
    .toLowerCase()
    .split(',')
    .map((directive) => directive.trim())
    .map((directive) => {
      const [, name, seconds] = /^(max-age|stale-if-error)=(.*)$/s.exec(directive) ?? [];
      if (name === undefined) return directive === 'must-revalidate';
      if (!/^[+-]?\d{1,18}$/.test(seconds ?? '')) throw new ConsulError(400, 'Invalid Cache-Control header.');
      return name === 'max-age' && Number(seconds) === 0;
    })
    .includes(true);
}

function parseMaxStale(text: string | null): number {
  if (text === null || text === '') return 0;
  const ns = parseGoDuration(text);
  if (ns === undefined) throw new ConsulError(400, `Invalid max_stale value ${JSON.stringify(text.slice(0, 64))}`);
  return ns;
}

function parseIndex(text: string | null): number {
  if (text === null || text === '') return 0;
  if (!/^\d{1,20}$/.test(text)) throw new ConsulError(400, 'Invalid index');
  return Number(text);
}

function parseWait(text: string | null): number {
  if (text === null || text === '') return defaultWaitMs;
  const ns = parseGoDuration(text);
  if (ns === undefined) throw new ConsulError(400, 'Invalid wait time');
  const ms = ns / 1e6;
  return ms <= 0 ? defaultWaitMs : Math.min(ms, maxWaitMs);
}

/** A boolean filter such as ?passing: present without a value, or with one that Go reads as a boolean. Throws ConsulError 400. */
export function parseFlag(query: URLSearchParams, name: string): boolean {
  const value = query.get(name);
  if (value === null) return false;
  if (['', '1', 't', 'T', 'true', 'TRUE', 'True'].includes(value)) return true;
  if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(value)) return false;
  throw new ConsulError(400, `Invalid value for ?${name}`);
}
