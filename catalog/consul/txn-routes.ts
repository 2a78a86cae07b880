import { z } from 'zod';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { decodeBody } from '#policies/consul/go-json.ts';
import { type Caller, nameOf } from '../access/caller.ts';
import { denied } from '../access/denied.ts';
import { operatorOnly } from '../access/permissions.ts';
import { KvDraft, kvStepSchema, type Step, toStep } from '../kv/transaction.ts';
import type { CatalogParts } from '../parts.ts';
import {
  type CheckStep,
  checkStepSchema,
  type NodeStep,
  nodeStepSchema,
  RegistryDraft,
  type RegistryResult,
  type ServiceStep,
  serviceStepSchema,
} from '../registry/registry-draft.ts';
import type { WritePlan } from '../state/catalog-writer.ts';
import { refuseUnsupported } from './query-options.ts';
import { bodyOf, type CatalogRequest, jsonAnswer, type Route } from './route-table.ts';
import { agentServiceView, checkView, nodeView } from './views.ts';

/** Most steps of one transaction (Consul). */
const maxSteps = 64;

/** What one transaction of the store can compare, less what the writer adds. */
const maxThings = 120;

const transactionSchema = z.array(
  z.object({
    KV: kvStepSchema.optional(),
    Node: nodeStepSchema.optional(),
    Service: serviceStepSchema.optional(),
    Check: checkStepSchema.optional(),
  }),
);

type AnyStep =
  | { readonly kv: Step }
  | { readonly node: NodeStep }
  | { readonly service: ServiceStep }
  | { readonly check: CheckStep };

/** What a transaction comes to: results once it is written, or why not, by step. */
type Outcome =
  | { readonly kind: 'done'; results(): readonly unknown[] }
  | { readonly kind: 'conflict'; readonly errors: readonly { readonly OpIndex: number; readonly What: string }[] };

/** /v1/txn: several steps on KV and registry, all of them or none. 409 with the reasons when one can't be done. */
export function txnRoutes(parts: CatalogParts): Route[] {
  return [{ path: '/v1/txn', methods: { PUT: (c) => transact(c, parts) } }];
}

async function transact(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  refuseUnsupported(c.req.raw, parts.datacenter);
  const steps = toSteps(decodeBody(transactionSchema, await bodyOf(c), { failure: 'Failed to parse body' }));
  if (steps.length === 0 || steps.some((step) => 'kv' in step)) denied(operatorOnly(c.var.caller));
  const outcome = await parts.writer.commit(() => planTransaction(parts, c.var.caller, steps));
  parts.context.log.info(
    { audit: 'txn', caller: nameOf(c.var.caller), steps: steps.length, done: outcome.kind === 'done' },
    'transaction',
  );
  if (outcome.kind === 'conflict') return jsonAnswer({ Results: null, Errors: outcome.errors }, {}, 409);
  const results = outcome.results();
  return jsonAnswer({ Results: results.length === 0 ? null : results, Errors: null });
}

/** Throws ConsulError 400, 413, 501. */
function toSteps(request: z.infer<typeof transactionSchema>): AnyStep[] {
  if (request.length > maxSteps) {
    throw new ConsulError(413, `Transaction contains too many operations (${request.length} > ${maxSteps})`);
  }
  return request.map(({ KV: kv, Node: node, Service: service, Check: check }): AnyStep => {
    if (kv !== undefined) return { kv: toStep(kv) };
    if (node !== undefined) return { node };
    if (service !== undefined) return { service };
    if (check !== undefined) return { check };
    throw new ConsulError(400, 'Failed to parse body: an operation says nothing');
  });
}

/**
 * Plans a transaction: its steps in their order, each on what those before it left, all of them or none. What it is based on is compared when it
 * is written, so it is one moment's view. Each step on the registry is judged by itself.
 */
function planTransaction(parts: CatalogParts, caller: Caller, steps: readonly AnyStep[]): WritePlan<Outcome> {
  const { state, datacenter } = parts;
  const kv = new KvDraft(state);
  const registry = new RegistryDraft(state, caller);
  const take = (step: AnyStep): (() => readonly unknown[]) | string => {
    if ('kv' in step) return kv.take(step.kv);
    const taken =
      'node' in step
        ? registry.node(step.node)
        : 'service' in step
          ? registry.service(step.service)
          : registry.check(step.check);
    return typeof taken === 'string' ? taken : () => taken().map((result) => shown(result, datacenter));
  };
  const views: (() => readonly unknown[])[] = [];
  const errors: { OpIndex: number; What: string }[] = [];
  for (const [OpIndex, step] of steps.entries()) {
    const result = take(step);
    if (typeof result === 'string') errors.push({ OpIndex, What: result });
    else views.push(result);
  }
  if (errors.length > 0) return { compare: [], operations: [], result: { kind: 'conflict', errors } };
  const compare = [...kv.compare, ...registry.compare];
  if (compare.length > maxThings) throw new ConsulError(413, `Transaction concerns more than ${maxThings} things`);
  return {
    compare,
    operations: [...kv.operations, ...registry.operations],
    result: { kind: 'done', results: () => views.flatMap((view) => view()) },
  };
}

function shown(result: RegistryResult, datacenter: string): object {
  if ('node' in result) return { Node: nodeView(result.node, datacenter) };
  return 'service' in result ? { Service: agentServiceView(result.service) } : { Check: checkView(result.check) };
}
