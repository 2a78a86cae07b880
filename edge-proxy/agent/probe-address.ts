import { lookup } from 'node:dns/promises';
import { BlockList, isIP } from 'node:net';

/** Where clouds keep the credentials of a machine: never probed, whatever name leads there (CVE-2022-29153 was such a check). */
const forbidden = new BlockList();
forbidden.addSubnet('169.254.0.0', 16, 'ipv4');
forbidden.addSubnet('fe80::', 10, 'ipv6');
forbidden.addAddress('fd00:ec2::254', 'ipv6'); // AWS
forbidden.addAddress('100.100.100.200', 'ipv4'); // Alibaba Cloud

/** An address that a probe may connect to. */
export interface ProbeAddress {
  readonly address: string;
  readonly family: 4 | 6;
}

/**
 * Resolves a host once; the probe then connects to what was judged here, so that no second answer of DNS can slip in.
 * @throws Error saying that the host is not found, or leads to a link-local or metadata address
 */
export async function resolveProbeHost(host: string): Promise<ProbeAddress> {
  const version = isIP(host);
  const found = version === 0 ? await lookup(host, { all: true }) : [{ address: host, family: version }];
  for (const { address, family } of found) {
    if (isForbidden(address, family)) throw new Error(`refused: ${host} is a link-local or metadata address`);
  }
  const [first] = found;
  if (first === undefined) throw new Error(`${host} has no address`);
  return { address: first.address, family: first.family === 6 ? 6 : 4 };
}

/** IPv4 addresses that are written as IPv6 (`::ffff:a9fe:a9fe`) count as what they are. */
function isForbidden(address: string, family: number): boolean {
  return forbidden.check(address.replace(/%.*$/, ''), family === 6 ? 'ipv6' : 'ipv4');
}
