import { z } from 'zod';
import { localitySchema } from '#policies/consul/service-ports.ts';
import type { KeyValue } from '#store/contract.ts';
import { decode, type Indexed } from './indexed.ts';
import { keyOf } from './keys.ts';
import type { Touch } from './topics.ts';

/** A node as it is stored: Consul's names, because that is what every reader of it gets. */
export const nodeRecordSchema = z.object({
  /** A UUID: clients tell instances apart by Node.ID and Service.ID. */
  ID: z.string(),
  Node: z.string(),
  /** IP address or host name. */
  Address: z.string(),
  TaggedAddresses: z.record(z.string(), z.string()),
  Meta: z.record(z.string(), z.string()),
  Locality: localitySchema.optional(),
});
export type NodeRecord = z.infer<typeof nodeRecordSchema>;
export type Node = Indexed<NodeRecord>;

/** All nodes, by name. */
export class Nodes {
  readonly #byKey = new Map<string, Node>();

  get(name: string): Node | undefined {
    return this.#byKey.get(keyOf('nodes', name));
  }

  /** Ordered by name. */
  list(): Node[] {
    return [...this.#byKey.values()].sort((a, b) => (a.record.Node < b.record.Node ? -1 : 1));
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** @returns the name of the node that changed */
  put(kv: KeyValue, touch: Touch): string {
    const node = decode(nodeRecordSchema, kv);
    this.#byKey.set(kv.key, node);
    touch('nodes');
    touch(`node/${node.record.Node}`);
    return node.record.Node;
  }

  /** @returns the name of the node that ended */
  delete(key: string, touch: Touch): string | undefined {
    const name = this.#byKey.get(key)?.record.Node;
    if (name === undefined) return undefined;
    this.#byKey.delete(key);
    touch('nodes');
    touch(`node/${name}`);
    return name;
  }

  keys(): Iterable<string> {
    return this.#byKey.keys();
  }
}
