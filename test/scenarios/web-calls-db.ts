import type { MeshProcesses, RunningProxy } from '#test/mesh-processes.ts';
import { waitFor } from '#test/wait-for.ts';
import { webReachesDb } from './whole-mesh.ts';

/**
 * The usual scene on a control plane that runs: `web` and `db` with a proxy each, `db` speaks HTTP, and `web` may call it.
 *
 * @param db its application. @returns once web's proxy knows where db is, and db's that web may
 */
export async function webCallsDb(
  mesh: MeshProcesses,
  db: { readonly address: string },
): Promise<{ readonly web: RunningProxy; readonly dbProxy: RunningProxy }> {
  await mesh.speakHttp('db');
  const [web, dbProxy] = await Promise.all([
    mesh.startProxy('web', { service: 'web', upstreams: ['db'] }),
    mesh.startProxy('db', { service: 'db', local: db.address }),
  ]);
  await mesh.intend('web', 'db', 'allow');
  await mesh.knows(web.admin, 'db');
  await waitFor('web to be let in', () => webReachesDb(mesh), 20_000);
  return { web, dbProxy };
}
