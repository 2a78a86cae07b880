import { mkdtempSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { findPrograms } from '../install.ts';
import { freePorts } from '../loopback-ports.ts';
import { waitForPort } from '../processes.ts';
import { createPacedLoader } from '../proxy/h2load.ts';
import { benchHost, benchRequests } from '../proxy/hop.ts';
import { nginxApplication } from '../proxy/nginx.ts';
import { missingPeers, peerNames } from '../proxy/peers.ts';
import type { Load } from '../proxy/wrk.ts';
import { ownSubject, type Sample } from '../report.ts';
import { rotated } from '../rotation.ts';
import type { Suite, SuiteOptions, SuiteResult } from '../suite.ts';
import { after, besideSink, type Flooded, inFlood } from './flooding.ts';
import { type Flood, floods } from './floods.ts';
import { startTargets, type Target } from './target.ts';

/** What the good client asks, a second; in fours. */
const rate = 400;
const connections = 4;
/** Before a round, ms: what floods kept from the machine's other work is made up for. */
const restMs = 1_000;

/** What a good client feels of a hostile one, through us and through peers: alone, beside it, and in its flood, in turn. */
export const hostileSuite: Suite = {
  caseNames: floods.map(({ name }) => name),
  quickCases: ['resets', 'local-hang-ups'],
  subjectNames: [ownSubject, ...peerNames],
  run: runHostileSuite,
};

/** Asks as the good client does. */
type Ask = (target: Target) => Promise<Load>;

async function runHostileSuite(options: SuiteOptions): Promise<SuiteResult> {
  const { tell, seconds, processes } = options;
  const programs = findPrograms(options.checkout, tell);
  const [port] = (await freePorts(1)) as [number];
  const launch = nginxApplication(programs.nginx, mkdtempSync(join(processes.directory, 'nginx-')), port);
  const application = { port, process: processes.start('nginx', launch.file, launch.args) };
  await waitForPort(port, application.process);
  const load = loadavg().map((one) => one.toFixed(2));
  tell(`${cpus().length} cores for all of it; load average before: ${load.join(' ')}`);
  tell(
    `h2load, ${rate} requests/s in fours, -> proxy -> mTLS 1.3 -> proxy -> nginx; hostile peers have what that leaves`,
  );
  const targets = await startTargets(options, programs, application);
  const paced = createPacedLoader(programs.h2load, processes);
  const ask: Ask = ({ port }) =>
    paced({ port, path: benchRequests.http.path, host: benchHost, connections, rate, seconds });
  for (const target of targets) await ask(target);
  const samples: Sample[] = [];
  const failures: string[] = [];
  for (const flood of floods.filter(({ name }) => options.cases.length === 0 || options.cases.includes(name))) {
    tell(`${flood.name}: ${flood.note}`);
    const flooded = await measureFlood(flood, targets, options, ask);
    samples.push(...flooded.samples);
    failures.push(...flooded.failures);
  }
  return { samples, failures, missing: missingPeers(programs) };
}

/** All rounds of one flood: in each the good clients of all alone, one after the other, and then each in its flood. A subject that broke is left out from there on. */
async function measureFlood(
  flood: Flood,
  targets: readonly Target[],
  options: SuiteOptions,
  ask: Ask,
): Promise<Pick<SuiteResult, 'samples' | 'failures'>> {
  const failures: string[] = [];
  const seen = new Map<Target, Seen[]>();
  for (const target of targets) {
    const why = flood.notAt?.[target.name];
    if (why === undefined) seen.set(target, []);
    else options.tell(`  not at ${target.name}: ${why}`);
  }
  const left = new Set(seen.keys());
  for (let round = 0; round < options.rounds; round++) {
    const inTurn = rotated([...seen.keys()], round);
    await after(restMs);
    const alone = new Map<Target, Load>();
    for (const target of inTurn)
      if (left.has(target)) await attempt(target, async () => alone.set(target, await ask(target)));
    for (const target of inTurn) {
      const before = alone.get(target);
      if (before !== undefined) await attempt(target, () => flooded(target, before));
    }
  }
  const samples = [...seen].flatMap(([{ name }, rounds]) => (rounds.length > 0 ? samplesOf(flood, name, rounds) : []));
  return { samples, failures };

  async function attempt(target: Target, step: () => Promise<unknown>): Promise<void> {
    try {
      await step();
    } catch (error) {
      left.delete(target);
      failures.push(`${flood.name}, ${target.name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** The machine's part is the same whoever is asked, so that it is measured once: through our own proxies. */
  async function flooded(target: Target, alone: Load): Promise<void> {
    const askIt = (): Promise<Load> => ask(target);
    const beside = target.name === ownSubject ? await besideSink(flood, target, options, askIt) : undefined;
    const one = { alone, beside, flooded: await inFlood(flood, target, options, askIt) };
    seen.get(target)?.push(one);
    const bad = alone.errors + (beside?.errors ?? 0) + one.flooded.load.errors;
    if (bad > 0) failures.push(`${flood.name}, ${target.name}: ${bad} requests of the good client failed`);
  }
}

interface Seen {
  readonly alone: Load;
  readonly beside: Load | undefined;
  readonly flooded: Flooded;
}

function samplesOf(flood: Flood, subject: string, seen: readonly Seen[]): Sample[] {
  const metric = (
    metric: string,
    unit: string,
    of: (one: Seen) => number | undefined,
    better: Sample['better'] = 'lower',
  ): Sample[] => {
    const values = seen.map(of).filter((value) => value !== undefined);
    return values.length === 0 ? [] : [{ case: flood.name, subject, metric, unit, better, values }];
  };
  return [
    metric('p50 alone', 'ms', ({ alone }) => alone.p50Ms),
    metric('p50', 'ms', ({ flooded }) => flooded.load.p50Ms),
    metric('p99 alone', 'ms', ({ alone }) => alone.p99Ms),
    metric('p99 beside', 'ms', ({ beside }) => beside?.p99Ms),
    metric('p99', 'ms', ({ flooded }) => flooded.load.p99Ms),
    metric('p99, times alone', '', ({ alone, flooded }) => flooded.load.p99Ms / alone.p99Ms),
    metric('times beside', '', ({ beside, flooded }) => beside && flooded.load.p99Ms / beside.p99Ms),
    metric('requests/s', '', ({ flooded: { load } }) => load.requests / load.durationSeconds, 'higher'),
    metric('cores of the proxy', '', ({ flooded }) => flooded.cpuShare),
    metric('hostile connections/s', '', ({ flooded }) => flooded.hostile.connectionsPerSecond, 'neither'),
    metric('hostile MB/s', '', ({ flooded }) => flooded.hostile.megabytesPerSecond, 'neither'),
  ].flat();
}
