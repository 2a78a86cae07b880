import { connect, createServer, type Server } from 'node:net';

/** Loopback ports that are free now and differ from one another. */
export async function freePorts(count: number): Promise<number[]> {
  // All are held open at once, so that the kernel gives none twice.
  const held = await Promise.all(Array.from({ length: count }, listenOnAnyPort));
  const ports = held.map((server) => {
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('a TCP server has no port');
    return address.port;
  });
  await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Whether anything accepts connections on a loopback port. */
export function connects(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    // Refused is the answer "no" here; the caller has the deadline.
    socket.once('error', () => resolve(false));
  });
}

function listenOnAnyPort(): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve(server));
  });
}
