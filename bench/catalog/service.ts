import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import { startCatalog } from '#catalog/main.ts';
import { runUntilSignal } from '#runtime/lifecycle.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { openEtcdStore } from '#store/etcd/etcd-store.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';

/*
 * The catalog as a process of the benchmark: what `selvedge serve catalog` starts, but open and in plain text as in `dev`, so that the loaders are wrk and
 * simple clients. TLS is not what this suite measures.
 */

/** What the process is told, as JSON in its first argument. */
export interface CatalogOrder {
  readonly port: number;
  readonly dnsPort: number;
  readonly dataDir: string;
  /** Absent: SQLite, in the directory. */
  readonly etcd?: readonly string[];
}

const { port, dnsPort, dataDir, etcd }: CatalogOrder = JSON.parse(process.argv[2] ?? '{}');
const log = createLogger({ process: 'catalog', level: 'warn' });
const context = systemContext(log);
await runUntilSignal(log, async () => {
  const store =
    etcd === undefined
      ? await openSqliteStore({ path: join(dataDir, 'catalog.db'), ...context })
      : await openEtcdStore({ addresses: etcd, credentials: credentials.createInsecure(), prefix: 'bench', log });
  const catalog = await startCatalog(
    {
      host: '127.0.0.1',
      port,
      datacenter: 'dc1',
      nodeName: 'bench',
      defaultIntentionPolicy: 'deny',
      trustDomain: 'bench.selvedge',
      open: true,
      dataDir,
      auditSync: true,
      dns: {
        listen: { host: '127.0.0.1', port: dnsPort },
        domain: ['consul'],
        recursors: [],
        onlyPassing: false,
        nodeTtlSeconds: 0,
        serviceTtls: [],
      },
    },
    context,
    store,
  );
  process.stdout.write('ready\n');
  return {
    async close() {
      await catalog.close(0);
      await store.close();
    },
  };
});
