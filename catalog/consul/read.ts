import type { Fields } from '#policies/consul/filter/fields.ts';
import type { Filter } from '#policies/consul/filter/filter.ts';
import { readyResponse } from '#runtime/ready-response.ts';
import { urlOf } from '../access/request-url.ts';
import type { CatalogParts } from '../parts.ts';
import type { Topic } from '../state/topics.ts';
import { type Body, questionOf } from './answer-cache.ts';
import { awaitChange, readerOf } from './blocking-read.ts';
import { parseFilter, parseQueryOptions, type QueryOptions } from './query-options.ts';
import { type CatalogRequest, plainText, queryOf } from './route-table.ts';

/** What a read found out: JSON, a body of its own with its headers, or that the thing is not there. */
export type Found =
  | { readonly json: unknown }
  | { readonly body: Uint8Array<ArrayBuffer>; readonly headers: Readonly<Record<string, string>> }
  | { readonly missing: string };

/**
 * Answers a read: consistency, filter, blocking, then `produce` on the state as it is then, with every header that Consul's clients look at. A thing
 * that is not there is a 404 with an index too, so that a client can wait for it.
 *
 * @param fields what `?filter=` may ask; absent: the endpoint has no filter
 */
export async function answerRead(
  c: CatalogRequest,
  parts: CatalogParts,
  topics: readonly Topic[],
  produce: (passes: Filter) => Found,
  fields?: Fields,
): Promise<Response> {
  const options = parseQueryOptions(c.req.raw, parts.datacenter);
  const passes = parseFilter(queryOf(c), fields);
  const index = await awaitChange(parts, topics, options, readerOf(c));
  const found = produce(passes);
  const headers = readHeaders(parts, options, index);
  if ('missing' in found) return plainText(404, found.missing, headers);
  if ('body' in found) {
    return readyResponse(200, found.body, {
      ...headers,
      ...found.headers,
      'x-content-type-options': 'nosniff',
    });
  }
  return jsonOf(Buffer.from(rendered(found.json, options), 'utf8'), headers);
}

function rendered(json: unknown, { pretty }: QueryOptions): string {
  return pretty ? `${JSON.stringify(json, undefined, 4)}\n` : JSON.stringify(json);
}

function jsonOf(body: Body, headers: Readonly<Record<string, string>>): Response {
  return readyResponse(200, body, {
    ...headers,
    'content-type': 'application/json',
    'x-content-type-options': 'nosniff',
  });
}

/** As answerRead, of a list of things that have these fields. Rendered once for each index (answer-cache.ts). */
export async function answerList(
  c: CatalogRequest,
  parts: CatalogParts,
  topics: readonly Topic[],
  fields: Fields,
  list: () => readonly unknown[],
): Promise<Response> {
  const options = parseQueryOptions(c.req.raw, parts.datacenter);
  const url = urlOf(c.req.raw);
  const passes = parseFilter(url.searchParams, fields);
  const index = await awaitChange(parts, topics, options, readerOf(c));
  const body = parts.answers.body(questionOf(url), index, () => rendered(list().filter(passes), options));
  return jsonOf(body, readHeaders(parts, options, index));
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
    ...(options.cache === 'not asked' ? {} : { 'x-cache': options.cache === 'allowed' ? 'HIT' : 'MISS', age: '0' }),
  };
}
