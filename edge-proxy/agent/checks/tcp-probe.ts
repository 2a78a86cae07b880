import { formatHostPort, type HostPort } from './host-port.ts';
import type { Probe, ProbeTls } from './probe.ts';
import { openProbeSocket } from './probe-socket.ts';

/** A connection over TCP; with `tls` its handshake too. */
export interface TcpTarget extends HostPort {
  readonly kind: 'tcp';
  readonly tls: ProbeTls | undefined;
}

/** Passes when the connection comes about; nothing is sent on it. */
export function tcpProbe(target: TcpTarget): Probe {
  return async (signal) => {
    const socket = await openProbeSocket(target, target.tls, signal);
    socket.destroy();
    const how = target.tls === undefined ? 'TCP' : 'TCP+TLS';
    return { status: 'passing', output: `${how} connect ${formatHostPort(target)}: Success` };
  };
}
