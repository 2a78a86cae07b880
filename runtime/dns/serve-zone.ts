import { MeshError } from '#policies/errors/mesh-error.ts';
import type { ProcessContext } from '../process-context.ts';
import { formatSocketAddress, type SocketAddress } from '../socket-address.ts';
import { type ServedDns, serveDns } from './dns-server.ts';
import type { DnsView } from './dns-view.ts';
import { parseIpBytes } from './ip-bytes.ts';
import type { DnsName } from './protocol.ts';
import { ownAddressAmong, Recursor } from './recursor.ts';
import { type AnswerListener, DnsResponder } from './responder.ts';
import { type ServiceTtl, serviceTtls } from './service-ttl.ts';

/** How DNS is served, by a catalog or by the agent of a host. */
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

/** Serves DNS from a view. @throws MeshError SLV-1002 when it is its own recursor, SLV-1004 when the address can't be had */
export async function serveZone(
  config: DnsConfig,
  from: { view: DnsView; datacenter: string; context: ProcessContext; onAnswer: AnswerListener },
): Promise<ServedDns> {
  const { view, datacenter, context, onAnswer } = from;
  const own = ownAddressAmong(config.recursors, config.listen);
  if (own !== undefined)
    throw new MeshError(
      'SLV-1002',
      `--dns-recursor ${own} is this DNS server itself (${formatSocketAddress(config.listen)}).`,
    );
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
  const served = await serveDns(config.listen, responder, context);
  return {
    address: served.address,
    async close() {
      recursor?.close();
      await served.close();
    },
  };
}
