import { cpuSeconds } from '../process-cpu.ts';
import type { Sample } from '../report.ts';
import { rotated } from '../rotation.ts';
import type { SuiteOptions } from '../suite.ts';
import type { PacedOptions, StreamOptions } from './h2load.ts';
import { benchHost, benchRequests, type Hop, type Mode } from './hop.ts';
import type { Load, LoadOptions } from './wrk.ts';

/** One way of asking. */
export interface Case {
  readonly name: string;
  readonly mode: Mode;
  /** Client connections at once. */
  readonly connections: number;
  /** Of what the application has in that mode. */
  readonly path: string;
  /** HTTP/2: requests in flight on each connection. */
  readonly streams?: number;
  /** Every request on a connection of its own. */
  readonly newConnections?: boolean;
  /** Requests a second, whatever is answered; without it as many as are answered. */
  readonly rate?: number;
  readonly metrics: readonly Metric[];
}

/** What is read off one measurement; `direct` is the same load at the application itself, in the same round, where the case is paced. */
interface Metric {
  readonly metric: string;
  readonly unit: string;
  readonly better: Sample['better'];
  of(taken: Measurement, direct: Load | undefined): number;
}

const perSecond = (load: Load): number => load.requests / load.durationSeconds;
const megabytes = (load: Load): number => load.bytes / 1e6;

const requests: Metric = {
  metric: 'requests/s',
  unit: 'requests/s',
  better: 'higher',
  of: ({ load }) => perSecond(load),
};
const p50: Metric = { metric: 'p50', unit: 'ms', better: 'lower', of: ({ load }) => load.p50Ms };
const p99: Metric = { metric: 'p99', unit: 'ms', better: 'lower', of: ({ load }) => load.p99Ms };
const cpu: Metric = {
  metric: 'cpu/request',
  unit: 'µs',
  better: 'lower',
  of: ({ load, proxyCpuSeconds }) => (proxyCpuSeconds / load.requests) * 1e6,
};
const added = (metric: string, of: (load: Load) => number): Metric => ({
  metric,
  unit: 'ms',
  better: 'lower',
  // Never nothing: a ratio is made of it.
  of: ({ load }, direct) => Math.max(0.001, of(load) - (direct === undefined ? 0 : of(direct))),
});
const throughput: Metric = {
  metric: 'MB/s',
  unit: 'MB/s',
  better: 'higher',
  of: ({ load }) => megabytes(load) / load.durationSeconds,
};
const cpuPerMegabyte: Metric = {
  metric: 'cpu/MB',
  unit: 'µs',
  better: 'lower',
  of: ({ load, proxyCpuSeconds }) => (proxyCpuSeconds / megabytes(load)) * 1e6,
};

const usual = [requests, p50, p99, cpu];
const paced = [added('p50 added', (load) => load.p50Ms), added('p99 added', (load) => load.p99Ms), cpu];
const bulk = [throughput, cpuPerMegabyte];

/** All cases of the suite that send load. */
export const cases: readonly Case[] = [
  { name: 'http-keepalive-32', mode: 'http', connections: 32, path: '/orders', metrics: usual },
  { name: 'http-keepalive-1', mode: 'http', connections: 1, path: '/orders', metrics: usual },
  { name: 'http-keepalive-256', mode: 'http', connections: 256, path: '/orders', metrics: usual },
  { name: 'http-keepalive-32-16k', mode: 'http', connections: 32, path: '/orders/16k', metrics: usual },
  // h2load sends on all its connections at the same moments: four at once every 4 ms.
  { name: 'http-rate-1000', mode: 'http', connections: 4, path: '/orders', rate: 1_000, metrics: paced },
  {
    name: 'new-connections-http',
    mode: 'http',
    connections: 32,
    path: '/orders',
    newConnections: true,
    metrics: usual,
  },
  { name: 'http2-32', mode: 'http2', connections: 4, streams: 8, path: benchRequests.http2.path, metrics: usual },
  { name: 'grpc-unary-32', mode: 'grpc', connections: 4, streams: 8, path: benchRequests.grpc.path, metrics: usual },
  { name: 'tcp-keepalive-32', mode: 'tcp', connections: 32, path: '/orders', metrics: usual },
  { name: 'tcp-bulk-1', mode: 'tcp', connections: 1, path: '/orders/bulk', metrics: bulk },
  { name: 'new-connections-tcp', mode: 'tcp', connections: 32, path: '/orders', newConnections: true, metrics: usual },
];

/** A measurement that is thrown away: it fills pools of connections and compiles hot code. */
const warmUpSeconds = 2;

/** Above this share of a core the loader has nothing left, and its own speed is what was measured. */
const loaderShareLimit = 0.95;

/** One measurement: what the loader saw, and the CPU seconds of both proxies meanwhile. */
interface Measurement {
  readonly load: Load;
  readonly proxyCpuSeconds: number;
}

/** What a case needs beyond the options of the suite. */
export interface CaseOptions extends SuiteOptions {
  readonly loaders: {
    readonly wrk: (options: LoadOptions) => Promise<Load>;
    readonly paced: (options: PacedOptions) => Promise<Load>;
    readonly streams: (options: StreamOptions) => Promise<Load>;
  };
  readonly applicationPort: number;
  readonly fail: (what: string, error: unknown) => void;
}

/** All rounds of one case. A subject with any error in any round has no result in this case. */
export async function measureCase(one: Case, hops: ReadonlyMap<string, Hop>, options: CaseOptions): Promise<Sample[]> {
  const { tell, seconds, fail, applicationPort } = options;
  const ask = (port: number, length: number): Promise<Load> => askAs(one, port, length, options);
  tell(`${one.name}: the application itself: ${said(one, await ask(applicationPort, warmUpSeconds))}`);
  const measured = new Map<string, { taken: Measurement; direct: Load | undefined }[]>(
    [...hops.keys()].map((name) => [name, []]),
  );
  for (let round = -1; round < options.rounds; round++) {
    const length = round < 0 ? warmUpSeconds : seconds;
    const label = round < 0 ? 'warm-up' : `round ${round + 1}`;
    const figures: string[] = [];
    const direct = one.rate === undefined || round < 0 ? undefined : await ask(applicationPort, length);
    for (const name of rotated([...measured.keys()], round)) {
      const hop = hops.get(name);
      if (hop === undefined) continue;
      try {
        const taken = await measure(hop, () => ask(hop.port, length));
        if (round >= 0) measured.get(name)?.push({ taken, direct });
        figures.push(`${name} ${said(one, taken.load)}${saturated(taken.load) ? ' (loader saturated)' : ''}`);
      } catch (error) {
        measured.delete(name);
        fail(`${one.name}, ${name}, ${label}`, error);
      }
    }
    tell(`  ${label}: ${figures.join(', ')}`);
  }
  return [...measured].flatMap(([subject, taken]) =>
    one.metrics.map(({ metric, unit, better, of }) => ({
      case: one.name,
      subject,
      metric,
      unit,
      better,
      values: taken.map((each) => of(each.taken, each.direct)),
    })),
  );
}

function askAs(one: Case, port: number, seconds: number, { loaders }: CaseOptions): Promise<Load> {
  const { mode, connections, path, rate, streams } = one;
  const common = { port, seconds, connections, path, host: benchHost };
  if (streams !== undefined) return loaders.streams({ ...common, streams, grpc: mode === 'grpc' });
  if (rate !== undefined) return loaders.paced({ ...common, rate });
  return loaders.wrk({ ...common, newConnections: one.newConnections ?? false });
}

async function measure(hop: Hop, ask: () => Promise<Load>): Promise<Measurement> {
  const pids = hop.processes.map((process) => process.pid);
  for (const process of hop.processes) process.assertAlive();
  const before = cpuSeconds(pids);
  const seen = await ask();
  for (const process of hop.processes) process.assertAlive();
  if (seen.errors > 0) throw new Error(`${seen.errors} errors in ${seen.requests} requests`);
  if (seen.requests === 0) throw new Error('no request was answered');
  return { load: seen, proxyCpuSeconds: cpuSeconds(pids) - before };
}

/** One figure of a round, for the reader who waits. */
function said(one: Case, load: Load): string {
  if (one.metrics === bulk) return `${throughput.of({ load, proxyCpuSeconds: 0 }, undefined).toFixed(0)} MB/s`;
  return one.rate === undefined ? perSecond(load).toFixed(0) : `p99 ${load.p99Ms.toFixed(2)} ms`;
}

const saturated = (load: Load): boolean => load.loaderCpuSeconds / load.durationSeconds > loaderShareLimit;
