import { mkdtempSync, readFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { findPrograms } from '../install.ts';
import { freePorts } from '../loopback-ports.ts';
import { cpuSeconds } from '../process-cpu.ts';
import { type BenchProcess, waitForPort, waitUntil } from '../processes.ts';
import { createPacedLoader } from '../proxy/h2load.ts';
import { benchHost, benchRequests } from '../proxy/hop.ts';
import { nginxApplication } from '../proxy/nginx.ts';
import { probe } from '../proxy/probe.ts';
import { allow, declare, type EdgeProxy, startControlPlane, startEdgeProxy, type World } from '../proxy/selvedge.ts';
import type { Load } from '../proxy/wrk.ts';
import { ownSubject, type Sample } from '../report.ts';
import type { Suite, SuiteOptions, SuiteResult } from '../suite.ts';
import { begun, type Flood, floods } from './floods.ts';

/** What the good client asks, a second; in fours. */
const rate = 400;
const connections = 4;
/** After a flood, before anything is measured again, ms. */
const calmMs = 300;

/** What a good client feels of a hostile one: alone, beside it, and in its flood, in turn. */
export const hostileSuite: Suite = {
  caseNames: floods.map(({ name }) => name),
  quickCases: ['resets', 'local-hang-ups'],
  subjectNames: [ownSubject],
  run: runHostileSuite,
};

interface Mesh {
  readonly web: EdgeProxy;
  readonly db: EdgeProxy;
  /** File with the SVID of a caller who is allowed. */
  readonly svidFile: string;
}

/** What one flood did. */
interface Flooded {
  readonly load: Load;
  /** Of a core, that proxy which is attacked. */
  readonly cpuShare: number;
  readonly hostile: { readonly connections: number; readonly bytes: number };
}

async function runHostileSuite(options: SuiteOptions): Promise<SuiteResult> {
  const { tell, rounds, seconds, processes } = options;
  const programs = findPrograms(options.checkout, tell);
  const [application] = (await freePorts(1)) as [number];
  const launch = nginxApplication(programs.nginx, mkdtempSync(join(processes.directory, 'nginx-')), application);
  await waitForPort(application, processes.start('nginx', launch.file, launch.args));
  const mesh = await startMesh({
    checkout: options.checkout,
    processes,
    applicationPorts: { http: application, http2: application, grpc: application, tcp: application },
  });
  const load = loadavg().map((one) => one.toFixed(2));
  tell(`${cpus().length} cores for all of it; load average before: ${load.join(' ')}`);
  tell(
    `h2load, ${rate} requests/s in fours, -> edge proxy -> mTLS 1.3 -> edge proxy -> nginx; hostile peers have what that leaves`,
  );
  const paced = createPacedLoader(programs.h2load, processes);
  const ask = (): Promise<Load> =>
    paced({ port: mesh.web.upstreamPort, path: benchRequests.http.path, host: benchHost, connections, rate, seconds });
  await ask();
  const samples: Sample[] = [];
  const failures: string[] = [];
  for (const flood of floods.filter(({ name }) => options.cases.length === 0 || options.cases.includes(name))) {
    tell(`${flood.name}: ${flood.note}`);
    const seen: Seen[] = [];
    try {
      for (let round = 0; round < rounds; round++) {
        const alone = await ask();
        const beside = await besideSink(flood, mesh, options, ask);
        const flooded = await inFlood(flood, mesh, options, ask);
        seen.push({ alone, beside, flooded });
        const bad = alone.errors + beside.errors + flooded.load.errors;
        if (bad > 0) failures.push(`${flood.name}: ${bad} requests of the good client failed`);
      }
    } catch (error) {
      failures.push(`${flood.name}: ${error instanceof Error ? error.message : String(error)}`);
    }
    if (seen.length > 0) samples.push(...samplesOf(flood.name, seen, seconds));
  }
  return { samples, failures, missing: [] };
}

async function startMesh(world: World): Promise<Mesh> {
  const control = await startControlPlane(world);
  await declare(control, 'http');
  const db = await startEdgeProxy('db', 'http', control, world);
  const web = await startEdgeProxy('web', 'http', control, world);
  const mallory = await startEdgeProxy('mallory', 'http', control, world);
  await allow(control, 'http', 'mallory');
  for (const { upstreamPort, process } of [web, mallory]) {
    await waitUntil(
      'a request through both proxies',
      [process],
      async () => (await probe('http', upstreamPort)) === 200,
    );
  }
  await mallory.process.stop();
  return { web, db, svidFile: join(mallory.dataDir, 'svid-mallory.json') };
}

/** Runs a process that gets what the others leave of the machine. */
function startBelow(
  name: string,
  [script = '', ...args]: readonly string[],
  { checkout, processes }: SuiteOptions,
): BenchProcess {
  const below = isRealTime() ? ['chrt', '--other', '0', 'nice', '-n', '-20'] : ['nice', '-n', '10'];
  const [file = '', ...words] = [...below, join(checkout, 'bin', 'node'), '--disable-warning=ExperimentalWarning'];
  return processes.start(name, file, [...words, join(checkout, 'bench', 'hostile', script), ...args]);
}

/** Whether the benchmark was started at a real-time priority, which its processes inherit (`chrt -f 10`): others' work on the machine does not disturb it then. */
function isRealTime(): boolean {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  // The policy is the 41st field (proc(5)); those after the last ")" begin with the third. 1: SCHED_FIFO, 2: SCHED_RR.
  const policy = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[38];
  return policy === '1' || policy === '2';
}

async function startPeer(flood: Flood, port: number, mesh: Mesh, options: SuiteOptions): Promise<BenchProcess> {
  const peer = startBelow('hostile-peer', ['hostile-peer.ts', flood.name, String(port), mesh.svidFile], options);
  await waitUntil('the flood', [peer], () => readFileSync(peer.outputFile, 'utf8').startsWith(begun));
  await calm();
  return peer;
}

/** The same flood, at somebody else: what is felt of it is the machine's. */
async function besideSink(flood: Flood, mesh: Mesh, options: SuiteOptions, ask: () => Promise<Load>): Promise<Load> {
  const [port] = (await freePorts(1)) as [number];
  const tls = flood.at === 'inbound' ? [mesh.svidFile] : [];
  const sink = startBelow('sink', ['sink.ts', String(port), ...tls], options);
  await waitForPort(port, sink);
  const peer = await startPeer(flood, port, mesh, options);
  const load = await ask();
  await peer.stop();
  await sink.stop();
  await calm();
  return load;
}

async function inFlood(flood: Flood, mesh: Mesh, options: SuiteOptions, ask: () => Promise<Load>): Promise<Flooded> {
  const attacked = flood.at === 'inbound' ? mesh.db : mesh.web;
  const port = flood.at === 'inbound' ? mesh.db.listenPort : mesh.web.upstreamPort;
  const peer = await startPeer(flood, port, mesh, options);
  const before = cpuSeconds([attacked.process.pid]);
  const load = await ask();
  const cpuShare = (cpuSeconds([attacked.process.pid]) - before) / load.durationSeconds;
  await peer.stop();
  const hostile = JSON.parse((await peer.finished()).slice(begun.length)) as Flooded['hostile'];
  await calm();
  return { load, cpuShare, hostile };
}

const calm = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, calmMs));

interface Seen {
  readonly alone: Load;
  readonly beside: Load;
  readonly flooded: Flooded;
}

function samplesOf(name: string, seen: readonly Seen[], seconds: number): Sample[] {
  const metric = (
    metric: string,
    unit: string,
    of: (one: Seen) => number,
    better: Sample['better'] = 'lower',
  ): Sample => ({
    ...{ case: name, subject: ownSubject, metric, unit, better },
    values: seen.map(of),
  });
  const floodSeconds = seconds + calmMs / 1_000;
  return [
    metric('p50 alone', 'ms', ({ alone }) => alone.p50Ms),
    metric('p50', 'ms', ({ flooded }) => flooded.load.p50Ms),
    metric('p99 alone', 'ms', ({ alone }) => alone.p99Ms),
    metric('p99 beside', 'ms', ({ beside }) => beside.p99Ms),
    metric('p99', 'ms', ({ flooded }) => flooded.load.p99Ms),
    metric('p99, times alone', '', ({ alone, flooded }) => flooded.load.p99Ms / alone.p99Ms),
    metric('times beside', '', ({ beside, flooded }) => flooded.load.p99Ms / beside.p99Ms),
    metric('cores of the proxy', '', ({ flooded }) => flooded.cpuShare),
    metric('hostile connections/s', '', ({ flooded }) => flooded.hostile.connections / floodSeconds),
    metric('hostile MB/s', '', ({ flooded }) => flooded.hostile.bytes / 1e6 / floodSeconds),
  ];
}
