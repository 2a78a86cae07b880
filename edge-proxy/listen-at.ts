import type { Server } from 'node:net';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Logger } from '#runtime/logging.ts';
import { formatSocketAddress, type SocketAddress } from '#runtime/socket-address.ts';

/**
 * Opens a server's door. What goes wrong at it later (no more file descriptors, say) is logged: it ends neither the process nor what is open.
 *
 * @returns the bound port. Throws SLV-1004 when the address can't be had.
 */
export function listenAt(server: Server, address: SocketAddress, log: Logger): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.on('error', (cause) => {
    if (server.listening)
      log.error({ err: cause, address: formatSocketAddress(address) }, 'a connection could not be taken');
    reject(new MeshError('SLV-1004', `can't listen at ${formatSocketAddress(address)}: ${cause.message}`, { cause }));
  });
  server.listen(address.port, address.host, () => {
    const bound = server.address();
    resolve(typeof bound === 'object' && bound !== null ? bound.port : address.port);
  });
  return promise;
}
