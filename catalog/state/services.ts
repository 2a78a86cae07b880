import { z } from 'zod';
import { localitySchema, servicePortsSchema } from '#policies/consul/service-ports.ts';
import type { KeyValue } from '#store/contract.ts';
import { decode, type Indexed } from './indexed.ts';
import { keyOf } from './keys.ts';
import type { Touch } from './topics.ts';

const address = z.object({ Address: z.string(), Port: z.number() });

/** One instance of a service as it is stored: Consul's names. */
export const serviceRecordSchema = z.object({
  Node: z.string(),
  Kind: z.enum(['', 'connect-proxy']),
  ID: z.string(),
  Service: z.string(),
  Tags: z.array(z.string()),
  /** Empty: the node's. */
  Address: z.string(),
  TaggedAddresses: z.record(z.string(), address),
  Meta: z.record(z.string(), z.string()),
  Port: z.number(),
  Ports: servicePortsSchema.optional(),
  Locality: localitySchema.optional(),
  Weights: z.object({ Passing: z.number(), Warning: z.number() }),
  EnableTagOverride: z.boolean(),
  /** Of a connect-proxy; what it does not name is kept as it came. */
  Proxy: z.looseObject({ DestinationServiceName: z.string().optional(), DestinationServiceID: z.string().optional() }),
  Connect: z.object({ Native: z.boolean().optional() }),
});
export type ServiceRecord = z.infer<typeof serviceRecordSchema>;
export type ServiceInstance = Indexed<ServiceRecord>;

/** @returns the service that callers reach through this instance: the proxied one, itself if native to the mesh, else none. */
export function meshServiceOf(record: ServiceRecord): string | undefined {
  if (record.Kind === 'connect-proxy') return record.Proxy.DestinationServiceName;
  return record.Connect.Native === true ? record.Service : undefined;
}

/** All instances: by node and id, by name, and by the service that they carry into the mesh. */
export class Services {
  readonly #byKey = new Map<string, ServiceInstance>();
  readonly #byNode = new Map<string, Set<string>>();
  readonly #byName = new Map<string, Set<string>>();
  readonly #byMeshService = new Map<string, Set<string>>();
  #tags: Readonly<Record<string, readonly string[]>> | undefined;

  get(node: string, id: string): ServiceInstance | undefined {
    return this.#byKey.get(keyOf('services', node, id));
  }

  onNode(node: string): ServiceInstance[] {
    return this.#pick(this.#byNode.get(node));
  }

  named(name: string): ServiceInstance[] {
    return this.#pick(this.#byName.get(name));
  }

  /** Proxies of the service and instances native to the mesh. */
  inMesh(name: string): ServiceInstance[] {
    return this.#pick(this.#byMeshService.get(name));
  }

  /** Proxies on the node that stand before the instance `id`. */
  proxiesOf(node: string, id: string): ServiceInstance[] {
    return this.onNode(node).filter(
      ({ record }) => record.Kind === 'connect-proxy' && record.Proxy.DestinationServiceID === id,
    );
  }

  list(): Iterable<ServiceInstance> {
    return this.#byKey.values();
  }

  get size(): number {
    return this.#byKey.size;
  }

  put(kv: KeyValue, touch: Touch): void {
    const before = this.#byKey.get(kv.key)?.record;
    const instance = decode(serviceRecordSchema, kv);
    if (before !== undefined) this.#unlink(kv.key, before, touch);
    this.#byKey.set(kv.key, instance);
    this.#link(kv.key, instance.record, touch);
    if (before?.Service !== instance.record.Service || before.Tags.join('\0') !== instance.record.Tags.join('\0')) {
      this.#namesChanged(touch);
    }
  }

  delete(key: string, touch: Touch): void {
    const before = this.#byKey.get(key)?.record;
    if (before === undefined) return;
    this.#byKey.delete(key);
    this.#unlink(key, before, touch);
    this.#namesChanged(touch);
  }

  keys(): Iterable<string> {
    return this.#byKey.keys();
  }

  /** Touches all that shows this instance, for a change of its node. */
  touchInstance(record: ServiceRecord, touch: Touch): void {
    touch('instances');
    touch(`node/${record.Node}`);
    touch(`service/${record.Service}`);
    touch(`health/${record.Service}`);
    touch(`upstream/${record.Service}`); // its tags and meta say of which subset its proxy is
    const carried = meshServiceOf(record);
    if (carried === undefined) return;
    touch(`connect/${carried}`);
    touch(`connect-health/${carried}`);
    touch(`upstream/${carried}`);
  }

  #namesChanged(touch: Touch): void {
    this.#tags = undefined;
    touch('services');
  }

  #link(key: string, record: ServiceRecord, touch: Touch): void {
    add(this.#byNode, record.Node, key);
    add(this.#byName, record.Service, key);
    const carried = meshServiceOf(record);
    if (carried !== undefined) add(this.#byMeshService, carried, key);
    this.touchInstance(record, touch);
  }

  #unlink(key: string, record: ServiceRecord, touch: Touch): void {
    remove(this.#byNode, record.Node, key);
    remove(this.#byName, record.Service, key);
    const carried = meshServiceOf(record);
    if (carried !== undefined) remove(this.#byMeshService, carried, key);
    this.touchInstance(record, touch);
  }

  /** Names of services with the union of their instances' tags, sorted. */
  tagsByName(): Readonly<Record<string, readonly string[]>> {
    if (this.#tags !== undefined) return this.#tags;
    const names = [...this.#byName.keys()].sort();
    const union = (name: string) => [...new Set(this.named(name).flatMap(({ record }) => record.Tags))].sort();
    this.#tags = Object.fromEntries(names.map((name) => [name, union(name)]));
    return this.#tags;
  }

  /** In the order of their keys, so that an answer looks the same each time. */
  #pick(keys: ReadonlySet<string> | undefined): ServiceInstance[] {
    return [...(keys ?? [])].sort().flatMap((key) => this.#byKey.get(key) ?? []);
  }
}

function add(index: Map<string, Set<string>>, name: string, key: string): void {
  const keys = index.get(name) ?? new Set();
  index.set(name, keys.add(key));
}

function remove(index: Map<string, Set<string>>, name: string, key: string): void {
  const keys = index.get(name);
  keys?.delete(key);
  if (keys?.size === 0) index.delete(name);
}
