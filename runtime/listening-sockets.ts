import { fstatSync, readFileSync } from 'node:fs';
import type { Server } from 'node:net';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Logger } from './logging.ts';
import { formatSocketAddress, type SocketAddress } from './socket-address.ts';

/** A socket that this process was started with. */
interface PassedOn {
  readonly fd: number;
  readonly address: SocketAddress;
}

/** First descriptor that is passed on (sd_listen_fds(3)). */
export const firstPassedOn = 3;

/**
 * The TCP sockets at which a process listens. Those that it was started with, by systemd or by the process that it succeeds, are used where their address is
 * asked for: the queue of connections that wait is then the same, and none of them is lost. All others are bound.
 */
export class ListeningSockets {
  /** This process takes over from one that still runs. */
  readonly succeeds: boolean;
  readonly #passedOn: PassedOn[];
  readonly #servers = new Set<Server>();

  /**
   * @param passedOn how many descriptors, from 3 on; those that are no listening TCP sockets are left alone
   * @param succeeds see the field
   */
  constructor(passedOn = 0, succeeds = false) {
    this.succeeds = succeeds;
    this.#passedOn = passedOn === 0 ? [] : listeningAmong(passedOn);
  }

  /**
   * Opens a server's door.
   *
   * @param backlog connections that may wait; absent: Node's default. @returns the bound port. Throws SLV-1004 when the address can't be had
   */
  async listen(server: Server, address: SocketAddress, backlog?: number): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const { host, port } = address;
    const index = this.#passedOn.findIndex((passed) => passed.address.host === host && passed.address.port === port);
    const [passed] = index < 0 ? [] : this.#passedOn.splice(index, 1);
    const where = passed === undefined ? { host, port } : { fd: passed.fd };
    server.once('error', reject);
    server.listen({ ...where, ...(backlog === undefined ? {} : { backlog }) }, resolve);
    try {
      await promise;
    } catch (cause) {
      const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed';
      throw new MeshError('SLV-1004', `Cannot listen on ${formatSocketAddress(address)}: ${reason}.`, {
        detail: { host, port, reason },
        cause,
      });
    } finally {
      server.off('error', reject);
    }
    this.#servers.add(server);
    server.once('close', () => this.#servers.delete(server));
    const bound = server.address();
    return typeof bound === 'object' && bound !== null ? bound.port : port;
  }

  /** What a successor is to be started with, in this order. */
  get descriptors(): number[] {
    return [...this.#servers].flatMap((server) => {
      // Node has no other word for it. Where it has none, the successor binds for itself once this process has let go.
      const fd = server.listening ? (server as { _handle?: { fd?: number } })._handle?.fd : undefined;
      return fd === undefined || fd < 0 ? [] : [fd];
    });
  }

  /** Says of which passed on sockets nothing came: connections to them would wait for ever. */
  tellUnused(log: Logger): void {
    const addresses = this.#passedOn.map(({ address }) => formatSocketAddress(address));
    if (addresses.length > 0) log.warn({ addresses }, 'sockets that were passed on, at which nothing is to listen');
  }
}

/** Which of the descriptors are TCP sockets that listen, and where: the kernel's tables know it by inode. */
function listeningAmong(count: number): PassedOn[] {
  const places = new Map<number, SocketAddress>();
  for (const table of ['tcp', 'tcp6']) {
    for (const line of tableLines(`/proc/self/net/${table}`)) {
      // `sl local_address rem_address st … uid timeout inode`; state 0A: listening
      const [, local = '', , state, , , , , , inode] = line.trim().split(/\s+/);
      const address = state === '0A' ? parseTableAddress(local) : undefined;
      if (address !== undefined) places.set(Number(inode), address);
    }
  }
  return Array.from({ length: count }, (_, index) => firstPassedOn + index).flatMap((fd) => {
    const address = places.get(inodeOf(fd));
    return address === undefined ? [] : [{ fd, address }];
  });
}

function tableLines(path: string): string[] {
  try {
    return readFileSync(path, 'latin1').split('\n').slice(1);
  } catch {
    return []; // no IPv6, or not Linux: then nothing is taken over
  }
}

function inodeOf(fd: number): number {
  try {
    return fstatSync(fd).ino;
  } catch {
    return -1; // not open: whoever promised it was wrong, and what needs it binds for itself
  }
}

/** `0100007F:1F90`: words of four bytes in the machine's order, little-endian on every platform of ours. */
function parseTableAddress(text: string): SocketAddress | undefined {
  const [hex = '', port = ''] = text.split(':');
  const bytes = [...Buffer.from(hex, 'hex').swap32()];
  if (bytes.length === 4) return { host: bytes.join('.'), port: Number.parseInt(port, 16) };
  if (bytes.length !== 16) return undefined;
  const groups = Array.from({ length: 8 }, (_, at) =>
    (((bytes[2 * at] ?? 0) << 8) | (bytes[2 * at + 1] ?? 0)).toString(16),
  );
  return { host: new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1), port: Number.parseInt(port, 16) };
}
