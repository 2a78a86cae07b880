import { MeshError } from '#policies/errors/mesh-error.ts';
import { type ServedDns, serveDns } from '#runtime/dns/dns-server.ts';
import { parseIpBytes } from '#runtime/dns/ip-bytes.ts';
import type { DnsName } from '#runtime/dns/protocol.ts';
import { ownAddressAmong, Recursor } from '#runtime/dns/recursor.ts';
import { type AnswerListener, DnsResponder } from '#runtime/dns/responder.ts';
import { formatSocketAddress, type SocketAddress } from '#runtime/socket-address.ts';
import type { CatalogParts } from '../parts.ts';
import { CatalogDnsView } from './catalog-view.ts';
import { type ServiceTtl, serviceTtls } from './service-ttl.ts';

/** How a catalog serves DNS. */
export interface DnsConfig {
  /** Port 0: any that is free on UDP and TCP. */
  readonly listen: SocketAddress;
  /** The zone: `consul`. */
  readonly domain: DnsName;
  /** Servers to ask for all other names, in this order; none: such names are refused. */
  readonly recursors: readonly SocketAddress[];
  /** Leaves out instances that warn, too. */
  readonly onlyPassing: boolean;
  readonly nodeTtlSeconds: number;
  readonly serviceTtls: readonly ServiceTtl[];
}

/** Serves DNS from a catalog's state. @throws MeshError SLV-1002 when it is its own recursor, SLV-1004 when the address can't be had */
export async function serveCatalogDns(
  config: DnsConfig,
  { state, follower, context, datacenter }: CatalogParts,
  onAnswer: AnswerListener,
): Promise<ServedDns> {
  const own = ownAddressAmong(config.recursors, config.listen);
  if (own !== undefined)
    throw new MeshError(
      'SLV-1002',
      `--dns-recursor ${own} is this DNS server itself (${formatSocketAddress(config.listen)}).`,
    );
  const view = new CatalogDnsView(state, () => follower.current);
  const recursor = config.recursors.length === 0 ? undefined : new Recursor(config.recursors, context.randomBytes);
  const { host } = config.listen;
  const responder = new DnsResponder({
    view,
    zone: {
      domain: config.domain,
      datacenter,
      onlyPassing: config.onlyPassing,
      nodeTtlSeconds: config.nodeTtlSeconds,
      serviceTtlSeconds: serviceTtls(config.serviceTtls),
      serverAddress: host === '0.0.0.0' || host === '::' ? undefined : parseIpBytes(host),
    },
    recursor,
    random: context.random,
    log: context.log,
    onAnswer,
  });
  const served = await serveDns(config.listen, responder, context.log);
  return {
    address: served.address,
    async close() {
      recursor?.close();
      view.close();
      await served.close();
    },
  };
}
