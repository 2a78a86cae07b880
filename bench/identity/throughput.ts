import { ownSubject, type Sample } from '../report.ts';
import type { SuiteOptions } from '../suite.ts';
import type { LoadResult } from './load.ts';
import { runCore, runLoad, type Service } from './subjects.ts';
import type { BenchVault } from './vault.ts';

/** Leaves as fast as they come, by so many callers who each wait for one before they ask for the next. */
export interface ThroughputCase {
  readonly name: string;
  /** `core`: no service, no network. */
  readonly what: 'embedded' | 'vault-intermediate' | 'vault-leaf' | 'core';
  /** 1 or 32; of `core`, those of the anchor that it is compared with. */
  readonly callers: number;
}

/** All of them. */
export const throughputCases: readonly ThroughputCase[] = [
  ...(['embedded', 'vault-intermediate', 'vault-leaf'] as const).flatMap((what) =>
    [1, 32].map((callers) => ({ name: `${what}-${callers}`, what, callers })),
  ),
  { name: 'core', what: 'core', callers: 32 },
];

/** Our peers: OpenBao's own sign endpoint, with a role that stores nothing (ours) and with one that stores, as by default. */
export const anchors = { openbao: 'no_store', 'openbao-stored': 'default' } as const;
export type AnchorName = keyof typeof anchors;

/** Nodes that renew in one measurement: each renews as many times as would make a record of some thirty SVIDs, which a busy node has. */
export const nodesOf = (seconds: number): number => (seconds > 1 ? 256 : 64);
const warmUpSeconds = 2;

/** What runs while it is measured. */
export interface Stage extends SuiteOptions {
  readonly services: ReadonlyMap<string, Service>;
  readonly vault: BenchVault;
  readonly fail: (what: string, error: unknown) => void;
}

/** One thing to measure, shared by the cases that show it. */
interface Runner {
  readonly subject: string;
  readonly cases: readonly string[];
  run(seconds: number): Promise<LoadResult>;
}

/** What is read off one measurement. */
const metrics = [
  {
    metric: 'leaves/s',
    unit: 'leaves/s',
    better: 'higher',
    of: ({ leaves, durationSeconds }: LoadResult) => leaves / durationSeconds,
  },
  { metric: 'p50', unit: 'ms', better: 'lower', of: ({ p50Ms }: LoadResult) => p50Ms },
  { metric: 'p99', unit: 'ms', better: 'lower', of: ({ p99Ms }: LoadResult) => p99Ms },
  {
    metric: 'cpu/leaf',
    unit: 'µs',
    better: 'lower',
    of: ({ cpuSeconds, leaves }: LoadResult) =>
      (Object.values(cpuSeconds).reduce((sum, used) => sum + used, 0) / leaves) * 1e6,
  },
  {
    metric: 'of it bao',
    unit: 'µs',
    better: 'lower',
    of: ({ cpuSeconds, leaves }: LoadResult) => ((cpuSeconds['bao'] ?? 0) / leaves) * 1e6,
  },
  {
    metric: 'loader',
    unit: 'µs',
    better: 'lower',
    of: ({ loaderCpuSeconds, leaves }: LoadResult) => (loaderCpuSeconds / leaves) * 1e6,
  },
] as const;

/** All rounds of these cases, everything in turn in each round. What failed once has no result. */
export async function measureThroughput(chosen: readonly ThroughputCase[], stage: Stage): Promise<Sample[]> {
  const { tell, fail } = stage;
  const runners = runnersOf(chosen, stage);
  const taken = new Map<Runner, LoadResult[]>(runners.map((runner) => [runner, []]));
  for (let round = -1; round < stage.rounds; round++) {
    const label = round < 0 ? 'warm-up' : `round ${round + 1}`;
    const figures: string[] = [];
    const first = Math.max(round, 0) % Math.max(runners.length, 1);
    for (const runner of [...runners.slice(first), ...runners.slice(0, first)]) {
      const results = taken.get(runner);
      if (results === undefined) continue;
      try {
        const result = await runner.run(round < 0 ? Math.min(warmUpSeconds, stage.seconds) : stage.seconds);
        if (round >= 0) results.push(result);
        figures.push(`${runner.cases[0]}/${runner.subject} ${(result.leaves / result.durationSeconds).toFixed(0)}/s`);
      } catch (error) {
        taken.delete(runner);
        fail(`${runner.cases.join(', ')}, ${runner.subject}, ${label}`, error);
      }
    }
    tell(`  ${label}: ${figures.join(', ')}`);
  }
  return chosen.flatMap((one) =>
    [...taken]
      .filter(([runner]) => runner.cases.includes(one.name))
      .flatMap(([runner, results]) =>
        metrics.map(({ metric, unit, better, of }) => ({
          case: one.name,
          subject: runner.subject,
          metric,
          unit,
          better,
          values: results.map(of),
        })),
      ),
  );
}

function runnersOf(chosen: readonly ThroughputCase[], stage: Stage): Runner[] {
  const wanted = (subject: string): boolean => stage.subjects.length === 0 || stage.subjects.includes(subject);
  const own = chosen.map((one) => ({ subject: ownSubject, cases: [one.name], run: ownRun(one, stage) }));
  const peers = [...new Set(chosen.map(({ callers }) => callers))].flatMap((callers) =>
    (Object.keys(anchors) as AnchorName[]).map((subject) => ({
      subject,
      cases: chosen.filter((one) => one.callers === callers).map(({ name }) => name),
      run: anchorRun(subject, callers, stage),
    })),
  );
  return [...own, ...peers].filter(({ subject }) => wanted(subject));
}

function ownRun({ what, callers }: ThroughputCase, stage: Stage): Runner['run'] {
  if (what === 'core') return (seconds) => runCore(stage, seconds);
  return (seconds) => {
    const service = stage.services.get(what);
    if (service === undefined) throw new Error(`there is no service with the backend ${what}`);
    service.process.assertAlive();
    return runLoad(stage, {
      url: `${service.url}/v1/identity/svids`,
      headers: {},
      callers,
      connections: service.takeConnections(nodesOf(stage.seconds)),
      seconds,
      // The CPU of bao counts for whoever makes it work.
      pids: { service: service.process.pid, ...(what === 'vault-leaf' ? { bao: stage.vault.pid } : {}) },
    });
  };
}

function anchorRun(subject: AnchorName, callers: number, stage: Stage): Runner['run'] {
  const { fields, ...server } = stage.vault.anchor(anchors[subject]);
  const connections = Array.from({ length: callers }, () => ({ fields }));
  return (seconds) => runLoad(stage, { ...server, callers, connections, seconds, pids: { bao: stage.vault.pid } });
}
