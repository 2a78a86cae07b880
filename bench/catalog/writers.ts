import { credentials } from '@grpc/grpc-js';
import { createLogger } from '#runtime/logging.ts';
import type { Store } from '#store/contract.ts';
import { openEtcdStore } from '#store/etcd/etcd-store.ts';
import { send } from './contents.ts';

const writers = 64;
let values = 0;
/** 100 bytes, never the same again: what is so already is not written. */
const nextValue = (): string => String(++values).padStart(100, 'x');

/** Writes that were acknowledged, per second, by 64 writers that each wait for their answer. */
export async function writesPerSecond(
  write: (writer: number, count: number) => Promise<void>,
  seconds: number,
): Promise<number> {
  const begun = performance.now();
  let done = 0;
  const worker = async (writer: number): Promise<void> => {
    for (let count = 0; performance.now() - begun < seconds * 1_000; count++) {
      await write(writer, count);
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: writers }, (_, writer) => worker(writer)));
  return done / ((performance.now() - begun) / 1_000);
}

/** A write over the catalog's API. */
export const catalogWrite =
  (url: string) =>
  async (writer: number, count: number): Promise<void> => {
    await send(url, 'PUT', `/v1/kv/bench/${writer}/${count % 50}`, nextValue());
  };

/** A put to etcd itself, by the same client as the catalog's. */
export async function rawEtcd(
  addresses: readonly string[],
): Promise<{ store: Store; write: ReturnType<typeof catalogWrite> }> {
  const log = createLogger({ process: 'bench', level: 'silent' });
  const store = await openEtcdStore({ addresses, credentials: credentials.createInsecure(), prefix: 'raw', log });
  return {
    store,
    async write(writer, count) {
      await store.put(`bench/${writer}/${count % 50}`, Buffer.from(nextValue()));
    },
  };
}
