import type { WorkloadSocket } from '#edge-proxy/workload-api/unix-socket.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';

/** Reads `--workload-api-socket`: a path, or `fd:3` for a socket that was passed on. Throws SLV-1002. */
export function parseWorkloadSocket(text: string): WorkloadSocket {
  const descriptor = /^fd:([0-9]{1,4})$/.exec(text)?.[1];
  if (descriptor === undefined) {
    if (text === '' || text.startsWith('fd:') || text.includes('\0'))
      throw new MeshError('SLV-1002', 'a Workload API socket is a path, as /run/selvedge/web/workload.sock, or fd:3');
    return { kind: 'path', path: text };
  }
  const fd = Number(descriptor);
  if (fd < 3) throw new MeshError('SLV-1002', `fd:${fd} is standard input or output; systemd's first socket is fd:3`);
  return { kind: 'fd', fd };
}
