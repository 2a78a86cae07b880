import { decodeBody } from '#policies/consul/go-json.ts';
import { nameOf } from '../access/caller.ts';
import { denied } from '../access/denied.ts';
import { operatorOnly } from '../access/permissions.ts';
import { planTransaction, toSteps, transactionSchema } from '../kv/transaction.ts';
import type { CatalogParts } from '../parts.ts';
import { refuseUnsupported } from './query-options.ts';
import { bodyOf, type CatalogRequest, jsonAnswer, type Route } from './route-table.ts';

/** /v1/txn: several steps on the KV, all of them or none. 409 with the reasons when one can't be done. */
export function txnRoutes(parts: CatalogParts): Route[] {
  return [{ path: '/v1/txn', methods: { PUT: (c) => transact(c, parts) } }];
}

async function transact(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  denied(operatorOnly(c.var.caller));
  refuseUnsupported(c.req.raw, parts.datacenter);
  const steps = toSteps(decodeBody(transactionSchema, await bodyOf(c), { failure: 'Failed to parse body' }));
  const outcome = await parts.writer.commit(() => planTransaction(parts.state, steps));
  parts.context.log.info(
    { audit: 'txn', caller: nameOf(c.var.caller), steps: steps.length, done: outcome.kind === 'done' },
    'transaction',
  );
  if (outcome.kind === 'conflict') return jsonAnswer({ Results: null, Errors: outcome.errors }, {}, 409);
  const results = outcome.results();
  return jsonAnswer({ Results: results.length === 0 ? null : results, Errors: null });
}
