import { z } from 'zod';
import type { KeyValue } from '#store/contract.ts';
import { decode, type Indexed } from './indexed.ts';
import { keyOf } from './keys.ts';

/** What a check can say (Consul). */
export const checkStatuses = ['passing', 'warning', 'critical'] as const;
export type CheckStatus = (typeof checkStatuses)[number];

/** A check as it is stored: Consul's names. */
export const checkRecordSchema = z.object({
  Node: z.string(),
  CheckID: z.string(),
  Name: z.string(),
  Status: z.enum(checkStatuses),
  Notes: z.string(),
  Output: z.string(),
  /** Empty: a check of the node, which counts for all of its services. */
  ServiceID: z.string(),
  ServiceName: z.string(),
  ServiceTags: z.array(z.string()),
  Type: z.string(),
  /** How the agent runs it; kept as it came. Durations are Go's strings. */
  Definition: z.record(z.string(), z.unknown()),
});
export type CheckRecord = z.infer<typeof checkRecordSchema>;
export type Check = Indexed<CheckRecord>;

/** All checks, by node and id, and by what they check. */
export class Checks {
  readonly #byKey = new Map<string, Check>();
  readonly #byNode = new Map<string, Map<string, Check>>();

  get(node: string, id: string): Check | undefined {
    return this.#byKey.get(keyOf('checks', node, id));
  }

  /** Every check on a node, ordered by id. */
  onNode(node: string): Check[] {
    return sorted(this.#byNode.get(node)?.values() ?? []);
  }

  /** The checks that say how an instance is: its own and those of its node. */
  ofInstance(node: string, serviceId: string): Check[] {
    return this.onNode(node).filter(({ record }) => record.ServiceID === serviceId || record.ServiceID === '');
  }

  ofService(name: string): Check[] {
    return this.#select((record) => record.ServiceName === name && record.ServiceID !== '');
  }

  withStatus(status: CheckStatus | 'any'): Check[] {
    return this.#select((record) => status === 'any' || record.Status === status);
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** @returns the records before and after */
  put(kv: KeyValue): CheckRecord[] {
    const before = this.#byKey.get(kv.key)?.record;
    const check = decode(checkRecordSchema, kv);
    this.#byKey.set(kv.key, check);
    const onNode = this.#byNode.get(check.record.Node) ?? new Map<string, Check>();
    this.#byNode.set(check.record.Node, onNode.set(kv.key, check));
    return before === undefined ? [check.record] : [before, check.record];
  }

  /** @returns the record that was */
  delete(key: string): CheckRecord[] {
    const before = this.#byKey.get(key)?.record;
    if (before === undefined) return [];
    this.#byKey.delete(key);
    const onNode = this.#byNode.get(before.Node);
    onNode?.delete(key);
    if (onNode?.size === 0) this.#byNode.delete(before.Node);
    return [before];
  }

  keys(): Iterable<string> {
    return this.#byKey.keys();
  }

  #select(wanted: (record: CheckRecord) => boolean): Check[] {
    return sorted([...this.#byKey.values()].filter(({ record }) => wanted(record)));
  }
}

function sorted(checks: Iterable<Check>): Check[] {
  return [...checks].sort((a, b) =>
    a.record.Node === b.record.Node
      ? a.record.CheckID < b.record.CheckID
        ? -1
        : 1
      : a.record.Node < b.record.Node
        ? -1
        : 1,
  );
}

/**
 * Consul's aggregation: maintenance is critical to callers, else the worst of all; no checks: passing.
 * `_node_maintenance` and `_service_maintenance:<id>` are critical checks, so the worst of all already says it.
 */
export function aggregate(checks: Iterable<Check>): CheckStatus {
  let worst: CheckStatus = 'passing';
  for (const { record } of checks) {
    if (record.Status === 'critical') return 'critical';
    if (record.Status === 'warning') worst = 'warning';
  }
  return worst;
}
