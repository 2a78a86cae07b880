import { createHash } from 'node:crypto';
import { ConsulError } from '#policies/consul/consul-error.ts';
import type { Compare, Operation } from '#store/contract.ts';
import type { Caller } from '../access/caller.ts';
import { denied } from '../access/denied.ts';
import { mayWriteInstance, operatorOnly } from '../access/permissions.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import { unchanged, type WritePlan } from '../state/catalog-writer.ts';
import { type CheckRecord, checkRecordSchema } from '../state/checks.ts';
import { encode } from '../state/indexed.ts';
import { keyOf } from '../state/keys.ts';
import type { NodeRecord } from '../state/nodes.ts';
import { meshServiceOf, type ServiceRecord, serviceRecordSchema } from '../state/services.ts';
import type { Registration } from './registration.ts';

/** Checks that one instance, or a node by itself, may have: what one transaction can remove. */
const maxChecksEach = 64;

/** What a registration came to: a warning for the caller, if any. */
export interface Registered {
  readonly warning: string | undefined;
}

/**
 * Plans a registration: of the node, the instance and the checks only what differs is written. Each item is judged on its own (CVE-2021-38698 was
 * a batch that was not).
 *
 * @throws ConsulError 403 when the caller may not write one of the items; 400 for a check of an unknown service
 */
export function planRegistration(
  state: CatalogState,
  caller: Caller,
  registration: Registration,
): WritePlan<Registered> {
  const compare: Compare[] = [];
  const operations: Operation[] = [];
  const write = (key: string, before: { record: unknown; modifyIndex: number } | undefined, after: unknown): void => {
    compare.push(unchanged(key, before?.modifyIndex));
    if (!same(before?.record, after)) operations.push({ kind: 'put', key, value: encode(after) });
  };

  const { name } = registration.node;
  const before = state.nodes.get(name);
  const node = nodeAfter(before?.record, registration);
  const mayNode = before === undefined || mayChangeNode(state, caller, name);
  if (mayNode) write(keyOf('nodes', name), before, node);
  const warning =
    mayNode || same(before.record, node)
      ? undefined
      : `node ${name} carries other services, so it was left as it is; give the service an Address of its own`;

  const { service } = registration;
  if (service !== undefined) {
    const existing = state.services.get(name, service.ID);
    denied(mayWriteInstance(caller, service));
    if (existing !== undefined) denied(mayWriteInstance(caller, existing.record));
    write(keyOf('services', name, service.ID), existing, serviceRecordSchema.parse(service));
    const carried = meshServiceOf(service);
    if (carried !== undefined && state.meshAddresses.of(carried) === undefined) {
      const free = state.meshAddresses.freeFor(carried);
      write(free.key, undefined, free.record);
    }
  }
  for (const check of registration.checks) {
    const owner = service?.ID === check.ServiceID ? service : ownerOf(state, check, compare);
    authorizeCheck(state, caller, check, owner);
    const existing = state.checks.get(name, check.CheckID);
    if (existing === undefined) refuseTooMany(state, check);
    write(keyOf('checks', name, check.CheckID), existing, checkRecordSchema.parse(withService(check, owner)));
  }
  return { compare, operations, result: { warning } };
}

/** Operators may change any node, whoever registers services one that carries nothing but these; to others' it would be a change of their address. */
function mayChangeNode(state: CatalogState, caller: Caller, node: string): boolean {
  if (operatorOnly(caller) === undefined) return true;
  return state.services.onNode(node).every(({ record }) => mayWriteInstance(caller, record) === undefined);
}

function nodeAfter(before: NodeRecord | undefined, { node }: Registration): NodeRecord {
  if (node.skipUpdate && before !== undefined) return before;
  if (node.address === '') throw new ConsulError(400, 'Must provide node and address');
  return {
    ID: node.id !== '' ? node.id : (before?.ID ?? idOfName(node.name)),
    Node: node.name,
    Address: node.address,
    TaggedAddresses: { ...node.taggedAddresses },
    Meta: { ...node.meta },
    ...(node.locality === undefined ? {} : { Locality: node.locality }),
  };
}

/** A node that was registered without an id gets one that stays the same: clients tell instances apart by it. */
export function idOfName(name: string): string {
  const hex = createHash('sha256').update(`selvedge node ${name}`).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** The instance that a check is of, which must be there and stay while the check is written; undefined: the node. */
function ownerOf(state: CatalogState, check: CheckRecord, compare: Compare[]): ServiceRecord | undefined {
  if (check.ServiceID === '') return undefined;
  const instance = state.services.get(check.Node, check.ServiceID);
  if (instance === undefined) throw new ConsulError(400, `Missing service registration: ${check.ServiceID}`);
  compare.push(unchanged(keyOf('services', check.Node, check.ServiceID), instance.modifyIndex));
  return instance.record;
}

/** Records of one schema have their fields in one order, so their JSON tells whether they are the same. */
function same(before: unknown, after: unknown): boolean {
  return before !== undefined && JSON.stringify(before) === JSON.stringify(after);
}

function withService(check: CheckRecord, service: ServiceRecord | undefined): CheckRecord {
  return service === undefined ? check : { ...check, ServiceName: service.Service, ServiceTags: service.Tags };
}

/** Checks of an instance belong to whoever may write the instance, checks of a node to operators; taking over another's check takes both. */
function authorizeCheck(
  state: CatalogState,
  caller: Caller,
  after: CheckRecord,
  owner: ServiceRecord | undefined,
): void {
  denied(owner === undefined ? operatorOnly(caller) : mayWriteInstance(caller, owner));
  const before = state.checks.get(after.Node, after.CheckID)?.record;
  if (before === undefined || before.ServiceID === after.ServiceID) return;
  const former = state.services.get(before.Node, before.ServiceID)?.record;
  denied(former === undefined ? operatorOnly(caller) : mayWriteInstance(caller, former));
}

function refuseTooMany(state: CatalogState, check: CheckRecord): void {
  const siblings = state.checks.onNode(check.Node).filter(({ record }) => record.ServiceID === check.ServiceID);
  if (siblings.length >= maxChecksEach) throw new ConsulError(400, `More than ${maxChecksEach} checks of one service`);
}
