import { z } from 'zod';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { quote } from '#policies/quote.ts';
import type { Compare, Operation } from '#store/contract.ts';
import type { Caller } from '../access/caller.ts';
import { denied } from '../access/denied.ts';
import { knownOnly, mayWriteInstance, operatorOnly } from '../access/permissions.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import { unchanged } from '../state/catalog-writer.ts';
import { type Check, type CheckRecord, checkRecordSchema } from '../state/checks.ts';
import { encode, type Indexed } from '../state/indexed.ts';
import { keyOf } from '../state/keys.ts';
import { type Node, type NodeRecord, nodeRecordSchema } from '../state/nodes.ts';
import { meshServiceOf, type ServiceInstance, type ServiceRecord, serviceRecordSchema } from '../state/services.ts';
import { checkRequestSchema, toCheckRecord } from './check-request.ts';
import { hostAddress, metadata, nodeName } from './names.ts';
import { idOfName } from './register.ts';
import { serviceRequestSchema, toServiceRecord } from './registration.ts';

/** Things that the registry's steps of one transaction may look at or change: what one transaction of the store can compare, less the KV's and the writer's. */
const maxThings = 120;

const verb = z.string().max(32).default('');
const index = z.int().min(0).default(0);

/** Steps of a transaction on nodes, instances and checks, as Consul's clients send them. */
export const nodeStepSchema = z.object({
  Verb: verb,
  Node: z.object({
    ID: z
      .string()
      .max(64)
      .regex(/^[0-9A-Za-z-]*$/, 'is not a UUID')
      .default(''),
    Node: nodeName,
    Address: hostAddress.default(''),
    TaggedAddresses: z.record(z.string().max(64), hostAddress).default({}),
    Meta: metadata.default({}),
    ModifyIndex: index,
  }),
});
export const serviceStepSchema = z.object({
  Verb: verb,
  Node: nodeName,
  Service: serviceRequestSchema.extend({ ModifyIndex: index }),
});
export const checkStepSchema = z.object({
  Verb: verb,
  Check: checkRequestSchema.extend({ Node: nodeName, ModifyIndex: index }),
});
export type NodeStep = z.infer<typeof nodeStepSchema>;
export type ServiceStep = z.infer<typeof serviceStepSchema>;
export type CheckStep = z.infer<typeof checkStepSchema>;

/** What a step answers with, once the transaction is written. */
export type RegistryResult =
  | { readonly node: Node }
  | { readonly service: ServiceInstance }
  | { readonly check: Check };
type Results = () => readonly RegistryResult[];
const nothing: Results = () => [];

interface Thing {
  readonly before: Indexed<unknown> | undefined;
  /** Undefined: it is gone. */
  after: unknown;
}

/**
 * What the registry would be after some steps. Each step is judged by itself: whoever sends it may do that much, whatever else the transaction holds.
 * Steps throw ConsulError 400 and 403; a text says why a step can't be done as things are (Consul's `Errors`).
 */
export class RegistryDraft {
  readonly #state: CatalogState;
  readonly #caller: Caller;
  readonly #things = new Map<string, Thing>();

  constructor(state: CatalogState, caller: Caller) {
    this.#state = state;
    this.#caller = caller;
  }

  node({ Verb, Node: given }: NodeStep): Results | string {
    const { Node: name } = given;
    const key = keyOf('nodes', name);
    const now = this.#node(name);
    denied(Verb === 'get' ? knownOnly(this.#caller) : operatorOnly(this.#caller));
    const shown = `node ${quote(name)}`;
    const results: Results = () => [this.#state.nodes.get(name) ?? []].flat().map((node) => ({ node }));
    switch (Verb) {
      case 'get':
        return now === undefined ? `${shown} doesn't exist` : results;
      case 'set':
      case 'cas':
        if (Verb === 'cas' && !this.#is(key, given.ModifyIndex)) return `failed to set ${shown}, index is stale`;
        if (given.Address === '') throw new ConsulError(400, 'Must provide node and address');
        this.#set(
          key,
          nodeRecordSchema.parse({ ...given, ID: given.ID === '' ? (now?.ID ?? idOfName(name)) : given.ID }),
        );
        return results;
      case 'delete':
      case 'delete-cas':
        if (Verb === 'delete-cas' && (now === undefined || !this.#is(key, given.ModifyIndex)))
          return `failed to delete ${shown}, index is stale`;
        this.#endNode(name);
        return nothing;
      default:
        throw new ConsulError(400, `unknown Node verb ${quote(Verb)}`);
    }
  }

  service({ Verb, Node: node, Service: given }: ServiceStep): Results | string {
    const id = given.ID === '' ? given.Service : given.ID;
    const key = keyOf('services', node, id);
    const now = this.#service(node, id);
    const shown = `service ${quote(id)} on node ${quote(node)}`;
    const results: Results = () => [this.#state.services.get(node, id) ?? []].flat().map((service) => ({ service }));
    if (Verb === 'get') {
      denied(knownOnly(this.#caller));
      return now === undefined ? `${shown} doesn't exist` : results;
    }
    denied(now === undefined ? knownOnly(this.#caller) : mayWriteInstance(this.#caller, now));
    switch (Verb) {
      case 'set':
      case 'cas': {
        const { ModifyIndex, ...request } = given;
        const record = serviceRecordSchema.parse(toServiceRecord(node, request));
        denied(mayWriteInstance(this.#caller, record));
        if (Verb === 'cas' && !this.#is(key, ModifyIndex)) return `failed to set ${shown}, index is stale`;
        if (this.#node(node) === undefined) return 'Missing node registration';
        this.#set(key, record);
        this.#address(record);
        return results;
      }
      case 'delete':
      case 'delete-cas':
        if (Verb === 'delete-cas' && (now === undefined || !this.#is(key, given.ModifyIndex)))
          return `failed to delete ${shown}, index is stale`;
        this.#endService(node, id);
        return nothing;
      default:
        throw new ConsulError(400, `unknown Service verb ${quote(Verb)}`);
    }
  }

  check({ Verb, Check: given }: CheckStep): Results | string {
    const { Node: node, ModifyIndex, ...request } = given;
    const record = toCheckRecord(node, { ...request, Node: node });
    const { CheckID: id } = record;
    const key = keyOf('checks', node, id);
    const now = this.#check(node, id);
    const shown = `check ${quote(id)} on node ${quote(node)}`;
    const results: Results = () => [this.#state.checks.get(node, id) ?? []].flat().map((check) => ({ check }));
    if (Verb === 'get') {
      denied(knownOnly(this.#caller));
      return now === undefined ? `${shown} doesn't exist` : results;
    }
    if (now !== undefined) this.#mayWriteCheck(now);
    else denied(knownOnly(this.#caller));
    switch (Verb) {
      case 'set':
      case 'cas': {
        const owner = record.ServiceID === '' ? undefined : this.#service(node, record.ServiceID);
        if (record.ServiceID !== '' && owner === undefined) return `Missing service registration: ${record.ServiceID}`;
        this.#mayWriteCheck(record);
        if (Verb === 'cas' && !this.#is(key, ModifyIndex)) return `failed to set ${shown}, index is stale`;
        if (this.#node(node) === undefined) return 'Missing node registration';
        const named = owner === undefined ? record : { ...record, ServiceName: owner.Service, ServiceTags: owner.Tags };
        this.#set(key, checkRecordSchema.parse(named));
        return results;
      }
      case 'delete':
      case 'delete-cas':
        if (Verb === 'delete-cas' && (now === undefined || !this.#is(key, ModifyIndex)))
          return `failed to delete ${shown}, index is stale`;
        this.#set(key, undefined);
        return nothing;
      default:
        throw new ConsulError(400, `unknown Check verb ${quote(Verb)}`);
    }
  }

  get compare(): Compare[] {
    return [...this.#things].map(([key, { before }]) => unchanged(key, before?.modifyIndex));
  }

  get operations(): Operation[] {
    return [...this.#things].flatMap(([key, { before, after }]): Operation[] => {
      if (after === undefined) return before === undefined ? [] : [{ kind: 'delete', key }];
      const same = before !== undefined && JSON.stringify(before.record) === JSON.stringify(after);
      return same ? [] : [{ kind: 'put', key, value: encode(after) }];
    });
  }

  /** Checks of an instance belong to whoever may write it, checks of a node to operators. */
  #mayWriteCheck(check: CheckRecord): void {
    const owner = check.ServiceID === '' ? undefined : this.#service(check.Node, check.ServiceID);
    denied(owner === undefined ? operatorOnly(this.#caller) : mayWriteInstance(this.#caller, owner));
  }

  #endNode(name: string): void {
    for (const { record } of this.#state.services.onNode(name)) this.#endService(name, record.ID);
    for (const { record } of this.#state.checks.onNode(name)) this.#endCheck(name, record.CheckID);
    for (const noun of ['services', 'checks'] as const) {
      const prefix = `${keyOf(noun, name)}/`;
      for (const key of this.#things.keys()) if (key.startsWith(prefix)) this.#set(key, undefined);
    }
    this.#set(keyOf('nodes', name), undefined);
  }

  #endService(node: string, id: string): void {
    this.#service(node, id);
    this.#set(keyOf('services', node, id), undefined);
    for (const { record } of this.#state.checks.onNode(node)) {
      if (record.ServiceID === id) this.#endCheck(node, record.CheckID);
    }
    const prefix = `${keyOf('checks', node)}/`;
    for (const [key, { after }] of this.#things) {
      if (key.startsWith(prefix) && (after as CheckRecord | undefined)?.ServiceID === id) this.#set(key, undefined);
    }
  }

  #endCheck(node: string, id: string): void {
    this.#check(node, id);
    this.#set(keyOf('checks', node, id), undefined);
  }

  /** A service that comes into the mesh gets its address (register.ts); two that would get one and the same are one too many for one transaction. */
  #address(record: ServiceRecord): void {
    const carried = meshServiceOf(record);
    if (carried === undefined || this.#state.meshAddresses.of(carried) !== undefined) return;
    const free = this.#state.meshAddresses.freeFor(carried);
    const thing = this.#look(free.key, undefined);
    if (thing.after !== undefined && JSON.stringify(thing.after) !== JSON.stringify(free.record)) {
      throw new ConsulError(
        400,
        `${carried} cannot be registered for the first time in this transaction: register it by itself`,
      );
    }
    thing.after = free.record;
  }

  #node(name: string): NodeRecord | undefined {
    return this.#look(keyOf('nodes', name), this.#state.nodes.get(name)).after as NodeRecord | undefined;
  }

  #service(node: string, id: string): ServiceRecord | undefined {
    const thing = this.#look(keyOf('services', node, id), this.#state.services.get(node, id));
    return thing.after as ServiceRecord | undefined;
  }

  #check(node: string, id: string): CheckRecord | undefined {
    return this.#look(keyOf('checks', node, id), this.#state.checks.get(node, id)).after as CheckRecord | undefined;
  }

  #look(key: string, before: Indexed<unknown> | undefined): Thing {
    const known = this.#things.get(key);
    if (known !== undefined) return known;
    if (this.#things.size >= maxThings) {
      throw new ConsulError(413, `Transaction concerns more than ${maxThings} nodes, services and checks`);
    }
    const thing: Thing = { before, after: before?.record };
    this.#things.set(key, thing);
    return thing;
  }

  /** Of a thing that was looked at. */
  #set(key: string, after: unknown): void {
    this.#look(key, undefined).after = after;
  }

  /** 0: it is not there. What this transaction changed has no index yet and equals none. */
  #is(key: string, modifyIndex: number): boolean {
    const { before, after } = this.#look(key, undefined);
    if (after === undefined) return modifyIndex === 0;
    return before !== undefined && after === before.record && before.modifyIndex === modifyIndex;
  }
}
