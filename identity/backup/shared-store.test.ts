import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { fillStore } from '#store/snapshot.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { startIdentity } from '../main.ts';
import { OneOfSeveral } from '../testing/one-of-several.ts';
import { backUp, restore } from './backup.ts';

/** Backups of an identity service whose store is shared by several processes. One in memory stands for it: that of etcd is filled by the same steps. */

const context = systemContext(createLogger({ process: 'test', level: 'silent' }));
const openStore = () => openSqliteStore({ path: undefined, clock: context.clock, log: context.log });
const passphrase = 'a passphrase for this test';

test('a backup taken while the service runs is restored into a store for several, or one of its own: CA, nodes and operators as before', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'selvedge-shared-backup-'));
  t.after(() => rm(folder, { recursive: true }));
  const [from, elsewhere, alone] = ['identity.backup', 'several', 'alone'].map((name) => join(folder, name));
  assert.ok(from !== undefined && elsewhere !== undefined && alone !== undefined);
  await using store = await openStore();
  await using one = await OneOfSeveral.start(store);
  const node = await one.node('web');
  const open = await one.joinToken(['db']);
  // The journal in the store is the one that counts: the next issuing CA is in it.
  await one.operate('/v1/identity/rotation', { body: { target: 'issuing' } });
  const made = await backUp({ dataDir: one.folder, out: from, passphrase, shared: store }, context);
  assert.deepEqual([made.pins, made.nodes], [one.identity.pins, 1]);
  assert.equal((await one.issue(node, { service: 'web' })).status, 200, 'it went on');
  const other = { dataDir: folder, out: join(folder, 'of-another'), passphrase, shared: store };
  await assert.rejects(backUp(other, context), (error) => isMeshError(error, 'SLV-2188'), 'where the keys are not');

  await using copy = await openStore();
  const into = (snapshot: Parameters<typeof fillStore>[1]) => fillStore(copy, snapshot);
  await restore({ dataDir: elsewhere, from, passphrase, into }, context);
  await using two = await OneOfSeveral.start(copy, { folder: elsewhere });
  assert.deepEqual(two.identity.pins, one.identity.pins);
  assert.equal((await two.issue(node, { service: 'web' })).status, 200);
  assert.equal((await two.operate('/v1/identity/nodes')).status, 200);
  assert.equal((await two.join(open)).body['code'], 'SLV-2101', 'it may have been redeemed since');
  assert.ok((two.trust?.sequence ?? 0) > (one.trust?.sequence ?? 0));

  await restore({ dataDir: alone, from, passphrase }, context);
  const { clock, log } = context;
  await using own = await openSqliteStore({ path: join(alone, 'identity.db'), clock, log });
  const single = await startIdentity({ ...one.config, dataDir: alone }, context, own);
  assert.deepEqual(single.pins, one.identity.pins);
  await single.close(0);
});
