import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts } from '../loopback-ports.ts';
import { cpuSeconds } from '../process-cpu.ts';
import { type BenchProcess, waitForPort, waitUntil } from '../processes.ts';
import type { Load } from '../proxy/wrk.ts';
import type { SuiteOptions } from '../suite.ts';
import { begun, type Flood } from './floods.ts';
import { attackedBy, type Target } from './target.ts';

/** From its beginning until a flood is measured, and after its end, ms. */
const calmMs = 300;
/** What is left of a flood has been worked off when both proxies and the application take less of a core than this, over so many ms; within so many. */
const idle = { share: 0.2, overMs: 100, withinMs: 20_000 };

/** What one flood did. */
export interface Flooded {
  readonly load: Load;
  /** Of a core, that proxy which is attacked. */
  readonly cpuShare: number;
  readonly hostile: { readonly connectionsPerSecond: number; readonly megabytesPerSecond: number };
}

/** What the good client says while the flood goes on. */
export async function inFlood(
  flood: Flood,
  target: Target,
  options: SuiteOptions,
  ask: () => Promise<Load>,
): Promise<Flooded> {
  const { port, pid } = attackedBy(flood, target);
  const peer = await startPeer(flood, port, target, options);
  const [before, since] = [cpuSeconds([pid]), performance.now()];
  const load = await ask();
  const seconds = (performance.now() - since) / 1_000;
  const cpuShare = (cpuSeconds([pid]) - before) / seconds;
  await stopPeer(peer);
  const said = (await peer.finished()).slice(begun.length);
  const { connections, bytes } = JSON.parse(said) as { connections: number; bytes: number };
  await calm();
  await untilIdle(target);
  const whole = seconds + calmMs / 1_000;
  const hostile = { connectionsPerSecond: connections / whole, megabytesPerSecond: bytes / 1e6 / whole };
  return { load, cpuShare, hostile };
}

/** The same flood, at somebody else: what is felt of it is the machine's. */
export async function besideSink(
  flood: Flood,
  target: Target,
  options: SuiteOptions,
  ask: () => Promise<Load>,
): Promise<Load> {
  const [port] = (await freePorts(1)) as [number];
  const tls = flood.at === 'inbound' ? [target.svidFile] : [];
  const sink = startBelow('sink', ['sink.ts', String(port), ...tls], options);
  await waitForPort(port, sink);
  const peer = await startPeer(flood, port, target, options);
  const load = await ask();
  await stopPeer(peer);
  await sink.stop();
  await calm();
  return load;
}

async function startPeer(
  flood: Flood,
  port: number,
  { name, svidFile }: Target,
  options: SuiteOptions,
): Promise<BenchProcess> {
  const peer = startBelow('hostile-peer', ['hostile-peer.ts', flood.name, String(port), svidFile, name], options);
  await waitUntil('the flood', [peer], () => readFileSync(peer.outputFile, 'utf8').startsWith(begun));
  await calm();
  return peer;
}

/** Its last words need a core, which proxies at a real-time priority may leave to nobody until they have worked off the flood. */
async function stopPeer(peer: BenchProcess): Promise<void> {
  if (isRealTime()) execFileSync('chrt', ['--fifo', '--pid', '10', String(peer.pid)]);
  await peer.stop();
}

async function untilIdle({ name, processes, application }: Target): Promise<void> {
  const pids = [...processes, application].map(({ pid }) => pid);
  let before = cpuSeconds(pids);
  await waitUntil(
    `${name} idle after the flood`,
    processes,
    async () => {
      await after(idle.overMs);
      const now = cpuSeconds(pids);
      const share = ((now - before) * 1_000) / idle.overMs;
      before = now;
      return share < idle.share;
    },
    idle.withinMs,
  );
}

/** Out of the real-time priority, and before others' work: where Linux shares a core among sessions, a nice value counts within one, and that of a session beside them (sched(7)). */
const beforeOthers = [
  ...['setsid', 'chrt', '--other', '0', 'nice', '-n', '-20', 'sh', '-c'],
  'if [ -e /proc/self/autogroup ]; then echo -20 > /proc/self/autogroup; fi; exec "$@"',
  'sh',
];

/** Runs a process that gets what the others leave of the machine. */
function startBelow(
  name: string,
  [script = '', ...args]: readonly string[],
  { checkout, processes }: SuiteOptions,
): BenchProcess {
  const below = isRealTime() ? beforeOthers : ['nice', '-n', '10'];
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

/** @returns after so many ms */
export const after = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const calm = (): Promise<void> => after(calmMs);
