import { writeFileSync } from 'node:fs';
import { after } from 'node:test';
import { pino } from 'pino';
import type { SpiffeId } from '#policies/spiffe-id.ts';
import { type MeshRequest, type MeshResponse, meshRequest } from '#runtime/mesh-http.ts';
import { systemContext } from '#runtime/process-context.ts';
import { type MeshIdentity, openMeshIdentity } from '#runtime/svid/mesh-identity.ts';
import type { MeshProcesses } from '#test/mesh-processes.ts';

/** What runs in a test's own process says nothing. */
export const quietContext = systemContext(pino({ level: 'silent' }));

/** Joins the mesh in this process, as a node that was granted these services: with real SVIDs a test can do what no proxy of ours would. */
export async function joinAs(
  mesh: MeshProcesses,
  services: readonly string[],
  nodeName: string,
): Promise<MeshIdentity> {
  const file = mesh.path(`${nodeName}.join-token`);
  writeFileSync(file, await mesh.joinToken(services));
  const identity = await openMeshIdentity({
    identityUrl: mesh.identityUrl,
    services,
    stateDir: undefined,
    joinTokenFile: file,
    caPin: mesh.pin,
    nodeName,
    context: quietContext,
    signal: new AbortController().signal,
  });
  after(() => identity.close());
  return identity;
}

/** A request to the catalog that shows the SVID of a service. */
export function catalogAs(
  mesh: MeshProcesses,
  identity: MeshIdentity,
  service: string,
  request: Pick<MeshRequest, 'method' | 'body' | 'headers'> & { readonly path: string; readonly expect?: SpiffeId },
): Promise<MeshResponse> {
  const svid = identity.svid(service).current;
  const { path, ...rest } = request;
  return meshRequest({
    headers: { 'content-type': 'application/json' },
    ...rest,
    url: `${mesh.catalogUrl}${path}`,
    trust: identity.trust,
    ...(svid === undefined ? {} : { svid }),
    clock: Date.now,
    timeoutMs: 10_000,
  });
}
