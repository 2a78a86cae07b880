import { Agent, get } from 'node:http';
import { register, send, services } from './contents.ts';

/** What a change meant to those who wait. */
export interface WatchResult {
  /** From sending the change to the last answer of those concerned. */
  readonly lastMs: number;
  /** Watchers that had an answer though nothing of theirs changed. */
  readonly wokenForNothing: number;
}

/**
 * Blocking queries, all open at once, over the services in turn: one instance of one service changes, once for each round.
 *
 * @returns one result for each round
 */
export async function measureWatchers(
  url: string,
  options: { watchers: number; rounds: number },
): Promise<WatchResult[]> {
  const results: WatchResult[] = [];
  for (let round = 0; round < options.rounds; round++) {
    const service = (round * 37) % services;
    const agent = new Agent({ keepAlive: false, maxSockets: Number.POSITIVE_INFINITY });
    const answered = new Map<number, number>();
    const { promise: allOpen, resolve: opened } = Promise.withResolvers<void>();
    let open = 0;
    const indexes = await Promise.all(
      Array.from({ length: services }, (_, at) => send(url, 'GET', `/v1/health/service/service-${at}`)),
    );
    for (let watcher = 0; watcher < options.watchers; watcher++) {
      const watched = watcher % services;
      const path = `/v1/health/service/service-${watched}?index=${indexes[watched]?.index}&wait=5m`;
      const call = get(`${url}${path}`, { agent }, (answer) => {
        answer.resume().on('end', () => answered.set(watcher, performance.now()));
      });
      call.on('error', () => undefined); // those that nobody answers are cut at the end
      call.on('socket', (socket) => {
        socket.once('connect', () => {
          if (++open === options.watchers) opened();
        });
      });
    }
    await allOpen;
    await settled(url);
    const begun = performance.now();
    await register(url, service, 0, 9_000 + round);
    const concerned = Array.from({ length: options.watchers }, (_, at) => at).filter((at) => at % services === service);
    const deadline = begun + 30_000;
    while (!concerned.every((watcher) => answered.has(watcher))) {
      if (performance.now() > deadline) throw new Error('a watcher that is concerned had no answer within 30 s');
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const lastMs = Math.max(...concerned.map((watcher) => (answered.get(watcher) ?? 0) - begun));
    await settled(url);
    results.push({ lastMs, wokenForNothing: answered.size - concerned.length });
    agent.destroy();
  }
  return results;
}

/** What was sent before has been taken up: a request behind it is answered, a few times over. */
async function settled(url: string): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await send(url, 'GET', '/v1/status/leader');
}
