import type { MeshProcesses, RunningProxy } from '#test/mesh-processes.ts';

/**
 * The usual scene on a control plane that runs: `web` and `db` with a proxy each, `db` speaks HTTP, and `web` may call it.
 *
 * @param db its application. @returns once web's proxy knows where db is
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
  return { web, dbProxy };
}
