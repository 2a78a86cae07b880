import { z } from 'zod';
import { type EntryKind, parseConfigEntry } from '#policies/config-entries/config-entry.ts';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { foldKeys, parseJson } from '#policies/consul/go-json.ts';
import { formatServiceIntentions, parseServiceIntentions } from '#policies/service-intentions-form.ts';
import { type Caller, nameOf } from '../access/caller.ts';
import { denied } from '../access/denied.ts';
import { editorOnly, mayEditIntentions, operatorOnly, policyReaderOnly, type Refusal } from '../access/permissions.ts';
import { refuseBrokenChains } from '../config-entries/chains.ts';
import { planConfigEntry } from '../config-entries/plan.ts';
import { planIntentionEnd, planIntentions, type Written } from '../intentions/plan.ts';
import type { CatalogParts } from '../parts.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import { unchanged, type WritePlan } from '../state/catalog-writer.ts';
import { type ConfigEntry, type ConfigKind, configKinds } from '../state/config-entries.ts';
import { keyOf } from '../state/keys.ts';
import { warningHeader } from './matching.ts';
import { refuseUnsupported } from './query-options.ts';
import { answerRead } from './read.ts';
import { bodyOf, type CatalogRequest, jsonAnswer, pathName, queryOf, type Route } from './route-table.ts';

/** Consul's kinds that are known by name and not kept yet. */
const otherKinds: ReadonlySet<string> = new Set([
  'ingress-gateway',
  'terminating-gateway',
  'sameness-group',
  'api-gateway',
  'http-route',
  'tcp-route',
  'bound-api-gateway',
  'inline-certificate',
  'file-system-certificate',
  'control-plane-request-limit',
]);

/** /v1/config: settings of services, and intentions as whole entries. */
export function configRoutes(parts: CatalogParts): Route[] {
  const { state } = parts;
  return [
    { path: '/v1/config', methods: { PUT: (c) => put(c, parts) } },
    {
      path: '/v1/config/:kind',
      methods: {
        GET: (c) => {
          denied(policyReaderOnly(c.var.caller));
          const kind = parseKind(pathName(c, 'kind'));
          return answerRead(c, parts, [`kind/${kind}`], () => ({
            json: state.config.list(kind).map((entry) => view(state, entry)),
          }));
        },
      },
    },
    {
      path: '/v1/config/:kind/:name',
      methods: {
        GET: (c) => {
          denied(policyReaderOnly(c.var.caller));
          const kind = parseKind(pathName(c, 'kind'));
          const name = pathName(c, 'name');
          return answerRead(c, parts, [`entry/${kind}/${name}`], () => {
            const entry = state.config.get(kind, name);
            if (entry === undefined) return { missing: `Config entry not found for "${kind}" / "${name}"` };
            return { json: view(state, entry) };
          });
        },
        DELETE: (c) => remove(c, parts),
      },
    },
  ];
}

async function put(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  denied(editorOnly(c.var.caller));
  const query = queryOf(c);
  refuseUnsupported(c.req.raw, parts.datacenter);
  const cas = parseCas(query);
  const body = parseJson(await bodyOf(c), 'Request decoding failed');
  const kind = parseKind(kindSchema.safeParse(foldKeys(kindSchema, body)).data?.Kind ?? '');
  const decide =
    kind === 'service-intentions'
      ? decideIntentions(parts, body, { force: query.has('force'), by: nameOf(c.var.caller) })
      : decideEntry(parts, kind, body);
  denied(mayWrite(c.var.caller, kind, decide.name));
  const answer = await parts.writer.commit(() => {
    if (cas !== undefined && cas !== (parts.state.config.get(kind, decide.name)?.modifyIndex ?? 0)) {
      return { compare: [], operations: [], result: { done: false, warnings: [] } };
    }
    const { compare, operations, result } = decide.plan();
    return { compare, operations, result: { done: true, ...result } };
  });
  parts.context.log.info(
    { audit: 'config-put', caller: nameOf(c.var.caller), kind, name: decide.name, ...answer },
    answer.done ? 'config entry written' : 'config entry not written: its index has changed',
  );
  return jsonAnswer(answer.done, warningHeader(answer.warnings));
}

const kindSchema = z.object({ Kind: z.string().max(64).default('') });

interface EntryDecision {
  readonly name: string;
  plan(): WritePlan<Written>;
}

function decideIntentions(
  parts: CatalogParts,
  body: unknown,
  writer: { readonly force: boolean; readonly by: string },
): EntryDecision {
  const { destination, intentions } = parseServiceIntentions(body);
  const [{ meta = {}, jwt } = {}] = intentions;
  const written = { drafts: intentions, meta, jwt };
  const { defaultAction, context } = parts;
  const rules = { defaultAction, ...writer, how: 'written', consulForm: true, nowMs: context.clock() } as const;
  return { name: destination, plan: () => planIntentions(parts.state, destination, written, rules) };
}

function decideEntry(parts: CatalogParts, kind: EntryKind, body: unknown): EntryDecision {
  const record = parseConfigEntry(kind, body);
  return {
    name: record.Name,
    plan: () => {
      refuseBrokenChains(parts.state, { put: record });
      return planConfigEntry(parts.state, record, parts.datacenter);
    },
  };
}

async function remove(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  denied(editorOnly(c.var.caller));
  const query = queryOf(c);
  refuseUnsupported(c.req.raw, parts.datacenter);
  const cas = parseCas(query);
  const kind = parseKind(pathName(c, 'kind'));
  const name = pathName(c, 'name');
  denied(mayWrite(c.var.caller, kind, name));
  const key = keyOf('config', kind, name);
  const change = { by: nameOf(c.var.caller), how: 'deleted', nowMs: parts.context.clock() } as const;
  const done = await parts.writer.commit(() => {
    const before = parts.state.config.get(kind, name);
    if (before === undefined || (cas !== undefined && cas !== before.modifyIndex)) {
      return { compare: [], operations: [], result: before === undefined && cas === undefined };
    }
    if (kind === 'service-intentions') return planIntentionEnd(parts.state, name, change);
    refuseBrokenChains(parts.state, { end: { kind, name } });
    return { compare: [unchanged(key, before.modifyIndex)], operations: [{ kind: 'delete', key }], result: true };
  });
  parts.context.log.info(
    { audit: 'config-delete', caller: nameOf(c.var.caller), kind, name, done },
    'config entry deleted',
  );
  return jsonAnswer(cas === undefined ? {} : done);
}

/** Intentions by their destination, all other entries by operators. */
function mayWrite(caller: Caller, kind: ConfigKind, name: string): Refusal {
  return kind === 'service-intentions' ? mayEditIntentions(caller, name) : operatorOnly(caller);
}

function view(state: CatalogState, entry: ConfigEntry): unknown {
  const { record, createIndex, modifyIndex } = entry;
  if (record.Kind === 'service-intentions') return formatServiceIntentions(state.intentions.ofDestination(record.Name));
  const { Name, ...fields } = record;
  const name = record.Kind === 'mesh' ? {} : { Name }; // of which there is one, and Consul doesn't name it
  return { ...fields, ...name, CreateIndex: createIndex, ModifyIndex: modifyIndex };
}

function parseKind(kind: string): ConfigKind {
  const known = configKinds.find((one) => one === kind);
  if (known !== undefined) return known;
  if (otherKinds.has(kind))
    throw new ConsulError(501, `config entries of kind ${JSON.stringify(kind)} are not supported`);
  throw new ConsulError(
    400,
    `Request decoding failed: invalid config entry kind: ${JSON.stringify(kind.slice(0, 64))}`,
  );
}

/** `?cas=N`: only if the entry's ModifyIndex is N; 0: only if there is none. */
function parseCas(query: URLSearchParams): number | undefined {
  const text = query.get('cas');
  if (text === null) return undefined;
  if (!/^\d{1,16}$/.test(text))
    throw new ConsulError(400, `strconv.ParseUint: parsing ${JSON.stringify(text.slice(0, 32))}: invalid syntax`);
  return Number(text);
}
