import { ConsulError } from '#policies/consul/consul-error.ts';
import { intentionFields } from '#policies/consul/filter/consul-fields.ts';
import { parseJson } from '#policies/consul/go-json.ts';
import { parseIntention, parseIntentionName } from '#policies/intention-form.ts';
import { isServiceName } from '#policies/service-name.ts';
import { nameOf } from '../access/caller.ts';
import { denied } from '../access/denied.ts';
import { mayAskAbout, mayEditIntentions, policyReaderOnly } from '../access/permissions.ts';
import type { Decisions } from '../intentions/decisions.ts';
import { intentionView } from '../intentions/intention-id.ts';
import { planIntention, planIntentionEnd } from '../intentions/plan.ts';
import type { CatalogParts } from '../parts.ts';
import { intentionIdRoutes } from './intention-id-routes.ts';
import { warningHeader } from './matching.ts';
import { refuseUnsupported } from './query-options.ts';
import { answerList, answerRead } from './read.ts';
import { bodyOf, type CatalogRequest, jsonAnswer, queryOf, type Route } from './route-table.ts';

/** Names of one match request. */
const maxMatchNames = 64;

/** /v1/connect/intentions: who may call whom, one intention at a time. The service-intentions config entries are the same truth, seen whole. */
export function intentionRoutes(parts: CatalogParts, decisions: Decisions): Route[] {
  const { state } = parts;
  const byId = intentionIdRoutes(parts);
  return [
    {
      path: '/v1/connect/intentions',
      methods: {
        GET: (c) => {
          denied(policyReaderOnly(c.var.caller));
          return answerList(c, parts, ['intentions'], intentionFields, () =>
            state.intentions.list().map(intentionView),
          );
        },
        POST: byId.post,
      },
    },
    {
      path: '/v1/connect/intentions/exact',
      methods: {
        GET: (c) => {
          denied(policyReaderOnly(c.var.caller));
          const { source, destination } = pairOf(queryOf(c));
          return answerRead(c, parts, [`entry/service-intentions/${destination}`], () => {
            const found = state.intentions.exact(source, destination);
            return found === undefined ? { missing: 'Intention not found' } : { json: intentionView(found) };
          });
        },
        PUT: (c) => putExact(c, parts),
        DELETE: (c) => deleteExact(c, parts),
      },
    },
    { path: '/v1/connect/intentions/match', methods: { GET: (c) => match(c, parts) } },
    { path: '/v1/connect/intentions/check', methods: { GET: (c) => check(c, parts, decisions) } },
    ...byId.routes,
  ];
}

async function putExact(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  const query = queryOf(c);
  const pair = pairOf(query);
  denied(mayEditIntentions(c.var.caller, pair.destination));
  refuseUnsupported(c.req.raw, parts.datacenter);
  const { meta, jwt, ...draft } = parseIntention(parseJson(await bodyOf(c)), pair);
  if (meta !== undefined || jwt !== undefined) {
    throw new ConsulError(
      400,
      `${meta === undefined ? 'JWT' : 'Meta'} cannot be set here: it belongs to the service-intentions config entry (PUT /v1/config)`,
    );
  }
  const rules = {
    defaultAction: parts.defaultAction,
    force: query.has('force'),
    by: nameOf(c.var.caller),
    how: 'written',
    consulForm: true,
    nowMs: parts.context.clock(),
  } as const;
  const { warnings } = await parts.writer.commit(() => planIntention(parts.state, draft, rules));
  parts.context.log.info(
    { audit: 'intention-put', caller: nameOf(c.var.caller), ...pair, action: draft.action ?? 'permissions', warnings },
    'intention written',
  );
  return jsonAnswer(true, warningHeader(warnings));
}

async function deleteExact(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  const query = queryOf(c);
  const { source, destination } = pairOf(query);
  denied(mayEditIntentions(c.var.caller, destination));
  refuseUnsupported(c.req.raw, parts.datacenter);
  const change = { by: nameOf(c.var.caller), how: 'deleted', nowMs: parts.context.clock() } as const;
  const existed = await parts.writer.commit(() =>
    planIntentionEnd(parts.state, destination, change, (intention) => intention.source === source),
  );
  parts.context.log.info(
    { audit: 'intention-delete', caller: nameOf(c.var.caller), source, destination, existed },
    'intention deleted',
  );
  return jsonAnswer(true);
}

/** What decides on calls to or from services, in the order in which it is consulted. A workload sees who may call it. */
function match(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  const query = queryOf(c);
  const by = query.get('by') ?? '';
  const names = query.getAll('name').filter((name) => name !== '');
  if (by === '') throw new ConsulError(400, "required query parameter 'by' not set");
  if (by !== 'source' && by !== 'destination') {
    throw new ConsulError(400, "'by' parameter must be one of 'source' or 'destination'");
  }
  if (names.length === 0) throw new ConsulError(400, "required query parameter 'name' not set");
  if (names.length > maxMatchNames) throw new ConsulError(400, `more than ${maxMatchNames} names`);
  const services = names.map((name): [string, string] => [name, parseIntentionName(name)]);
  for (const [, service] of services) {
    denied(by === 'destination' ? mayAskAbout(c.var.caller, service) : policyReaderOnly(c.var.caller));
  }
  const { intentions } = parts.state;
  return answerRead(
    c,
    parts,
    by === 'source'
      ? ['intentions']
      : ['entry/service-intentions/*', ...services.map(([, name]) => `entry/service-intentions/${name}` as const)],
    () => ({
      json: Object.fromEntries(
        services.map(([given, service]) => {
          const found = by === 'source' ? intentions.from(service) : intentions.deciding(service);
          return [given, found.map(intentionView)];
        }),
      ),
    }),
  );
}

/** May the source connect? What only a request can tell counts as no (Consul). */
function check(c: CatalogRequest, parts: CatalogParts, decisions: Decisions): Promise<Response> {
  const query = queryOf(c);
  const { source, destination } = pairOf(query);
  denied(mayAskAbout(c.var.caller, destination));
  if (!['', 'consul'].includes(query.get('source-type') ?? ''))
    throw new ConsulError(400, 'source-type must be consul');
  for (const name of [source, destination]) {
    if (!isServiceName(name)) throw new ConsulError(400, `${JSON.stringify(name)} is not the name of one service`);
  }
  return answerRead(c, parts, [`destination/${destination}`, 'destination/*'], () => {
    const decision = decisions.connection(source, destination);
    return { json: { Allowed: decision.layer === 'connection' && decision.verdict.allowed } };
  });
}

/** Missing names are 500 in Consul, as any plain error there; no client depends on it, and it is the client's mistake. */
function pairOf(query: URLSearchParams): { source: string; destination: string } {
  const [source, destination] = ['source', 'destination'].map((name) => {
    const value = query.get(name) ?? '';
    if (value === '') throw new ConsulError(400, `required query parameter '${name}' not set`);
    return parseIntentionName(value);
  });
  return { source: source ?? '', destination: destination ?? '' };
}
