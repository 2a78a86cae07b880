import { ConsulError } from '#policies/consul/consul-error.ts';
import { parseJson } from '#policies/consul/go-json.ts';
import type { Intention } from '#policies/intention.ts';
import { type IntentionDraft, parseIntention } from '#policies/intention-form.ts';
import { quote } from '#policies/quote.ts';
import { nameOf } from '../access/caller.ts';
import { denied } from '../access/denied.ts';
import { editorOnly, mayEditIntentions, policyReaderOnly } from '../access/permissions.ts';
import { findIntention, intentionId, intentionView } from '../intentions/intention-id.ts';
import { planIntention, planIntentionEnd } from '../intentions/plan.ts';
import type { CatalogParts } from '../parts.ts';
import { warningHeader } from './matching.ts';
import { refuseUnsupported } from './query-options.ts';
import { answerRead } from './read.ts';
import { bodyOf, type CatalogRequest, type Handler, jsonAnswer, pathName, queryOf, type Route } from './route-table.ts';

/**
 * Consul's deprecated API of intentions, which names them by UUID. The same intentions as everywhere: each has a UUID, whoever wrote it. A pair has
 * one intention, so POST of a pair that has one is a 409 (in Consul 500).
 */
export function intentionIdRoutes(parts: CatalogParts): { readonly post: Handler; readonly routes: Route[] } {
  return {
    post: (c) => create(c, parts),
    routes: [
      {
        path: '/v1/connect/intentions/:id',
        methods: {
          GET: (c) => {
            denied(policyReaderOnly(c.var.caller));
            const id = idOf(c);
            return answerRead(c, parts, ['intentions'], () => {
              const found = findIntention(parts.state, id);
              return found === undefined ? { missing: 'Intention not found' } : { json: intentionView(found) };
            });
          },
          PUT: (c) => update(c, parts),
          DELETE: (c) => remove(c, parts),
        },
      },
    ],
  };
}

async function create(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  denied(editorOnly(c.var.caller));
  refuseUnsupported(c.req.raw, parts.datacenter);
  const body = parseJson(await bodyOf(c));
  if (saysId(body)) throw new ConsulError(400, 'ID must be empty when creating a new intention');
  const draft = readDraft(body);
  denied(mayEditIntentions(c.var.caller, draft.destination));
  return write(c, parts, draft, () => {
    if (parts.state.intentions.exact(draft.source, draft.destination) === undefined) return;
    throw new ConsulError(
      409,
      `duplicate intention found: default/${draft.source} => default/${draft.destination} (ID: ${intentionId(draft)})`,
    );
  });
}

async function update(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  denied(editorOnly(c.var.caller));
  refuseUnsupported(c.req.raw, parts.datacenter);
  const id = idOf(c);
  const body = parseJson(await bodyOf(c));
  const before = existing(parts, id, 'modify');
  denied(mayEditIntentions(c.var.caller, before.destination));
  const draft = readDraft(body);
  if (draft.destination !== before.destination || draft.source !== before.source) {
    throw new ConsulError(
      400,
      'cannot modify SourceName or DestinationName for an intention once it exists: delete it and create another',
    );
  }
  return write(c, parts, draft, () => void existing(parts, id, 'modify'));
}

async function write(
  c: CatalogRequest,
  parts: CatalogParts,
  draft: IntentionDraft,
  judge: () => void,
): Promise<Response> {
  const rules = {
    defaultAction: parts.defaultAction,
    force: queryOf(c).has('force'),
    by: nameOf(c.var.caller),
    how: 'written',
    consulForm: true,
    nowMs: parts.context.clock(),
  } as const;
  const { warnings } = await parts.writer.commit(() => {
    judge();
    return planIntention(parts.state, draft, rules);
  });
  const { source, destination } = draft;
  parts.context.log.info(
    { audit: 'intention-put', caller: rules.by, source, destination, action: draft.action, warnings },
    'intention written',
  );
  return jsonAnswer({ ID: intentionId(draft) }, warningHeader(warnings));
}

async function remove(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  denied(editorOnly(c.var.caller));
  refuseUnsupported(c.req.raw, parts.datacenter);
  const { source, destination } = existing(parts, idOf(c), 'delete');
  denied(mayEditIntentions(c.var.caller, destination));
  const change = { by: nameOf(c.var.caller), how: 'deleted', nowMs: parts.context.clock() } as const;
  await parts.writer.commit(() => planIntentionEnd(parts.state, destination, change, (one) => one.source === source));
  parts.context.log.info({ audit: 'intention-delete', caller: change.by, source, destination }, 'intention deleted');
  return jsonAnswer(true);
}

/** What the deprecated API can say: an action for a pair. */
function readDraft(body: unknown): IntentionDraft {
  const { meta, jwt, ...draft } = parseIntention(body);
  if (draft.permissions !== undefined) {
    throw new ConsulError(400, 'Permissions cannot be set here: PUT /v1/connect/intentions/exact or /v1/config');
  }
  if (meta === undefined && jwt === undefined) return draft;
  throw new ConsulError(
    400,
    `${meta === undefined ? 'JWT' : 'Meta'} cannot be set here: it belongs to the service-intentions config entry (PUT /v1/config)`,
  );
}

function existing(parts: CatalogParts, id: string, verb: 'modify' | 'delete'): Intention {
  const found = findIntention(parts.state, id);
  if (found === undefined) throw new ConsulError(404, `Cannot ${verb} non-existent intention: '${id}'`);
  return found;
}

function saysId(body: unknown): boolean {
  if (typeof body !== 'object' || body === null) return false;
  return Object.entries(body).some(([key, value]) => key.toLowerCase() === 'id' && value !== '' && value !== null);
}

function idOf(c: CatalogRequest): string {
  const id = pathName(c, 'id');
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id)) return id;
  throw new ConsulError(400, `failed intention lookup: index error: UUID must be 36 characters: ${quote(id)}`);
}
