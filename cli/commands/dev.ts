import { join } from 'node:path';
import type { Command } from 'commander';
import type { Agent } from '#edge-proxy/agent/agent.ts';
import { parseSpiffeId } from '#policies/spiffe-id.ts';
import { runUntilSignal } from '#runtime/lifecycle.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { formatSocketAddress } from '#runtime/socket-address.ts';
import { openMeshIdentity } from '#runtime/svid/mesh-identity.ts';
import { devOptions } from '../command-options.ts';
import { defineCommand } from '../define-command.ts';
import { devAgentCa } from '../dev-agent-ca.ts';
import { dnsConfig } from '../dns-options.ts';
import { say } from '../output.ts';

/** `selvedge dev`: identity, catalog and a local agent in one process, plain HTTP on loopback, open. */
export function defineDev(program: Command): void {
  defineCommand(program, {
    name: 'dev',
    summary: 'all in one process for development: plain HTTP on loopback, OPEN, without tokens',
    options: devOptions,
    async run(options) {
      const log = createLogger({ process: 'dev', level: options.logLevel });
      const context = systemContext(log);
      say('selvedge dev: plain HTTP on loopback, open to everyone on this host, without tokens. For development only.');
      await runUntilSignal(log, async (signal) => {
        const [{ openServiceStore }, { startIdentity }, { startCatalog }, { createAgent }, { createCatalogClient }] =
          await Promise.all([
            import('../service-store.ts'),
            import('#identity/main.ts'),
            import('#catalog/main.ts'),
            import('#edge-proxy/agent/agent.ts'),
            import('#edge-proxy/agent/catalog-client.ts'),
          ]);
        const { dataDir, clock } = { dataDir: options.dataDir, clock: context.clock };
        const identityStore = await openServiceStore({ service: 'identity', dataDir }, context);
        // Each needs the other: identity starts first, and asks the catalog only while a root is rotated.
        let catalogUrl: string | undefined;
        const identity = await startIdentity(
          {
            host: options.identityAddr.host,
            port: options.identityAddr.port,
            dataDir: dataDir === undefined ? undefined : join(dataDir, 'identity'),
            trustDomain: options.trustDomain,
            datacenter: options.datacenter,
            svidTtlSeconds: Math.round(options.svidTtl / 1_000),
            open: true,
            backend: { kind: 'embedded' },
            catalogUrl: () => catalogUrl,
          },
          context,
          identityStore.store,
        );
        const mesh = await openMeshIdentity({
          identityUrl: identity.url,
          services: [],
          stateDir: undefined,
          awaitBundles: true,
          nodeName: options.nodeName,
          context,
          signal,
        });
        const catalogStore = await openServiceStore({ service: 'catalog', dataDir }, context);
        // The agent is served by the catalog and calls it: it is made once the catalog's address is known.
        let agentApi: Awaited<ReturnType<Agent['app']>> | undefined;
        const catalog = await startCatalog(
          {
            host: options.httpAddr.host,
            port: options.httpAddr.port,
            datacenter: options.datacenter,
            nodeName: options.nodeName,
            defaultIntentionPolicy: options.defaultIntentionPolicy,
            trustDomain: options.trustDomain,
            open: true,
            dataDir: undefined,
            dns: dnsConfig(options.dnsAddr, options),
            agentApp: {
              fetch: (request, env) =>
                agentApi?.fetch(request, env as object) ?? new Response('starting\n', { status: 503 }),
            },
            signedBundle: { current: () => mesh.trust.signed, onChange: (listener) => mesh.trust.onChange(listener) },
          },
          context,
          catalogStore.store,
        );
        catalogUrl = catalog.url;
        const agent = createAgent({
          nodeName: options.nodeName,
          nodeAddress: options.httpAddr.host,
          datacenter: options.datacenter,
          catalog: createCatalogClient({ url: catalog.url, trust: undefined, svidFor: () => undefined, clock }),
          authorize: (target, uri) => {
            const { Authorized, Reason } = catalog.authorize(target, parseSpiffeId(uri));
            return { allowed: Authorized, rule: 'catalog', reason: Reason };
          },
          access: { kind: 'open' },
          ca: devAgentCa({ identityUrl: identity.url, mesh, nodeName: options.nodeName, context, signal }),
          context,
          signal: new AbortController().signal,
        });
        agentApi = await agent.app();
        process.stdout.write(`catalog ${catalog.url}\nidentity ${identity.url}\n`);
        if (catalog.dnsAddress !== undefined) process.stdout.write(`dns ${formatSocketAddress(catalog.dnsAddress)}\n`);
        process.stdout.write('ready\n');
        return {
          async close() {
            await agent.close();
            await catalog.close();
            await mesh.close();
            await identity.close();
            await catalogStore.close();
            await identityStore.close();
          },
        };
      });
    },
  });
}
