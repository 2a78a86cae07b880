import type { Compare, KeyValue, Operation, Transaction, WatchBatch, WatchEvent } from '../contract.ts';
import { compareBy, deleteEvent, type EtcdEvent, type EtcdKeyValue } from './etcd-api.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The part of a cluster that one store has, and how what is in it is said in the words of contract.ts. */
export class KeySpace {
  readonly #root: string;
  readonly #rootBytes: number;
  /**
   * Added to etcd's revisions: a store that came from elsewhere (SQLite) begins above all that it ever said there, so that no index that a client holds
   * goes back.
   */
  readonly #offset: number;

  /** @param root what every key begins with; not empty */
  constructor(root: string, offset: number) {
    this.#root = root;
    this.#rootBytes = Buffer.byteLength(root);
    this.#offset = offset;
  }

  key(key: string): Uint8Array {
    return encoder.encode(this.#root + key);
  }

  /**
   * All keys with a prefix, as etcd's half-open range. No byte of UTF-8 is 0xff, so the last one can always be one more.
   *
   * @param after those above this key; the next possible one has a zero byte more
   */
  prefix(prefix: string, after = ''): { readonly key: Uint8Array; readonly rangeEnd: Uint8Array } {
    const first = this.key(prefix);
    const rangeEnd = Uint8Array.from(first);
    rangeEnd[rangeEnd.length - 1] = (rangeEnd.at(-1) ?? 0) + 1;
    const next = this.key(`${after}\0`);
    return { key: after === '' || Buffer.compare(next, first) < 0 ? first : next, rangeEnd };
  }

  /** Ours, from etcd's. */
  revision(etcdRevision: bigint): number {
    return Number(etcdRevision) + this.#offset;
  }

  /** etcd's, from ours. One from before the store came here is 1 at the lowest. */
  etcdRevision(revision: number): bigint {
    return BigInt(Math.max(revision - this.#offset, 1));
  }

  keyValue(kv: EtcdKeyValue): KeyValue {
    return {
      key: this.#name(kv.key),
      // A copy: a view would keep all that came with it.
      value: new Uint8Array(kv.value),
      createRevision: this.revision(kv.createRevision),
      modRevision: this.revision(kv.modRevision),
      version: Number(kv.version),
      ...(kv.lease === 0n ? {} : { lease: String(kv.lease) }),
    };
  }

  transaction({ compare, success, failure = [] }: Transaction) {
    return {
      compare: compare.map((one) => this.#compare(one)),
      success: success.map((one) => this.#operation(one)),
      failure: failure.map((one) => this.#operation(one)),
    };
  }

  /** Events come in the order of their revisions, those of one together. */
  batches(events: readonly EtcdEvent[]): WatchBatch[] {
    const batches: { revision: number; events: WatchEvent[] }[] = [];
    for (const { type, kv } of events) {
      if (kv === undefined) continue;
      const revision = this.revision(kv.modRevision);
      const event: WatchEvent =
        type === deleteEvent
          ? { kind: 'delete', key: this.#name(kv.key), modRevision: revision }
          : { kind: 'put', kv: this.keyValue(kv) };
      const last = batches.at(-1);
      if (last?.revision === revision) last.events.push(event);
      else batches.push({ revision, events: [event] });
    }
    return batches;
  }

  #name(key: Uint8Array): string {
    return decoder.decode(key.subarray(this.#rootBytes));
  }

  #compare(compare: Compare) {
    const key = this.key(compare.key);
    const { equal, greater, version, mod, value } = compareBy;
    switch (compare.kind) {
      case 'absent':
        return { result: equal, target: version, key, version: 0n };
      case 'present':
        return { result: greater, target: version, key, version: 0n };
      case 'mod-revision':
        return { result: equal, target: mod, key, modRevision: this.#modRevision(compare.equals) };
      case 'value':
        return { result: equal, target: value, key, value: compare.equals };
    }
  }

  /** 0 stays "not there". A revision from before the store came here is no revision of any key, and must not become 0. */
  #modRevision(equals: number): bigint {
    if (equals === 0) return 0n;
    return equals > this.#offset ? BigInt(equals - this.#offset) : -1n;
  }

  #operation(operation: Operation) {
    switch (operation.kind) {
      case 'put': {
        const { key, value, lease } = operation;
        return { put: { key: this.key(key), value, ...(lease === undefined ? {} : { lease: BigInt(lease) }) } };
      }
      case 'delete':
        return { deleteRange: { key: this.key(operation.key) } };
      case 'delete-prefix':
        return { deleteRange: this.prefix(operation.prefix) };
    }
  }
}
