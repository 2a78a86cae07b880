import { Agent, get } from 'node:http';
import { createInterface } from 'node:readline';
import { send } from './contents.ts';

/**
 * Simulated proxies, each on a feed of its own: one intention is changed, once for each round.
 *
 * @returns for each round, from sending the change until the last proxy had it, in milliseconds
 */
export async function measureFeeds(url: string, options: { proxies: number; rounds: number }): Promise<number[]> {
  const agent = new Agent({ keepAlive: false, maxSockets: Number.POSITIVE_INFINITY });
  /** When each proxy last heard of the destination. */
  const heardAt = new Float64Array(options.proxies);
  const { promise: allOpen, resolve: opened } = Promise.withResolvers<void>();
  let open = 0;
  for (let proxy = 0; proxy < options.proxies; proxy++) {
    const path = `/v1/mesh/feed?proxy=proxy-${proxy}&service=destination&upstream=service-${proxy % 500}`;
    get(`${url}${path}`, { agent }, (answer) => {
      let first = true;
      const lines = createInterface({ input: answer });
      lines.on('error', () => undefined); // cut at the end
      lines.on('line', (line) => {
        if (!line.includes('"type":"update"')) return;
        if (first) {
          first = false;
          if (++open === options.proxies) opened();
        } else heardAt[proxy] = performance.now();
      });
    }).on('error', () => undefined);
  }
  await allOpen;
  const results: number[] = [];
  for (let round = 0; round < options.rounds; round++) {
    heardAt.fill(0);
    const Action = round % 2 === 0 ? 'allow' : 'deny';
    const begun = performance.now();
    await send(url, 'PUT', '/v1/connect/intentions/exact?source=source&destination=destination', { Action });
    const deadline = performance.now() + 30_000;
    while (heardAt.some((at) => at < begun)) {
      if (performance.now() > deadline) throw new Error('a proxy did not hear of the change within 30 s');
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    results.push(Math.max(...heardAt) - begun);
  }
  agent.destroy();
  return results;
}
