import type { Server } from 'node:net';
import type { ProcessContext } from '#runtime/process-context.ts';
import { formatSocketAddress, type SocketAddress } from '#runtime/socket-address.ts';

/**
 * Opens a server's door. What goes wrong at it later (no more file descriptors, say) is logged: it ends neither the process nor what is open.
 *
 * @returns the bound port. Throws SLV-1004 when the address can't be had.
 */
export async function listenAt(
  server: Server,
  address: SocketAddress,
  { sockets, log }: Pick<ProcessContext, 'sockets' | 'log'>,
): Promise<number> {
  const port = await sockets.listen(server, address);
  server.on('error', (err) =>
    log.error({ err, address: formatSocketAddress({ ...address, port }) }, 'a connection could not be taken'),
  );
  return port;
}
