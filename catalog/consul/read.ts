import type { CatalogParts } from '../parts.ts';
import type { Topic } from '../state/topics.ts';
import { awaitChange } from './blocking-read.ts';
import { parseQueryOptions, type QueryOptions } from './query-options.ts';
import { type CatalogRequest, plainText, queryOf } from './route-table.ts';

/** What a read found out: JSON, or that the thing is not there. */
export type Found = { readonly json: unknown } | { readonly missing: string };

/**
 * Answers a read: consistency, blocking, then `produce` on the state as it is then, with every header that Consul's clients look at. A thing
 * that is not there is a 404 with an index too, so that a client can wait for it.
 */
export async function answerRead(
  c: CatalogRequest,
  parts: CatalogParts,
  topics: readonly Topic[],
  produce: () => Found,
): Promise<Response> {
  const options = parseQueryOptions(queryOf(c), parts.datacenter);
  const index = await awaitChange(parts, topics, options, c.req.raw.signal);
  const found = produce();
  const headers = readHeaders(parts, options, index);
  if ('missing' in found) return plainText(404, found.missing, headers);
  const text = JSON.stringify(found.json, undefined, options.pretty ? 4 : undefined);
  return new Response(options.pretty ? `${text}\n` : text, {
    headers: { ...headers, 'content-type': 'application/json', 'x-content-type-options': 'nosniff' },
  });
}

/** LastContact comes always: without it Consul's Go client drops the headers that follow. The state is a follower of the store, never older than a write. */
export function readHeaders(parts: CatalogParts, options: QueryOptions, index: number): Record<string, string> {
  return {
    'x-consul-index': String(index),
    'x-consul-knownleader': String(parts.follower.current),
    'x-consul-lastcontact': '0',
    'x-consul-effective-consistency': options.consistency,
    'x-consul-default-acl-policy': parts.defaultAction,
    'x-consul-query-backend': 'blocking-query',
    ...(options.cached ? { 'x-cache': 'HIT', age: '0' } : {}),
  };
}
