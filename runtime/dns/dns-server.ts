import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, isIPv6, type Server } from 'node:net';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { ListeningSockets } from '../listening-sockets.ts';
import type { ProcessContext } from '../process-context.ts';
import { formatSocketAddress, type SocketAddress } from '../socket-address.ts';
import type { DnsResponder } from './responder.ts';
import { TcpAskers } from './tcp-askers.ts';

/** A DNS server that answers, on UDP and TCP at one address. */
export interface ServedDns {
  readonly address: SocketAddress;
  close(): Promise<void>;
}

/** Queries wait here while the process does something else: at 10,000 a second, a good second of them. The kernel may grant less. */
const receiveBufferBytes = 4 * 1_048_576;
/** Both sockets need the same port: one that is free for TCP may be taken for UDP. */
const portTries = 20;

/**
 * Serves DNS. @throws MeshError SLV-1004 when the address can't be had on both UDP and TCP
 *
 * @param listen IP literal and port; 0: any that is free on both
 */
export async function serveDns(
  listen: SocketAddress,
  responder: DnsResponder,
  { log, sockets }: Pick<ProcessContext, 'log' | 'sockets'>,
): Promise<ServedDns> {
  const askers = new TcpAskers(responder, log);
  const { tcp, udp, port } = await bindBoth(listen, askers, sockets);
  const address = { host: listen.host, port };
  udp.on('message', (message, { address: from, port: fromPort }) => {
    const send = (answer: Uint8Array): void => {
      // What the network will not take is lost, as any datagram may be.
      udp.send(answer, fromPort, from, () => {});
    };
    const answer = responder.respond(message, { address: from, transport: 'udp' });
    if (answer instanceof Promise) answer.then(send, (err: unknown) => log.error({ err }, 'DNS answer failed'));
    else if (answer !== undefined) send(answer);
  });
  udp.on('error', (err) => log.error({ err }, 'UDP socket of DNS'));
  tcp.on('error', (err) => log.error({ err }, 'TCP socket of DNS'));
  log.info({ address: formatSocketAddress(address) }, 'DNS serves');
  let closed: Promise<unknown> | undefined;
  return {
    address,
    async close() {
      if (closed === undefined) {
        closed = Promise.all([once(tcp, 'close'), once(udp, 'close')]);
        tcp.close();
        udp.close();
        askers.close();
      }
      await closed;
    },
  };
}

async function bindBoth(
  { host, port }: SocketAddress,
  askers: TcpAskers,
  sockets: ListeningSockets,
): Promise<{ tcp: Server; udp: UdpSocket; port: number }> {
  for (let tries = 1; ; tries++) {
    const tcp = createServer((socket) => askers.take(socket));
    try {
      const found = await sockets.listen(tcp, { host, port });
      return { tcp, udp: await bindUdp(host, found), port: found };
    } catch (error) {
      tcp.close();
      if (port !== 0 || tries === portTries) {
        const message = `DNS can't listen on ${formatSocketAddress({ host, port })}.`;
        throw new MeshError('SLV-1004', message, { cause: error });
      }
    }
  }
}

async function bindUdp(host: string, port: number): Promise<UdpSocket> {
  const udp = createSocket({
    type: isIPv6(host) ? 'udp6' : 'udp4',
    // For a successor, which binds it too. Nobody else gets that far: the TCP socket at the same address is bound for one.
    reusePort: process.platform === 'linux',
    // Whoever is answered was heard: its address is no name to look up.
    lookup: (name, _options, done) => done(null, name, isIPv6(name) ? 6 : 4),
  });
  try {
    // Asked before: without a look-up, binding is done at once.
    const listening = once(udp, 'listening');
    udp.bind({ address: host, port, exclusive: true });
    await listening;
    udp.setRecvBufferSize(receiveBufferBytes);
    return udp;
  } catch (error) {
    udp.close();
    throw error;
  }
}
