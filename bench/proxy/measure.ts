import { cpuSeconds } from '../process-cpu.ts';
import type { Sample } from '../report.ts';
import type { SuiteOptions } from '../suite.ts';
import type { Hop, Mode } from './hop.ts';
import type { Load, LoadOptions } from './wrk.ts';

/** One way of asking. */
export interface Case {
  readonly name: string;
  readonly mode: Mode;
  readonly newConnections: boolean;
}

/** Client connections at once, in every case. */
export const connections = 32;

/** All cases of the suite. */
export const cases: readonly Case[] = [
  { name: 'http-keepalive-32', mode: 'http', newConnections: false },
  { name: 'tcp-keepalive-32', mode: 'tcp', newConnections: false },
  { name: 'new-connections-tcp', mode: 'tcp', newConnections: true },
  { name: 'new-connections-http', mode: 'http', newConnections: true },
];

/** A measurement that is thrown away: it fills pools of connections and compiles hot code. */
const warmUpSeconds = 2;

/** Above this share of a core the loader has nothing left, and its own speed is what was measured. */
const loaderShareLimit = 0.95;

/** What is read off one measurement. */
const metrics = [
  {
    metric: 'requests/s',
    unit: 'requests/s',
    better: 'higher',
    of: (load: Load) => load.requests / load.durationSeconds,
  },
  { metric: 'p50', unit: 'ms', better: 'lower', of: (load: Load) => load.p50Ms },
  { metric: 'p99', unit: 'ms', better: 'lower', of: (load: Load) => load.p99Ms },
  { metric: 'cpu/request', unit: 'µs', better: 'lower', of: (load: Load, cpu: number) => (cpu / load.requests) * 1e6 },
] as const;

/** One measurement: what wrk saw, and the CPU seconds of both proxies meanwhile. */
interface Measurement {
  readonly load: Load;
  readonly proxyCpuSeconds: number;
}

/** What a case needs beyond the options of the suite. */
export interface CaseOptions extends SuiteOptions {
  readonly load: (options: LoadOptions) => Promise<Load>;
  readonly applicationPort: number;
  readonly fail: (what: string, error: unknown) => void;
}

/** All rounds of one case. A subject with any error in any round has no result in this case. */
export async function measureCase(one: Case, hops: ReadonlyMap<string, Hop>, options: CaseOptions): Promise<Sample[]> {
  const { tell, load, seconds, fail } = options;
  const asked = { connections, newConnections: one.newConnections };
  const direct = await load({ ...asked, port: options.applicationPort, seconds: warmUpSeconds });
  tell(`${one.name}: wrk at the application itself: ${perSecond(direct)} requests/s`);
  const measured = new Map<string, Measurement[]>([...hops.keys()].map((name) => [name, []]));
  for (let round = -1; round < options.rounds; round++) {
    const label = round < 0 ? 'warm-up' : `round ${round + 1}`;
    const figures: string[] = [];
    for (const name of rotated([...measured.keys()], round)) {
      const hop = hops.get(name);
      if (hop === undefined) continue;
      try {
        const taken = await measure(hop, load, {
          ...asked,
          port: hop.port,
          seconds: round < 0 ? warmUpSeconds : seconds,
        });
        if (round >= 0) measured.get(name)?.push(taken);
        figures.push(`${name} ${perSecond(taken.load)}${saturated(taken.load) ? ' (loader saturated)' : ''}`);
      } catch (error) {
        measured.delete(name);
        fail(`${one.name}, ${name}, ${label}`, error);
      }
    }
    tell(`  ${label}: ${figures.join(', ')}`);
  }
  return [...measured].flatMap(([subject, taken]) => samplesOf(one.name, subject, taken));
}

async function measure(hop: Hop, load: CaseOptions['load'], asked: LoadOptions): Promise<Measurement> {
  const pids = hop.processes.map((process) => process.pid);
  for (const process of hop.processes) process.assertAlive();
  const before = cpuSeconds(pids);
  const seen = await load(asked);
  for (const process of hop.processes) process.assertAlive();
  if (seen.errors > 0) throw new Error(`${seen.errors} errors in ${seen.requests} requests`);
  if (seen.requests === 0) throw new Error('no request was answered');
  return { load: seen, proxyCpuSeconds: cpuSeconds(pids) - before };
}

function samplesOf(name: string, subject: string, taken: readonly Measurement[]): Sample[] {
  return metrics.map(({ metric, unit, better, of }) => ({
    case: name,
    subject,
    metric,
    unit,
    better,
    values: taken.map((one) => of(one.load, one.proxyCpuSeconds)),
  }));
}

const perSecond = (load: Load): string => (load.requests / load.durationSeconds).toFixed(0);

const saturated = (load: Load): boolean => load.loaderCpuSeconds / load.durationSeconds > loaderShareLimit;

/** The same names, beginning elsewhere in each round, so that none always follows the same neighbour's heat. */
function rotated<T>(values: readonly T[], by: number): T[] {
  const start = values.length === 0 ? 0 : (by + values.length) % values.length;
  return [...values.slice(start), ...values.slice(0, start)];
}
