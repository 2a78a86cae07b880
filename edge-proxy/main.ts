import { setTimeout as wait } from 'node:timers/promises';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { listenHttp } from '#runtime/http-server.ts';
import { createMetrics } from '#runtime/metrics.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { isLoopback, type SocketAddress } from '#runtime/socket-address.ts';
import { IdentityEndpoints } from '#runtime/svid/identity-endpoints.ts';
import { openMeshIdentity } from '#runtime/svid/mesh-identity.ts';
import { adminRoutes } from './admin.ts';
import { answerAdmin } from './admin-routes.ts';
import type { EdgeProxyConfig } from './configuration.ts';
import { DecisionLog } from './decisions.ts';
import { IdleSweep } from './idle-sweep.ts';
import { type LocalAgent, startLocalAgent } from './local-agent.ts';
import { proxyMetrics } from './proxy-metrics.ts';
import { Sidecar, type SidecarWorld } from './sidecar.ts';
import { Traffic } from './traffic.ts';
import { startWorkloadApis } from './workload-apis.ts';

const shedIntervalMs = 30_000;

/** An edge proxy that serves. */
export interface RunningEdgeProxy {
  readonly sidecars: readonly Sidecar[];
  readonly adminUrl: string;
  readonly agentUrl: string | undefined;
  readonly dnsAddress: SocketAddress | undefined;
  /**
   * Prepares for a successor that starts now with the same configuration: it gets what is on disk and the listening sockets.
   *
   * @returns their descriptors, and what takes the preparation back when nothing came of it
   */
  stepAside(): Promise<{ readonly descriptors: readonly number[]; takeBack(): void }>;
  /**
   * Drains for up to `graceMs`, then stops. Deregisters first; after `succeeded` it does not, and connections that are idle may have one more request, so that
   * none is lost.
   */
  close(graceMs: number, succeeded?: boolean): Promise<void>;
  /** In the midst of `close`: what is idle ends now, what is under way has up to `graceMs` from here on. */
  hasten(graceMs: number): void;
}

/**
 * Starts the edge proxy of one host or pod: its identity first, then each service's view, listeners and registration. Ready from the cache on disk when the
 * control plane is away.
 *
 * @throws MeshError what an operator has to mend: SLV-1nnn configuration and addresses, SLV-2010 server not proven, SLV-2014 refused by identity
 */
export async function startEdgeProxy(
  config: EdgeProxyConfig,
  context: ProcessContext,
  signal: AbortSignal,
): Promise<RunningEdgeProxy> {
  const { log, clock } = context;
  // Before a join token is redeemed, which is good once.
  requireLoopback(config);
  const calling = config.sidecars.filter(({ meshListeners }) => meshListeners === true);
  if (calling.length > 1) {
    throw new MeshError(
      'SLV-1002',
      `who calls NAME.mesh can act as one service of this host only: --mesh-listeners is set for ${calling.map(({ service }) => service).join(', ')}`,
    );
  }
  const stopping = new AbortController();
  let agent: LocalAgent | undefined;
  const identity = await openMeshIdentity({
    identityUrl: config.identityUrl,
    services: config.sidecars.map(({ service }) => service),
    stateDir: config.dataDir,
    joinTokenFile: config.joinTokenFile,
    attestBy: config.attestBy,
    caFile: config.caFile,
    caPin: config.caPin,
    nodeName: config.nodeName,
    context,
    svidTtlSeconds: config.svidTtlMs === undefined ? undefined : Math.round(config.svidTtlMs / 1_000),
    ...(config.keyType === undefined ? {} : { keyType: config.keyType }),
    signal,
  });
  if (config.dataDir === undefined && !new IdentityEndpoints(config.identityUrl).isPlain) {
    log.warn(
      'no --data-dir: node key, certificates and the local copy of the catalog are in memory only, and a join token is good for one start',
    );
  }
  const metrics = createMetrics();
  const decisions = new DecisionLog(clock, context.randomBytes);
  const traffic = new Traffic({ metrics, log, accessLog: config.accessLog, decisions });
  const sweep = new IdleSweep(clock);
  const world: SidecarWorld = {
    identity,
    catalogUrl: config.catalogUrl,
    nodeName: config.nodeName,
    dataDir: config.dataDir,
    maxCacheAgeMs: config.maxCacheAgeMs,
    maxConnections: config.maxConnections,
    tlsMinVersion: config.tlsMinVersion,
    locality: config.locality,
    rerouted: config.rerouted !== false,
    traffic,
    sweep,
    process: context,
    signal: stopping.signal,
    onCatalog: () => agent?.catalogReturned(),
  };
  const sidecars: Sidecar[] = [];
  for (const sidecar of config.sidecars) sidecars.push(await Sidecar.start(sidecar, world));
  for (const sidecar of sidecars) await sidecar.listen();
  let draining = false;
  /** Until when a drain waits for what is under way. Monotonic, ms. */
  let drainUntilMs = Number.POSITIVE_INFINITY;
  proxyMetrics({ metrics, sidecars, clock });
  const shown = { sidecars, identity, metrics, decisions, clock, log, draining: () => draining };
  const admin = await listenHttp({
    answer: answerAdmin(adminRoutes(shown), log),
    host: config.adminAddr.host,
    port: config.adminAddr.port,
    log,
    clock,
    sockets: context.sockets,
  });
  const workloadApis = await startWorkloadApis(config.sidecars, identity, context);
  agent = await startLocalAgent({
    config,
    sidecars,
    identity,
    metrics,
    context,
    onPorts: (ports) => {
      for (const { meshListeners } of sidecars) meshListeners?.setReserved(ports);
    },
  });
  const shed = setInterval(() => {
    for (const sidecar of sidecars) sidecar.targets.shedIdleBreakers();
  }, shedIntervalMs);
  shed.unref();
  context.sockets.tellUnused(log);
  log.info({ services: config.sidecars.map(({ service }) => service), admin: admin.url }, 'edge proxy serves');
  return {
    sidecars,
    adminUrl: admin.url,
    agentUrl: agent.url,
    dnsAddress: agent.dnsAddress,
    async stepAside() {
      const takeBack = await Promise.all([agent?.stepAside(), ...sidecars.map((sidecar) => sidecar.stepAside())]);
      return {
        descriptors: context.sockets.descriptors,
        takeBack: () => {
          for (const undo of takeBack) undo?.();
        },
      };
    },
    async close(graceMs, succeeded = false) {
      draining = true;
      drainUntilMs = performance.now() + graceMs;
      clearInterval(shed);
      if (succeeded) {
        // Whoever connects is the successor's from here on.
        for (const sidecar of sidecars) sidecar.drain(lastRequestMs);
        await Promise.all([agent?.leave(), admin.close(1_000), workloadApis.close()]);
      } else {
        // First the word to others, so that no new work comes, then the work under way.
        await agent?.close();
        for (const sidecar of sidecars) sidecar.drain();
      }
      while (performance.now() < drainUntilMs && !sidecars.every((sidecar) => sidecar.drained)) await wait(drainLookMs);
      stopping.abort(new Error('stopped'));
      for (const sidecar of sidecars) await sidecar.close();
      sweep.close();
      if (!succeeded) await workloadApis.close();
      await identity.close();
      if (!succeeded) await admin.close(1_000);
    },
    hasten(graceMs) {
      drainUntilMs = Math.min(drainUntilMs, performance.now() + graceMs);
      for (const sidecar of sidecars) sidecar.drain();
    },
  };
}

/** What asks nobody who it is stays on this host. @throws MeshError SLV-1002 */
function requireLoopback({ adminAddr, agentAddr, sidecars }: EdgeProxyConfig): void {
  const open = [
    { address: adminAddr, why: 'the admin API has no authentication, so --admin-addr' },
    { address: agentAddr, why: 'the agent API is open to whoever reaches it, so --agent-addr' },
    ...sidecars.map(({ service, httpProxyAddr: address }) => ({
      address,
      why: `who reaches it may call every service as ${service}, so --http-proxy-addr`,
    })),
  ];
  for (const { address, why } of open) {
    if (address !== undefined && !isLoopback(address.host))
      throw new MeshError('SLV-1002', `${why} must be a loopback address, not ${address.host}`);
  }
}

/** How long an idle connection stays with a proxy that was succeeded. Most clients close theirs earlier, and then no request meets a closed door. */
const lastRequestMs = 60_000;
/** How often a draining proxy looks whether it is done. */
const drainLookMs = 50;
