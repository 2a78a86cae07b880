import { createServer } from 'node:net';

/** Ports of 127.0.0.1 that were free a moment ago, all different: for programs that can't be told to pick one and say which. */
export async function freePorts(count: number): Promise<number[]> {
  const probes = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    probes.map(async (probe) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      probe.once('error', reject);
      probe.listen(0, '127.0.0.1', resolve);
      await promise;
      const address = probe.address();
      if (address === null || typeof address === 'string') throw new Error('no port');
      return address.port;
    }),
  );
  await Promise.all(probes.map((probe) => new Promise((resolve) => probe.close(resolve))));
  return ports;
}
