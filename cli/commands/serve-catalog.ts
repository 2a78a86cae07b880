import { join } from 'node:path';
import type { Command } from 'commander';
import { runUntilSignal } from '#runtime/lifecycle.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { formatSocketAddress } from '#runtime/socket-address.ts';
import { openMeshIdentity } from '#runtime/svid/mesh-identity.ts';
import { nodeEvidence } from '../attest-options.ts';
import { catalogOptions } from '../command-options.ts';
import { defineCommand } from '../define-command.ts';
import { dnsConfig } from '../dns-options.ts';
import { etcdLocation } from '../etcd-options.ts';

const catalogService = 'selvedge-catalog';

/** `selvedge serve catalog`. */
export function defineCatalogServe(serve: Command): void {
  defineCommand(serve, {
    name: 'catalog',
    summary: 'the catalog service: discovery, health, intentions, the feed to the proxies',
    options: catalogOptions,
    async run(options) {
      const etcd = await etcdLocation(options);
      const log = createLogger({ process: 'catalog', level: options.logLevel });
      const context = systemContext(log);
      await runUntilSignal(log, async (signal) => {
        const [{ openServiceStore }, { startCatalog }] = await Promise.all([
          import('../service-store.ts'),
          import('#catalog/main.ts'),
        ]);
        const identity = await openMeshIdentity({
          identityUrl: options.identity,
          services: [catalogService],
          stateDir: join(options.dataDir, 'identity'),
          joinTokenFile: options.joinTokenFile,
          attestBy: nodeEvidence(options),
          caFile: options.caFile,
          caPin: options.caPin,
          nodeName: options.nodeName,
          context,
          awaitBundles: true,
          svidTtlSeconds: options.svidTtl === undefined ? undefined : Math.round(options.svidTtl / 1_000),
          signal,
        });
        const { store, close } = await openServiceStore(
          { service: 'catalog', dataDir: options.dataDir, etcd },
          context,
        );
        const catalog = await startCatalog(
          {
            host: options.listen.host,
            port: options.listen.port,
            datacenter: options.datacenter,
            nodeName: options.nodeName,
            defaultIntentionPolicy: options.defaultIntentionPolicy,
            trustDomain: identity.trustDomain,
            open: false,
            dataDir: options.dataDir,
            ...(options.dnsAddr === undefined ? {} : { dns: dnsConfig(options.dnsAddr, options) }),
            auditSync: options.auditSync === 'on',
            tls: { svid: identity.svid(catalogService), trust: identity.trust },
            signedBundle: {
              current: () => identity.trust.signed,
              onChange: (listener) => identity.trust.onChange(listener),
            },
          },
          context,
          store,
        );
        process.stdout.write(`catalog ${catalog.url}\n`);
        if (catalog.operatorTokenPath !== undefined)
          process.stdout.write(`operator-token-file ${catalog.operatorTokenPath}\n`);
        if (catalog.dnsAddress !== undefined) process.stdout.write(`dns ${formatSocketAddress(catalog.dnsAddress)}\n`);
        process.stdout.write('ready\n');
        return {
          async close() {
            await catalog.close();
            await identity.close();
            await close();
          },
        };
      });
    },
  });
}
