/** A catalog as a process of its own, for tests that kill it: `catalog-process.ts DATA_DIR`. Prints its URL once it serves. */
import { join } from 'node:path';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { startCatalog } from '../main.ts';
import { quietContext } from './running-catalog.ts';

const [, , dataDir = ''] = process.argv;
const context = quietContext();
const store = await openSqliteStore({ path: join(dataDir, 'catalog.db'), clock: context.clock, log: context.log });
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
process.stdout.write(`${catalog.url}\n`);
