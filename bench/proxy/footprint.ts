import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { processTree } from '../process-cpu.ts';
import { waitUntil } from '../processes.ts';
import { ownSubject, type Sample } from '../report.ts';
import type { SuiteOptions } from '../suite.ts';
import { benchHost, benchRequests, type Subject } from './hop.ts';
import { probe } from './probe.ts';

/** Memory and start, of the client-side proxy in HTTP mode. */
export const footprintCase = 'footprint';

/** Kept client connections that have each made one request. */
const heldConnections = 1_000;

/** MB and ms. */
interface Footprint {
  readonly idle: number;
  readonly connected: number;
  /** From its start to the first answer. */
  readonly readyMs: number;
}

interface FootprintOptions extends SuiteOptions {
  readonly fail: (what: string, error: unknown) => void;
}

/** Opens each subject's hop anew in each round, looks at its client-side proxy, and holds a thousand connections to it. */
export async function measureFootprint(subjects: readonly Subject[], options: FootprintOptions): Promise<Sample[]> {
  const { tell, fail } = options;
  const rounds = Math.min(3, options.rounds);
  const values = new Map<string, Footprint[]>();
  const bare: number[] = [];
  for (let round = 0; round < rounds; round++) {
    bare.push(await bareNode());
    for (const subject of subjects) {
      try {
        const seen = await look(subject);
        values.set(subject.name, [...(values.get(subject.name) ?? []), seen]);
        const { idle, connected, readyMs } = seen;
        tell(
          `footprint: ${subject.name} ${idle.toFixed(0)} MB, ${connected.toFixed(0)} MB with ${heldConnections} connections, ready in ${readyMs.toFixed(0)} ms`,
        );
      } catch (error) {
        fail(`${footprintCase}, ${subject.name}`, error);
      }
    }
  }
  const samples = [...values].flatMap(([subject, seen]) => [
    sample(
      subject,
      'memory idle',
      'MB',
      seen.map((one) => one.idle),
    ),
    sample(
      subject,
      `memory with ${heldConnections} connections`,
      'MB',
      seen.map((one) => one.connected),
    ),
    sample(
      subject,
      'start to ready',
      'ms',
      seen.map((one) => one.readyMs),
    ),
  ]);
  const own = values.get(ownSubject);
  if (own !== undefined)
    samples.push(
      sample(
        `${ownSubject} above a bare node`,
        'memory idle',
        'MB',
        own.map((one, round) => one.idle - (bare[round] ?? 0)),
      ),
    );
  return samples;
}

const sample = (subject: string, metric: string, unit: string, values: readonly number[]): Sample => ({
  case: footprintCase,
  subject,
  metric,
  unit,
  better: 'lower',
  values,
});

async function look(subject: Subject): Promise<Footprint> {
  const hop = await subject.open('http');
  try {
    const client = await hop.restartClient();
    const startedMs = performance.now();
    await waitUntil('the first answer', [client], async () => (await probe('http', hop.port)) === 200);
    const readyMs = performance.now() - startedMs;
    const idle = residentMegabytes(client.pid);
    const sockets = await Promise.all(Array.from({ length: heldConnections }, () => heldConnection(hop.port)));
    const connected = residentMegabytes(client.pid);
    for (const socket of sockets) socket.destroy();
    return { idle, connected, readyMs };
  } finally {
    await hop.stop();
  }
}

/** A connection that has made one request and stays. */
function heldConnection(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('a connection that was to be kept was closed')));
    socket.once('data', () => resolve(socket));
    const { method, path } = benchRequests.http;
    socket.write(`${method} ${path} HTTP/1.1\r\nHost: ${benchHost}\r\n\r\n`);
  });
}

/** Resident memory of the same Node without a program. */
async function bareNode(): Promise<number> {
  const child = spawn(process.execPath, ['-e', "setInterval(() => {}, 1e6); process.stdout.write('ready')"]);
  await once(child.stdout, 'data');
  const megabytes = residentMegabytes(child.pid ?? 0);
  child.kill('SIGKILL');
  await once(child, 'exit');
  return megabytes;
}

/** Proportional set size would share out what libraries share; here each is alone with its pages: resident is the honest number. */
function residentMegabytes(pid: number): number {
  const kilobytes = processTree(pid).map((one) =>
    Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${one}/status`, 'utf8'))?.[1] ?? 0),
  );
  return kilobytes.reduce((sum, value) => sum + value, 0) / 1_024;
}
