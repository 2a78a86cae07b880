import { ConsulError } from '#policies/consul/consul-error.ts';
import { nameOf } from '../access/caller.ts';
import { denied } from '../access/denied.ts';
import { operatorOnly } from '../access/permissions.ts';
import {
  checkKey,
  checkPrefix,
  entryView,
  keyOfUrl,
  maxValueBytes,
  planDelete,
  planDeleteTree,
  planPut,
} from '../kv/plan.ts';
import type { CatalogParts } from '../parts.ts';
import type { WritePlan } from '../state/catalog-writer.ts';
import { folderOf } from '../state/key-values.ts';
import { refuseUnsupported } from './query-options.ts';
import { answerRead } from './read.ts';
import { bodyOf, type CatalogRequest, jsonAnswer, queryOf, type Route } from './route-table.ts';

/** /v1/kv: Consul's key/value store, without sessions. For operators: what lies there is configuration, often with secrets. */
export function kvRoutes(parts: CatalogParts): Route[] {
  return [
    {
      path: '/v1/kv/*',
      methods: {
        GET: (c) => read(c, parts),
        PUT: (c) => put(c, parts),
        DELETE: (c) => remove(c, parts),
      },
    },
  ];
}

/** What is not there is a 404 without words, with an index to wait on. */
function read(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  denied(operatorOnly(c.var.caller));
  const { kv } = parts.state;
  const query = queryOf(c);
  const key = keyOfUrl(c.req.url);
  checkPrefix(key);
  if (query.has('keys')) {
    const separator = query.get('separator') ?? query.get('seperator') ?? ''; // Consul takes its own old misspelling
    return answerRead(c, parts, [`kv-folder/${folderOf(key)}`], () => {
      const keys = kv.under(key).map(({ record }) => upTo(record.Key, key.length, separator));
      return keys.length === 0 && key !== '' ? { missing: '' } : { json: [...new Set(keys)] };
    });
  }
  if (query.has('recurse')) {
    return answerRead(c, parts, [`kv-folder/${folderOf(key)}`], () => {
      const entries = kv.under(key);
      return entries.length === 0 ? { missing: '' } : { json: entries.map(entryView) };
    });
  }
  checkKey(key);
  return answerRead(c, parts, [`kv/${key}`], () => {
    const entry = kv.get(key);
    if (entry === undefined) return { missing: '' };
    if (!query.has('raw')) return { json: [entryView(entry)] };
    // A browser must not run what somebody stored here.
    const headers = { 'content-type': 'text/plain', 'content-security-policy': 'sandbox' };
    return { body: Uint8Array.from(Buffer.from(entry.record.Value, 'base64')), headers };
  });
}

async function put(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  denied(operatorOnly(c.var.caller));
  refuseUnsupported(c.req.raw, parts.datacenter);
  const query = queryOf(c);
  const key = keyOfUrl(c.req.url);
  checkKey(key);
  refuseTogether(query, ['cas', 'acquire', 'release']);
  if (query.has('acquire') || query.has('release')) {
    throw new ConsulError(501, 'Sessions and locks are not offered; ?cas= writes only what nobody else has changed');
  }
  const flags = parseUint64(query, 'flags') ?? 0n;
  const cas = parseUint64(query, 'cas');
  const value = await bodyOf(c);
  if (value.byteLength > maxValueBytes) {
    throw new ConsulError(
      413,
      `Request body(${value.byteLength} bytes) too large, max size: ${maxValueBytes} bytes. See docs/consul-compatibility.md.`,
    );
  }
  const record = { Key: key, Value: Buffer.from(value).toString('base64'), Flags: String(flags) };
  const index = cas === undefined ? undefined : Number(cas);
  return write(c, parts, 'kv-put', key, index, () => planPut(parts.state, record, index));
}

function remove(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  denied(operatorOnly(c.var.caller));
  refuseUnsupported(c.req.raw, parts.datacenter);
  const query = queryOf(c);
  const key = keyOfUrl(c.req.url);
  checkPrefix(key);
  refuseTogether(query, ['recurse', 'cas']);
  if (query.has('recurse')) {
    return write(c, parts, 'kv-delete-tree', key, undefined, () => planDeleteTree(parts.state, key));
  }
  checkKey(key);
  const cas = parseUint64(query, 'cas');
  const index = cas === undefined ? undefined : Number(cas);
  return write(c, parts, 'kv-delete', key, index, () => planDelete(parts.state, key, index));
}

async function write(
  c: CatalogRequest,
  parts: CatalogParts,
  audit: string,
  key: string,
  cas: number | undefined,
  plan: () => WritePlan<boolean>,
): Promise<Response> {
  const done = await parts.writer.commit(plan);
  parts.context.log.info({ audit, caller: nameOf(c.var.caller), key, cas, done }, 'kv written');
  return jsonAnswer(done);
}

/** A key up to the first separator behind the prefix: folders instead of what is in them. */
function upTo(key: string, prefixLength: number, separator: string): string {
  const at = separator === '' ? -1 : key.indexOf(separator, prefixLength);
  return at < 0 ? key : key.slice(0, at + separator.length);
}

/** Consul's text, which ends its line. */
function refuseTogether(query: URLSearchParams, names: readonly string[]): void {
  if (names.filter((name) => query.has(name)).length > 1) {
    const shown = new URLSearchParams(query);
    shown.delete('token'); // what is refused is in the logs
    throw new ConsulError(400, `Conflicting flags: ${String(shown).slice(0, 512)}\n`);
  }
}

/** Plain errors are 500 in Consul; this one is the client's. */
function parseUint64(query: URLSearchParams, name: string): bigint | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  const shown = JSON.stringify(text.slice(0, 64));
  if (!/^\d{1,64}$/.test(text)) throw new ConsulError(400, `strconv.ParseUint: parsing ${shown}: invalid syntax`);
  const value = BigInt(text);
  if (value >= 2n ** 64n) throw new ConsulError(400, `strconv.ParseUint: parsing ${shown}: value out of range`);
  return value;
}
