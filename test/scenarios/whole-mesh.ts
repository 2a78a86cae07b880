import type { MeshProcesses } from '#test/mesh-processes.ts';
import { httpCall } from './http-call.ts';

/** @returns whether calls of web reach db now */
export async function webReachesDb(mesh: MeshProcesses): Promise<boolean> {
  return (await httpCall(mesh.proxy('web').upstream('db'))).status === 200;
}

/** @returns whether nothing is left of a trouble: calls work, and both proxies are ready, with an SVID for an hour and more and a live feed */
export async function isWhole(mesh: MeshProcesses): Promise<boolean> {
  if (!(await webReachesDb(mesh))) return false;
  const states = await Promise.all(['web', 'db'].map((name) => mesh.status(mesh.proxy(name).admin)));
  return states.every(
    ({ ready, svid, view }) => ready && (svid?.secondsLeft ?? 0) > 3_600 && view.feed.kind === 'live',
  );
}
