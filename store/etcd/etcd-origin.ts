import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { etcdCalls } from './etcd-api.ts';
import type { EtcdMembers } from './etcd-members.ts';
import { KeySpace } from './key-space.ts';

/** What is remembered of a store that did not begin on this cluster; kept beside its data. */
interface Origin {
  /** Added to etcd's revisions. */
  readonly offset: number;
  /** History begins here: at the first revision at which all of it was there. */
  readonly since: number;
}

const schema = z.union([
  z.strictObject({ state: z.literal('filling'), offset: z.number().int().min(0) }),
  z.strictObject({ state: z.literal('whole'), offset: z.number().int().min(0), since: z.number().int().min(0) }),
]);

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const originKey = (prefix: string): Uint8Array => bytes(`${prefix}/origin`);

/** @throws MeshError SLV-3509 when the store was not filled to its end */
export async function loadOrigin(members: EtcdMembers, prefix: string): Promise<Origin> {
  const { kvs } = await members.call(etcdCalls.range, { key: originKey(prefix) });
  if (kvs[0] === undefined) return { offset: 0, since: 0 };
  const origin = schema.parse(JSON.parse(new TextDecoder().decode(kvs[0].value)));
  if (origin.state === 'whole') return origin;
  throw new MeshError(
    'SLV-3509',
    `The store under ${prefix}/ was not filled to its end. Remove it (etcdctl del --prefix ${prefix}/) and begin again.`,
  );
}

/**
 * Marks a prefix as being filled: until `finishOrigin` nobody opens it.
 *
 * @param firstRevision what the store's revisions are above
 * @throws MeshError SLV-3511 when something is under the prefix already
 */
export async function beginOrigin(members: EtcdMembers, prefix: string, firstRevision: number): Promise<number> {
  const everything = new KeySpace(`${prefix}/`, 0).prefix('');
  const { kvs, header } = await members.call(etcdCalls.range, { ...everything, limit: 1n });
  if (kvs.length > 0) throw new MeshError('SLV-3511', `There are keys under ${prefix}/ in etcd already.`);
  const offset = Math.max(0, firstRevision - Number(header?.revision ?? 0n));
  await write(members, prefix, { state: 'filling', offset });
  return offset;
}

/** @param since the store's revision now that all of it is there */
export async function finishOrigin(members: EtcdMembers, prefix: string, origin: Origin): Promise<void> {
  await write(members, prefix, { state: 'whole', ...origin });
}

async function write(members: EtcdMembers, prefix: string, origin: z.infer<typeof schema>): Promise<void> {
  const put = { key: originKey(prefix), value: bytes(JSON.stringify(origin)) };
  await members.call(etcdCalls.txn, { compare: [], success: [{ put }], failure: [] });
}
