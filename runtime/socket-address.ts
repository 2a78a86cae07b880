import { isIP } from 'node:net';
import { MeshError } from '#policies/errors/mesh-error.ts';

/** Where to listen or dial: an IP literal and a TCP port. Port 0 means any free one (listening only). */
export interface SocketAddress {
  readonly host: string;
  readonly port: number;
}

/**
 * Reads `127.0.0.1:8500`, `[::1]:8500` or `localhost:8500`. Throws SLV-1002.
 * Host names other than localhost are refused: a listener is of this host, and a name would be resolved by DNS (invariant 4).
 */
export function parseSocketAddress(text: string): SocketAddress {
  const match = /^(?:\[([0-9a-fA-F:.]{2,45})\]|([0-9A-Za-z.]{1,253})):([0-9]{1,5})$/.exec(text);
  const host = match?.[1] ?? (match?.[2] === 'localhost' ? '127.0.0.1' : match?.[2]);
  const port = Number(match?.[3]);
  if (host === undefined || isIP(host) === 0 || port > 65_535) {
    throw new MeshError(
      'SLV-1002',
      `"${clip(text)}" is not an address; it takes the form 127.0.0.1:8500 or [::1]:8500`,
    );
  }
  return { host: canonicalHost(host), port };
}

/** Of IPv6 there are many spellings: the one that the kernel's and Node's have, so that equal addresses are equal texts. */
function canonicalHost(host: string): string {
  return isIP(host) === 6 ? new URL(`http://[${host}]`).hostname.slice(1, -1) : host;
}

/** An address of IPv4 that a socket of both families shows as one of IPv6 (`::ffff:192.0.2.1`), as itself: a source has one name, whichever way it came. */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && isIP(address.slice(7)) === 4 ? address.slice(7) : address;
}

/** `127.0.0.1:8500`, `[::1]:8500`. */
export function formatSocketAddress(address: SocketAddress): string {
  return isIP(address.host) === 6 ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** True for 127.0.0.0/8 and ::1. */
export function isLoopback(host: string): boolean {
  return /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host) || host === '::1' || host === 'localhost';
}

/** Whether a request was sent to this host by a loopback name or address. A web page that had its own name lead to 127.0.0.1 says that name in `Host`. */
export function isAskedAsLoopback(url: string): boolean {
  return isLoopback(new URL(url).hostname.replace(/^\[|\]$/g, ''));
}

function clip(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
