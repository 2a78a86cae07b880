import type { Command } from 'commander';
import type { SidecarConfig } from '#edge-proxy/configuration.ts';
import type { RunningEdgeProxy } from '#edge-proxy/main.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { OptionValues } from '#runtime/configuration.ts';
import { defaultGraceMs, runUntilSignal } from '#runtime/lifecycle.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { formatSocketAddress } from '#runtime/socket-address.ts';
import { nodeEvidence } from '../attest-options.ts';
import { edgeProxyOptions } from '../command-options.ts';
import { defineCommand } from '../define-command.ts';
import { dnsConfig } from '../dns-options.ts';
import { startSuccessor, takeSockets, tellServing } from '../successor.ts';

/** `selvedge serve edge-proxy`. */
export function defineEdgeProxyServe(serve: Command): void {
  defineCommand(serve, {
    name: 'edge-proxy',
    summary:
      'the sidecar of one service or several: mTLS, intentions, resilience, in front of and behind the application',
    options: edgeProxyOptions,
    async run(options, _positional, environment) {
      const log = createLogger({ process: 'edge-proxy', level: options.logLevel });
      const context = systemContext(log, takeSockets(environment));
      const sidecars = sidecarsOf(options);
      const start = async (signal: AbortSignal) => {
        const [{ startEdgeProxy }, { endStart }] = await Promise.all([
          import('#edge-proxy/main.ts'),
          import('#edge-proxy/memory.ts'),
        ]);
        const proxy = await startEdgeProxy(
          {
            sidecars,
            catalogUrl: options.catalog,
            identityUrl: options.identity,
            joinTokenFile: options.joinTokenFile,
            attestBy: nodeEvidence(options),
            caFile: options.caFile,
            caPin: options.caPin,
            nodeName: options.nodeName,
            locality: options.locality,
            rerouted: options.reroute === 'on',
            dataDir: options.dataDir,
            adminAddr: options.adminAddr,
            agentAddr: options.agentAddr,
            dns: options.dnsAddr === undefined ? undefined : dnsConfig(options.dnsAddr, options),
            checkIntervalMs: options.checkInterval,
            enableLocalScriptChecks: options.enableLocalScriptChecks,
            svidTtlMs: options.svidTtl,
            keyType: options.keyType,
            accessLog: options.accessLog,
            maxCacheAgeMs: options.maxCacheAge,
            maxConnections: options.maxConnections,
            tlsMinVersion: options.tlsMinVersion,
          },
          context,
          signal,
        );
        process.stdout.write(`admin ${proxy.adminUrl}\n`);
        if (proxy.agentUrl !== undefined) process.stdout.write(`agent ${proxy.agentUrl}\n`);
        if (proxy.dnsAddress !== undefined) process.stdout.write(`dns ${formatSocketAddress(proxy.dnsAddress)}\n`);
        for (const sidecar of proxy.sidecars) {
          if (sidecar.advertised !== undefined)
            process.stdout.write(`inbound ${sidecar.config.service} ${formatSocketAddress(sidecar.advertised)}\n`);
          const { httpProxyAddr } = sidecar.config;
          if (httpProxyAddr !== undefined && sidecar.httpProxyPort !== undefined)
            process.stdout.write(
              `http-proxy ${sidecar.config.service} ${formatSocketAddress({ ...httpProxyAddr, port: sidecar.httpProxyPort })}\n`,
            );
          if (sidecar.config.workloadApiSocket?.kind === 'path')
            process.stdout.write(`workload-api ${sidecar.config.service} ${sidecar.config.workloadApiSocket.path}\n`);
          for (const { service, address } of sidecar.config.upstreams) {
            const port = sidecar.outboundPorts.get(service) ?? address.port;
            process.stdout.write(`upstream ${service} ${formatSocketAddress({ ...address, port })}\n`);
          }
        }
        endStart();
        process.stdout.write('ready\n');
        tellServing(environment, log);
        return proxy;
      };
      const succeed = async (proxy: RunningEdgeProxy): Promise<void> => {
        if (options.dataDir === undefined)
          throw new MeshError('SLV-1003', 'a successor takes identity and catalog from --data-dir, and there is none');
        const { descriptors, takeBack } = await proxy.stepAside();
        try {
          const pid = await startSuccessor(descriptors, workloadDescriptors(sidecars), environment);
          log.info({ pid }, 'the successor serves');
        } catch (error) {
          takeBack();
          throw error;
        }
      };
      await runUntilSignal(log, start, defaultGraceMs, succeed);
    },
  });
}

/** Sockets that systemd made, whose numbers are in the configuration. */
function workloadDescriptors(sidecars: readonly SidecarConfig[]): number[] {
  return sidecars.flatMap(({ workloadApiSocket }) => (workloadApiSocket?.kind === 'fd' ? [workloadApiSocket.fd] : []));
}

/** The service that the flags name, and those of the configuration file. Throws SLV-1003 when there is none. */
function sidecarsOf(options: OptionValues<typeof edgeProxyOptions>): SidecarConfig[] {
  const services: SidecarConfig[] = [...(options.services ?? [])];
  const { service } = options;
  if (service !== undefined) {
    const { local, listen, advertise } = options;
    services.unshift({
      service,
      serviceId: options.serviceId ?? service,
      tags: options.serviceTag,
      meta: Object.fromEntries(options.serviceMeta),
      local,
      listen,
      advertise,
      upstreams: options.upstream,
      httpProxyAddr: options.httpProxyAddr,
      meshListeners: options.meshListeners,
      workloadApiSocket: options.workloadApiSocket,
    });
  }
  if (services.length === 0) {
    throw new MeshError(
      'SLV-1003',
      '--service is needed (or SELVEDGE_SERVICE), or `services` in the --config file: what this proxy stands for',
    );
  }
  return services;
}
