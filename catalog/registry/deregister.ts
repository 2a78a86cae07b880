import { z } from 'zod';
import type { Operation } from '#store/contract.ts';
import type { Caller } from '../access/caller.ts';
import { denied } from '../access/denied.ts';
import { mayWriteInstance, operatorOnly } from '../access/permissions.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import { unchanged, type WritePlan } from '../state/catalog-writer.ts';
import { keyOf, prefixOf } from '../state/keys.ts';
import { itemId, nodeName } from './names.ts';

/** Body of PUT /v1/catalog/deregister. */
export const deregistrationSchema = z.object({
  Node: nodeName,
  Datacenter: z.string().max(128).default(''),
  ServiceID: itemId.default(''),
  CheckID: itemId.default(''),
});
export type Deregistration = z.infer<typeof deregistrationSchema>;

/**
 * Plans a removal: an instance with its checks, or one check, or a node with all that is on it. What is not there is removed already (Consul).
 * @throws ConsulError 403
 */
export function planDeregistration(state: CatalogState, caller: Caller, request: Deregistration): WritePlan<true> {
  if (request.ServiceID !== '') return planInstance(state, caller, request.Node, request.ServiceID);
  if (request.CheckID !== '') return planCheck(state, caller, request.Node, request.CheckID);
  denied(operatorOnly(caller));
  const node = state.nodes.get(request.Node);
  if (node === undefined) return { compare: [], operations: [], result: true };
  return {
    compare: [unchanged(keyOf('nodes', request.Node), node.modifyIndex)],
    operations: [
      { kind: 'delete-prefix', prefix: prefixOf('services', request.Node) },
      { kind: 'delete-prefix', prefix: prefixOf('checks', request.Node) },
      { kind: 'delete', key: keyOf('nodes', request.Node) },
    ],
    result: true,
  };
}

function planInstance(state: CatalogState, caller: Caller, node: string, id: string): WritePlan<true> {
  const instance = state.services.get(node, id);
  if (instance === undefined) {
    denied(caller.kind === 'anonymous' ? caller.reason : undefined);
    return { compare: [], operations: [], result: true };
  }
  denied(mayWriteInstance(caller, instance.record));
  const key = keyOf('services', node, id);
  const checks = state.checks.onNode(node).filter(({ record }) => record.ServiceID === id);
  return {
    compare: [unchanged(key, instance.modifyIndex)],
    operations: [
      { kind: 'delete', key },
      ...checks.map(({ record }): Operation => ({ kind: 'delete', key: keyOf('checks', node, record.CheckID) })),
    ],
    result: true,
  };
}

function planCheck(state: CatalogState, caller: Caller, node: string, id: string): WritePlan<true> {
  const check = state.checks.get(node, id);
  if (check === undefined) {
    denied(caller.kind === 'anonymous' ? caller.reason : undefined);
    return { compare: [], operations: [], result: true };
  }
  const owner = state.services.get(node, check.record.ServiceID)?.record;
  denied(owner === undefined ? operatorOnly(caller) : mayWriteInstance(caller, owner));
  const key = keyOf('checks', node, id);
  return { compare: [unchanged(key, check.modifyIndex)], operations: [{ kind: 'delete', key }], result: true };
}
