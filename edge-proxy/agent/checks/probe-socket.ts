import { once } from 'node:events';
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { resolveProbeHost } from '#runtime/probe-address.ts';
import type { HostPort } from './host-port.ts';
import type { ProbeTls } from './probe.ts';

/**
 * A connection to a target, ready to be written to; with `tls` after its handshake. The caller destroys it.
 * @throws Error when the address is forbidden, nobody listens there, or the certificate does not fit; the abort reason
 */
export async function openProbeSocket(
  target: HostPort,
  tls: ProbeTls | undefined,
  signal: AbortSignal,
  alpn: readonly string[] = [],
): Promise<Socket> {
  const { address, family } = await resolveProbeHost(target.host, signal);
  const place = { host: address, family, port: target.port };
  const socket =
    tls === undefined
      ? connect(place)
      : connectTls({
          ...place,
          servername: tls.serverName || sniOf(target.host),
          rejectUnauthorized: !tls.skipVerify,
          ...(alpn.length === 0 ? {} : { ALPNProtocols: [...alpn] }),
        });
  try {
    await once(socket, tls === undefined ? 'connect' : 'secureConnect', { signal });
  } catch (error) {
    socket.destroy();
    throw error;
  }
  return socket;
}

/** RFC 6066: an address is no server name. */
export function sniOf(host: string): string {
  return isIP(host.replace(/^\[|\]$/g, '')) === 0 ? host : '';
}
