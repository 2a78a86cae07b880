import { lookup } from 'node:dns/promises';
import { BlockList, isIP } from 'node:net';

/**
 * Where clouds keep the credentials of a machine: never probed, whatever name leads there (CVE-2022-29153 was such a check). All of link-local, and what
 * clouds put elsewhere; also as IPv4 within IPv6 (NAT64, RFC 6052; 6to4, RFC 3056; the old compatible form). The mapped form BlockList knows itself.
 */
const forbidden = new BlockList();
forbidden.addSubnet('169.254.0.0', 16, 'ipv4'); // AWS, Azure, GCP, Oracle, Hetzner, DigitalOcean, OpenStack: 169.254.169.254
forbidden.addAddress('168.63.129.16', 'ipv4'); // Azure's wire server
forbidden.addAddress('100.100.100.200', 'ipv4'); // Alibaba Cloud
forbidden.addAddress('192.0.0.192', 'ipv4'); // Oracle Cloud, older images
forbidden.addSubnet('fe80::', 10, 'ipv6');
forbidden.addAddress('fd00:ec2::254', 'ipv6'); // AWS
forbidden.addAddress('fd20:ce::254', 'ipv6'); // GCP
forbidden.addAddress('fd00:c1::a9fe:a9fe', 'ipv6'); // Oracle Cloud
forbidden.addSubnet('64:ff9b::a9fe:0', 112, 'ipv6');
forbidden.addSubnet('::a9fe:0', 112, 'ipv6');
forbidden.addSubnet('2002:a9fe::', 32, 'ipv6');

/** An address that a probe may connect to. */
export interface ProbeAddress {
  readonly address: string;
  readonly family: 4 | 6;
}

/**
 * Resolves a host once; the probe then connects to what was judged here, so that no second answer of DNS can slip in.
 * @throws Error saying that the host is not found, or leads to a link-local or metadata address; the abort reason
 */
export async function resolveProbeHost(host: string, signal: AbortSignal): Promise<ProbeAddress> {
  const version = isIP(host);
  const found = version === 0 ? await lookedUp(host, signal) : [{ address: host, family: version }];
  for (const { address, family } of found) {
    if (isForbidden(address, family)) throw new Error(`refused: ${host} is a link-local or metadata address`);
  }
  const [first] = found;
  if (first === undefined) throw new Error(`${host} has no address`);
  return { address: first.address, family: first.family === 6 ? 6 : 4 };
}

/** The system's resolver can't be told to stop; its late answer is dropped. */
async function lookedUp(host: string, signal: AbortSignal) {
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([lookup(host, { all: true }), aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** IPv4 addresses that are written as IPv6 (`::ffff:a9fe:a9fe`) count as what they are. */
function isForbidden(address: string, family: number): boolean {
  return forbidden.check(address.replace(/%.*$/, ''), family === 6 ? 'ipv6' : 'ipv4');
}
