import { createSocket } from 'node:dgram';
import { resolveProbeHost } from '#runtime/probe-address.ts';
import { formatHostPort, type HostPort } from './host-port.ts';
import type { Probe, ProbeLimits } from './probe.ts';

/** A datagram. */
export interface UdpTarget extends HostPort {
  readonly kind: 'udp';
}

/** Most time to wait for a refusal: the host says within a round trip that nobody listens, and all silence beyond it says nothing more. */
const longestWaitMs = 5_000;

/** Sends an empty datagram. Passes on any answer, and on silence: most servers answer nothing to it. Critical when the host says that nobody listens (Consul). */
export function udpProbe(target: UdpTarget, { timeoutMs }: ProbeLimits): Probe {
  // A little before the deadline of the probe, which would be critical.
  const waitMs = Math.min(longestWaitMs, timeoutMs * 0.9);
  return async (signal) => {
    const { address, family } = await resolveProbeHost(target.host, signal);
    const socket = createSocket(family === 6 ? 'udp6' : 'udp4');
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    const silence = setTimeout(resolve, waitMs).unref();
    socket.once('error', reject);
    socket.once('message', () => resolve());
    socket.connect(target.port, address, () => socket.send(''));
    try {
      await promise;
    } finally {
      clearTimeout(silence);
      signal.removeEventListener('abort', onAbort);
      socket.close();
    }
    return { status: 'passing', output: `UDP connect ${formatHostPort(target)}: Success` };
  };
}
