import type { ProcessContext } from '#runtime/process-context.ts';
import type { MeshIdentity } from '#runtime/svid/mesh-identity.ts';
import type { SidecarConfig } from './configuration.ts';

/** The Workload APIs of a proxy: one socket a service. */
export interface WorkloadApis {
  /** Ends them all. */
  close(): Promise<void>;
}

/** Serves the Workload API for each service that has a socket. gRPC is loaded only if one has. @throws MeshError as workload-api/unix-socket.ts */
export async function startWorkloadApis(
  sidecars: readonly SidecarConfig[],
  identity: MeshIdentity,
  { clock, log, sockets }: ProcessContext,
): Promise<WorkloadApis> {
  const running: WorkloadApis[] = [];
  for (const { service, workloadApiSocket: socket } of sidecars) {
    if (socket === undefined) continue;
    const { startWorkloadApi } = await import('./workload-api/main.ts');
    running.push(
      await startWorkloadApi({
        service,
        socket,
        svid: identity.svid(service),
        trust: identity.trust,
        fetchJwtSvid: async (audience) => (await identity.fetchJwtSvid(service, audience)).token,
        succeeds: sockets.succeeds,
        clock,
        log,
      }),
    );
  }
  return {
    async close() {
      await Promise.all(running.map((api) => api.close()));
    },
  };
}
