import { createServer, type Server } from 'node:net';

/** Below what the kernel gives to who asks for any port (Linux from 32768, others from 49152): nobody gets one of these by chance meanwhile. */
const [lowest, highest] = [10_000, 32_000];

/** Ports of 127.0.0.1 that were free a moment ago, all different: for programs that can't be told to pick one and say which. */
export async function freePorts(count: number): Promise<number[]> {
  const held = new Map<number, Server>();
  while (held.size < count) {
    const port = lowest + Math.floor(Math.random() * (highest - lowest));
    const server = await listen(port);
    if (server !== undefined) held.set(port, server);
  }
  await Promise.all([...held.values()].map((server) => new Promise((resolve) => server.close(resolve))));
  return [...held.keys()];
}

/** @returns undefined: somebody else has it */
async function listen(port: number): Promise<Server | undefined> {
  const server = createServer();
  const { promise, resolve, reject } = Promise.withResolvers<Server | undefined>();
  server.once('error', (error: NodeJS.ErrnoException) =>
    error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error),
  );
  server.listen(port, '127.0.0.1', () => resolve(server));
  return promise;
}
