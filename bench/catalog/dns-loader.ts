import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

/**
 * Loads a DNS server over UDP: each socket keeps a window of queries under way and sends the next one for each answer. A query that stays without an answer
 * for a second counts as lost.
 */

/** What is asked, and for how long. */
export interface DnsLoad {
  readonly port: number;
  /** Whole queries; the first two bytes are overwritten with an id. */
  readonly queries: readonly Uint8Array[];
  readonly seconds: number;
  readonly sockets: number;
  /** Queries under way on each socket. */
  readonly window: number;
}

/** What came of it. */
export interface DnsLoadResult {
  readonly answersPerSecond: number;
  readonly lost: number;
  /** Answers with a code other than NOERROR, or without records. */
  readonly wrong: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Runs a load in a thread of its own. */
export async function loadDns(load: DnsLoad): Promise<DnsLoadResult> {
  const worker = new Worker(new URL(import.meta.url), { workerData: load });
  const [result] = (await once(worker, 'message')) as [DnsLoadResult];
  return result;
}

async function run({ port, queries, seconds, sockets, window }: DnsLoad): Promise<DnsLoadResult> {
  const latencies: number[] = [];
  let [lost, wrong, next] = [0, 0, 0];
  const begin = performance.now();
  const end = begin + seconds * 1_000;
  const each = async (): Promise<void> => {
    const socket = createSocket('udp4');
    socket.connect(port, '127.0.0.1');
    await once(socket, 'connect');
    const sentAt = new Float64Array(65_536);
    let id = 0;
    const send = (): void => {
      const query = Buffer.from(queries[next++ % queries.length] ?? []);
      id = (id + 1) & 0xffff;
      query.writeUInt16BE(id, 0);
      sentAt[id] = performance.now();
      socket.send(query);
    };
    socket.on('message', (answer) => {
      const now = performance.now();
      const at = answer.readUInt16BE(0);
      const sent = sentAt[at] ?? 0;
      if (sent === 0) return;
      sentAt[at] = 0;
      latencies.push(now - sent);
      if (((answer[3] ?? 0) & 0xf) !== 0 || answer.readUInt16BE(6) === 0) wrong += 1;
      if (now < end) send();
    });
    for (let count = 0; count < window; count++) send();
    const watch = setInterval(() => {
      const now = performance.now();
      for (const [at, sent] of sentAt.entries()) {
        if (sent === 0 || now - sent < 1_000) continue;
        sentAt[at] = 0;
        lost += 1;
        if (now < end) send();
      }
    }, 500);
    await new Promise((resolve) => setTimeout(resolve, seconds * 1_000 + 1_100));
    clearInterval(watch);
    socket.close();
  };
  await Promise.all(Array.from({ length: sockets }, each));
  latencies.sort((a, b) => a - b);
  const at = (share: number): number => latencies[Math.floor((latencies.length - 1) * share)] ?? Number.NaN;
  return { answersPerSecond: latencies.length / seconds, lost, wrong, p50Ms: at(0.5), p99Ms: at(0.99) };
}

if (!isMainThread) parentPort?.postMessage(await run(workerData as DnsLoad));
