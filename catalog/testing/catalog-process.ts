/**
 * A catalog as a process of its own, for tests that kill it: `catalog-process.ts DATA_DIR [ETCD,...]`, on SQLite in that directory or on the members of an
 * etcd cluster. Prints `catalog URL` once it serves.
 */
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import { openEtcdStore } from '#store/etcd/etcd-store.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { startCatalog } from '../main.ts';
import { quietContext } from './running-catalog.ts';

const [, , dataDir = '', members] = process.argv;
const context = quietContext();
const { log } = context;
const store =
  members === undefined
    ? await openSqliteStore({ path: join(dataDir, 'catalog.db'), log })
    : await openEtcdStore({
        addresses: members.split(','),
        credentials: credentials.createInsecure(),
        prefix: 'mesh/catalog',
        log,
      });
const catalog = await startCatalog(
  {
    host: '127.0.0.1',
    port: 0,
    datacenter: 'dc1',
    nodeName: 'catalog-1',
    defaultIntentionPolicy: 'deny',
    trustDomain: 'mesh.test',
    open: true,
    dataDir,
  },
  context,
  store,
);
process.stdout.write(`catalog ${catalog.url}\n`);
