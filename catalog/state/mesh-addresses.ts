import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { KeyValue } from '#store/contract.ts';
import { decode } from './indexed.ts';
import { keyOf } from './keys.ts';

/** An address of 127.64.0.0/10 and the service that it stands for, for good: applications and resolvers remember it. */
export const meshAddressSchema = z.object({ Address: z.string(), Service: z.string() });
export type MeshAddress = z.infer<typeof meshAddressSchema>;

const addressBits = 22;
/** 127.64.0.0 */
const firstAddress = 0x7f400000;

/** The addresses of the names `<service>.mesh`, by address in the store, by service in memory. */
export class MeshAddresses {
  readonly #byKey = new Map<string, MeshAddress>();
  readonly #byService = new Map<string, MeshAddress>();

  of(service: string): MeshAddress | undefined {
    return this.#byService.get(service);
  }

  list(): Iterable<MeshAddress> {
    return this.#byService.values();
  }

  get size(): number {
    return this.#byService.size;
  }

  put(kv: KeyValue): void {
    const { record } = decode(meshAddressSchema, kv);
    this.#byKey.set(kv.key, record);
    this.#byService.set(record.Service, record);
  }

  delete(key: string): void {
    const before = this.#byKey.get(key);
    if (before === undefined) return;
    this.#byKey.delete(key);
    this.#byService.delete(before.Service);
  }

  keys(): Iterable<string> {
    return this.#byKey.keys();
  }

  /**
   * Where a service that has none gets its address: at the hash of its name, or the next free one. As addresses are never given back, the place is the
   * same for whoever looks, so two catalogs that do so at once meet at one key and one of them looks again.
   */
  freeFor(service: string): { readonly key: string; readonly record: MeshAddress } {
    const size = 2 ** addressBits;
    const start = createHash('sha256').update(service).digest().readUInt32BE(0) % size;
    for (let step = 0; ; step = (step + 1) % size) {
      const number = firstAddress + ((start + step) % size);
      const address = [number >>> 24, (number >>> 16) & 0xff, (number >>> 8) & 0xff, number & 0xff].join('.');
      const key = keyOf('mesh-addresses', address);
      if (!this.#byKey.has(key)) return { key, record: { Address: address, Service: service } };
    }
  }
}
