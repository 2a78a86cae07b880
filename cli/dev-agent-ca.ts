import type { AgentCa } from '#edge-proxy/agent/agent-options.ts';
import { parseServiceName } from '#policies/service-name.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { type MeshIdentity, openMeshIdentity } from '#runtime/svid/mesh-identity.ts';

/** Services whose SVIDs are kept at once. */
const maxServices = 64;

/**
 * The CA of the agent in `dev`, which has no identities of its own: as Consul's agent, it gives a leaf of any service to anybody, minted by the open identity
 * service when first asked for and kept fresh until `signal` aborts.
 */
export function devAgentCa(options: {
  readonly identityUrl: string;
  readonly mesh: MeshIdentity;
  readonly nodeName: string;
  readonly context: ProcessContext;
  readonly signal: AbortSignal;
}): AgentCa {
  const { identityUrl, mesh, nodeName, context, signal } = options;
  const opened = new Map<string, Promise<MeshIdentity>>();
  const open = (service: string): Promise<MeshIdentity> => {
    const opening = openMeshIdentity({
      identityUrl,
      services: [service],
      stateDir: undefined,
      nodeName,
      context,
      signal,
    });
    opened.set(service, opening);
    // What could not be opened is tried again at the next request; that one gets the reason.
    opening.catch(() => opened.delete(service));
    return opening;
  };
  return {
    bundle: { current: () => mesh.trust.signed, onChange: (listener) => mesh.trust.onChange(listener) },
    async svid(name) {
      const service = parseServiceName(name);
      const known = opened.get(service);
      if (known === undefined && opened.size >= maxServices) return undefined;
      return (await (known ?? open(service))).svid(service);
    },
    leafAccess: { kind: 'open' },
  };
}
