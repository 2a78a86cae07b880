import type { KeyValue, Store } from './contract.ts';

/** Keys of one page: few enough that the copies on the way from a thread or a socket are small beside what is made of them. */
const pageKeys = 1_000;

/** A part of a range. */
export interface Page {
  readonly kvs: readonly KeyValue[];
  /** The revision that all pages are of. */
  readonly revision: number;
}

/**
 * Reads a range in pages, all as of one revision: that of the first.
 *
 * @throws MeshError SLV-3502 when that revision is compacted meanwhile; the caller begins anew
 */
export async function* pagesOf(store: Store, prefix: string): AsyncGenerator<Page, void, undefined> {
  let { kvs, revision } = await store.range(prefix, { limit: pageKeys });
  yield { kvs, revision };
  for (let last = kvs.at(-1); kvs.length === pageKeys && last !== undefined; last = kvs.at(-1)) {
    ({ kvs } = await store.range(prefix, { revision, limit: pageKeys, after: last.key }));
    yield { kvs, revision };
  }
}
