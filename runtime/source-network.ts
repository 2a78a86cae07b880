import { hexOf, parseIpBytes } from './dns/ip-bytes.ts';
import { plainAddress } from './socket-address.ts';

/** What counts as one source where sources are counted: an IPv4 address, or the /64 of an IPv6 one, for a host has one of those. Read as bytes: of a text that leaves out zeros, the first groups are not the network. */
export function sourceNetwork(address: string): string {
  const plain = plainAddress(address);
  const bytes = parseIpBytes(plain.replace(/%.*$/, ''));
  return bytes?.length === 16 ? hexOf(bytes.subarray(0, 8)) : plain;
}
