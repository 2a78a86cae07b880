import { ConsulError } from '#policies/consul/consul-error.ts';
import { parseGoDuration } from '#policies/consul/go-duration.ts';

/** How a reader wants its answer (Consul: api-docs/features/consistency and /blocking). Presence counts, not value. */
export interface QueryOptions {
  readonly consistency: 'leader' | 'stale' | 'consistent';
  readonly cached: boolean;
  /** Wait until the index is above this; 0: answer at once. */
  readonly index: number;
  /** Longest wait, before jitter. */
  readonly waitMs: number;
  readonly pretty: boolean;
}

const defaultWaitMs = 300_000;
const maxWaitMs = 600_000;

/**
 * Reads the parameters that all of Consul's reads share.
 * @throws ConsulError 400 in Consul's words; 500 for another datacenter, as Consul says it; 501 for what Selvedge does not do and must not ignore
 */
export function parseQueryOptions(query: URLSearchParams, datacenter: string): QueryOptions {
  const stale = query.has('stale');
  const consistent = query.has('consistent');
  const cached = query.has('cached');
  if (stale && consistent) throw new ConsulError(400, 'Cannot specify ?stale with ?consistent, conflicting semantics.');
  if (cached && consistent)
    throw new ConsulError(400, 'Cannot specify ?cached with ?consistent, conflicting semantics.');
  refuseUnsupported(query, datacenter);
  return {
    consistency: stale ? 'stale' : consistent ? 'consistent' : 'leader',
    cached,
    index: parseIndex(query.get('index')),
    waitMs: parseWait(query.get('wait')),
    pretty: query.has('pretty'),
  };
}

/** Parameters that change what an answer means: ignoring one would be a wrong answer. */
export function refuseUnsupported(query: URLSearchParams, datacenter: string): void {
  const dc = query.get('dc') ?? '';
  if (dc !== '' && dc !== datacenter) throw new ConsulError(500, 'No path to datacenter');
  for (const [name, what] of [
    ['ns', 'Namespaces are'],
    ['partition', 'Partitions are'],
  ] as const) {
    const value = query.get(name) ?? '';
    if (value !== '' && value !== 'default') {
      throw new ConsulError(400, `Invalid query parameter: "${name}" - ${what} not offered; the only one is "default"`);
    }
  }
  for (const name of ['filter', 'peer']) {
    if ((query.get(name) ?? '') !== '') throw new ConsulError(501, `?${name} is not supported by this catalog yet`);
  }
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
