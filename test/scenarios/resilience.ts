import type { z } from 'zod';
import type { resilienceSchema } from '#policies/resilience-form.ts';
import type { MeshProcesses, RunningProxy } from '#test/mesh-processes.ts';
import { waitFor } from '#test/wait-for.ts';

/** A breaker as `/breakers` of a proxy shows it. */
export interface ShownBreaker {
  readonly target: string;
  readonly endpoint: string;
  readonly state: 'closed' | 'open' | 'half-open';
  readonly calls: number;
  readonly failures: number;
}

/** Writes how `service` is to be called, over what the defaults say, and waits until `caller` has taken it in. Nothing is restarted. */
export async function setPolicy(
  mesh: MeshProcesses,
  caller: { readonly name: string; readonly service: string },
  service: string,
  policy: z.input<typeof resilienceSchema>,
): Promise<void> {
  const { revision } = (await mesh.must('PUT', `/v1/mesh/resilience/${service}`, policy)) as { revision: number };
  await waitFor(
    `${caller.name} to take in the policy for ${service}`,
    async () => {
      const { proxies } = (await mesh.must('GET', '/v1/mesh/proxies')) as {
        proxies: { proxy: string; acknowledged: { revision: number } | null }[];
      };
      const found = proxies.find(({ proxy }) => proxy === `${caller.name}-host/${caller.service}`);
      return (found?.acknowledged?.revision ?? 0) >= revision;
    },
    20_000,
  );
}

/** The breakers of a proxy. */
export async function breakers(proxy: RunningProxy): Promise<readonly ShownBreaker[]> {
  return (await (await fetch(`${proxy.admin}/breakers`)).json()) as ShownBreaker[];
}
