import { randomUUID } from 'node:crypto';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { quote } from '#policies/quote.ts';
import { compileRegularExpression } from '#policies/regular-expression.ts';
import { nameOf } from '../access/caller.ts';
import { denied } from '../access/denied.ts';
import { operatorOnly, readerOnly } from '../access/permissions.ts';
import type { CatalogParts } from '../parts.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import { unchanged, type WritePlan } from '../state/catalog-writer.ts';
import { type EventRecord, eventKey } from '../state/events.ts';
import { encode } from '../state/indexed.ts';
import { blockWhile, readerOf } from './blocking-read.ts';
import { parseQueryOptions, refuseUnsupported } from './query-options.ts';
import { readHeaders } from './read.ts';
import { bodyOf, type CatalogRequest, jsonAnswer, pathName, queryOf, type Route } from './route-table.ts';

/** Most bytes of a payload (Serf's limit of a user event). */
const maxPayloadBytes = 512;

/** /v1/event: short messages to whoever watches. Stored, so that they reach readers of every catalog of the store, and survive a restart. */
export function eventRoutes(parts: CatalogParts): Route[] {
  return [
    {
      path: '/v1/event/fire/:name',
      methods: { PUT: (c) => fire(c, parts) },
      missing: 'Missing name',
    },
    { path: '/v1/event/list', methods: { GET: (c) => list(c, parts) } },
  ];
}

async function fire(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  denied(operatorOnly(c.var.caller));
  refuseUnsupported(c.req.raw, parts.datacenter);
  const query = queryOf(c);
  const name = pathName(c, 'name');
  if (!/^[\x20-\x7e]{1,128}$/.test(name))
    throw new ConsulError(400, 'Missing name, or not printable ASCII of at most 128');
  const payload = await bodyOf(c);
  if (payload.length > maxPayloadBytes) {
    throw new ConsulError(413, `user event exceeds configured limit of ${maxPayloadBytes} bytes`);
  }
  const asked = {
    Name: name,
    Payload: Buffer.from(payload).toString('base64'),
    NodeFilter: parsePattern(query, 'node'),
    ServiceFilter: parsePattern(query, 'service'),
    TagFilter: parsePattern(query, 'tag'),
  };
  if (asked.TagFilter !== '' && asked.ServiceFilter === '') {
    throw new ConsulError(400, 'Cannot provide tag filter without service filter');
  }
  const event = await parts.writer.commit(() => planEvent(parts.state, asked));
  parts.context.log.info({ audit: 'event', caller: nameOf(c.var.caller), name, id: event.ID }, 'event fired');
  // Consul answers before the event has its number.
  return jsonAnswer({ ...viewOf(event), LTime: 0 });
}

function planEvent(state: CatalogState, asked: Omit<EventRecord, 'ID' | 'LTime'>): WritePlan<EventRecord> {
  const LTime = (state.events.list().at(-1)?.LTime ?? 0) + 1;
  const key = eventKey(LTime);
  const event = { ID: idOfIndex(indexOf(LTime)), ...asked, LTime };
  return {
    compare: [unchanged(key, state.events.at(key)?.modifyIndex)],
    operations: [{ kind: 'put', key, value: encode(event) }],
    result: event,
  };
}

/** The index of a list is that of its last event; without one it is 1. It need not grow in Consul, so whatever differs from the client's is news. */
async function list(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  denied(readerOnly(c.var.caller));
  const options = parseQueryOptions(c.req.raw, parts.datacenter);
  const name = queryOf(c).get('name') ?? '';
  const { state } = parts;
  const events = (): EventRecord[] => state.events.list().filter((event) => name === '' || event.Name === name);
  const index = (): number => indexOf(events().at(-1)?.LTime ?? 0);
  if (options.consistency === 'consistent') await parts.follower.catchUp();
  if (options.index > 0) {
    const watch = (look: () => void) => state.topics.subscribe('events', look);
    await blockWhile(parts, () => index() === options.index, watch, options, readerOf(c));
  }
  return jsonAnswer(events().map(viewOf), readHeaders(parts, options, index()));
}

function indexOf(lTime: number): number {
  return lTime + 1;
}

/**
 * Consul's clients compute the index of an event from its UUID (IDToIndex: its halves, exclusive or) to know which of a list they have seen. So the UUID
 * is made to give the index: its second half is random, its first follows.
 */
function idOfIndex(index: number): string {
  const high = randomUUID().replaceAll('-', '').slice(16);
  const low = (BigInt(`0x${high}`) ^ BigInt(index)).toString(16).padStart(16, '0');
  return `${low.slice(0, 8)}-${low.slice(8, 12)}-${low.slice(12)}-${high.slice(0, 4)}-${high.slice(4)}`;
}

function viewOf(event: EventRecord) {
  const { ID, Name, Payload, NodeFilter, ServiceFilter, TagFilter, LTime } = event;
  return {
    ID,
    Name,
    Payload: Payload === '' ? null : Payload,
    NodeFilter,
    ServiceFilter,
    TagFilter,
    Version: 1,
    LTime,
  };
}

function parsePattern(query: URLSearchParams, parameter: string): string {
  const pattern = query.get(parameter) ?? '';
  if (pattern.length > 256) throw new ConsulError(400, `Invalid ${parameter} filter: longer than 256 characters`);
  try {
    compileRegularExpression(pattern);
    return pattern;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new ConsulError(400, `Invalid ${parameter} filter: ${quote(pattern)}: ${error.message}`);
  }
}
