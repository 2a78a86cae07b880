import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { createLogger } from '#runtime/logging.ts';
import { makeKeyPair, publicKeyPem } from '#runtime/svid/node-key.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { Nodes, readNodeKey } from './nodes.ts';
import type { ShownSvid } from './shown-svid.ts';

/* A node is attested, its certificate signed, and only then recorded: what happened to the node in between counts. */

const log = createLogger({ process: 'test', level: 'silent' });
const store = await openSqliteStore({ path: undefined, clock: Date.now, log });
test.after(() => store.close());
const nodes = new Nodes(store, Date.now);

let serials = 0;
const svid = () => ({ service: 'web', serial: `ab${serials++}`, notAfterMs: Date.now() + 3_600_000 });
const proof = (serial: string): ShownSvid => ({ serial, isProof: true });

/** A node with one SVID, by which it has been attested. */
async function attested() {
  const key = readNodeKey(publicKeyPem(makeKeyPair()));
  const joining = await nodes.joining(key, { name: 'web-host', services: ['web'] });
  await store.txn({ compare: joining.compare, success: [joining.put] });
  const held = svid();
  await nodes.recordSvid(key.nodeId, held, undefined);
  const node = (await nodes.ofSerial(held.serial))?.node;
  assert.ok(node !== undefined);
  return { node, held };
}
const svidsOf = async (id: string) => (await nodes.get(id))?.node.svids['web'];

const meanwhile: readonly [
  what: string,
  change: (id: string, serial: string) => Promise<unknown>,
  code: 'SLV-2120' | 'SLV-2121' | 'SLV-2122',
][] = [
  ['revoked', (id) => nodes.revoke(id), 'SLV-2121'],
  ['narrowed', (id) => nodes.changeGrant(id, ['api']), 'SLV-2120'],
  [
    'renewed twice by others',
    async (id, serial) => {
      const next = svid();
      await nodes.recordSvid(id, next, proof(serial));
      await nodes.recordSvid(id, svid(), proof(next.serial));
    },
    'SLV-2122',
  ],
];
for (const [what, change, code] of meanwhile) {
  test(`a node that was ${what} meanwhile gets nothing, and its record is left alone`, async () => {
    const { node, held } = await attested();
    await change(node.id, held.serial);
    const before = (await nodes.get(node.id))?.node;
    await assert.rejects(nodes.recordSvid(node, svid(), proof(held.serial)), (error) => isMeshError(error, code));
    assert.deepEqual((await nodes.get(node.id))?.node, before);
  });
}

test('renewed once meanwhile, the SVID in hand is the one before the newest, and renews', async () => {
  const { node, held } = await attested();
  await nodes.recordSvid(node.id, svid(), proof(held.serial));
  const next = svid();
  await nodes.recordSvid(node, next, proof(held.serial));
  assert.deepEqual(await svidsOf(node.id), { current: next.serial, previous: held.serial });
});

test('who proved its key beside an SVID that is too old by now gets one all the same', async () => {
  const { node, held } = await attested();
  const next = svid();
  await nodes.recordSvid(node.id, next, proof(held.serial));
  await nodes.recordSvid(node.id, svid(), proof(next.serial));
  const newest = await svidsOf(node.id);
  const last = svid();
  await nodes.recordSvid(node, last, { serial: held.serial, isProof: false });
  assert.deepEqual(await svidsOf(node.id), { current: last.serial, previous: newest?.current });
});
