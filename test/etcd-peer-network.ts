import { connect, createServer, type Socket } from 'node:net';

/** One connection between two members, through here. */
interface Link {
  readonly to: number;
  /** ID of the member that dialled, once it has said it. */
  from: string | undefined;
  readonly sockets: readonly [Socket, Socket];
  /** What came while it was cut is lost, so it can only be ended. */
  cut: boolean;
}

/**
 * The network between the members of an etcd cluster, which can be cut: each member is known to the others by an address here. What is cut off hears
 * nothing and is told nothing, as when packets are dropped; connections are taken and stay silent. Who dials is known by the header that etcd sends.
 */
export class EtcdPeerNetwork implements AsyncDisposable {
  readonly #links = new Set<Link>();
  readonly #servers: ReturnType<typeof createServer>[] = [];
  readonly #isolated = new Map<number, string>();

  /** Opens the address at which the others reach a member. @param port where the member listens. @returns the port to tell them */
  async open(member: number, port: number): Promise<number> {
    const server = createServer((dialled) => this.#link(member, dialled, connect(port, '127.0.0.1')));
    this.#servers.push(server);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
    await promise;
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    return address.port;
  }

  /** Cuts a member off from all others. @param id etcd's, in hex */
  isolate(member: number, id: string): void {
    this.#isolated.set(member, id);
  }

  /** All reach all again. */
  heal(): void {
    this.#isolated.clear();
    for (const link of this.#links) if (link.cut) for (const socket of link.sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { sockets } of this.#links) for (const socket of sockets) socket.destroy();
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }

  #link(to: number, dialled: Socket, member: Socket): void {
    const link: Link = { to, from: undefined, sockets: [dialled, member], cut: false };
    this.#links.add(link);
    const end = (): void => {
      this.#links.delete(link);
      dialled.destroy();
      member.destroy();
    };
    for (const [socket, other] of [
      [dialled, member],
      [member, dialled],
    ] as const) {
      socket.setNoDelay(true);
      socket.on('error', end).on('close', end);
      socket.on('data', (chunk: Buffer) => {
        if (socket === dialled) link.from ??= /X-Server-From: ([0-9a-f]+)/i.exec(chunk.toString('latin1'))?.[1];
        link.cut ||= this.#isIsolated(link);
        if (!link.cut && !other.write(chunk)) {
          socket.pause();
          other.once('drain', () => socket.resume());
        }
      });
    }
  }

  #isIsolated({ to, from }: Link): boolean {
    return this.#isolated.has(to) || (from !== undefined && [...this.#isolated.values()].includes(from));
  }
}
