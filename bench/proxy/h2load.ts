import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ProcessGroup } from '../processes.ts';
import { quantile } from '../report.ts';
import { grpcMessage } from './hop.ts';
import type { Load } from './wrk.ts';

/** What is asked, for how long, and over how many connections. */
interface AskOptions {
  readonly port: number;
  readonly path: string;
  readonly host: string;
  readonly connections: number;
  readonly seconds: number;
}

/** How fast to ask. */
export interface PacedOptions extends AskOptions {
  /** Requests a second in all, at even intervals on each connection, whatever is answered meanwhile. */
  readonly rate: number;
}

/** How many requests to have in flight. */
export interface StreamOptions extends AskOptions {
  /** On each connection. */
  readonly streams: number;
  /** Each is a unary call with one message; else a GET. */
  readonly grpc: boolean;
}

/** A loader that asks HTTP/1.1 at a fixed rate: h2load with one thread. wrk asks as fast as it is answered, which hides what a slow answer makes others wait. */
export function createPacedLoader(binary: string, processes: ProcessGroup): (options: PacedOptions) => Promise<Load> {
  let runs = 0;
  return async ({ port, path, host, connections, rate, seconds }) => {
    const log = join(processes.directory, `h2load-${++runs}.tsv`);
    const run = processes.start('h2load', binary, [
      ...['--h1', '-t', '1', '-c', String(connections), '-D', String(seconds), '--rps', String(rate / connections)],
      ...[`--log-file=${log}`, `http://127.0.0.1:${port}${path}`, '-H', `:authority: ${host}`],
    ]);
    await run.finished();
    return loadOfLog(readFileSync(log, 'utf8'), seconds);
  };
}

/** Runs its arguments, and ends them when it is ended. */
const timed = 'trap "kill \\$!" TERM; "$@" & wait $! && times';

/**
 * A loader that asks HTTP/2 by prior knowledge, as fast as it is answered: h2load with one thread. It does not look at trailers, so that a gRPC call which fails is
 * seen by what it lacks: its message.
 */
export function createStreamLoader(binary: string, processes: ProcessGroup): (options: StreamOptions) => Promise<Load> {
  const message = join(processes.directory, 'message.grpc');
  writeFileSync(message, grpcMessage);
  let runs = 0;
  return async ({ port, path, host, connections, streams, grpc, seconds }) => {
    const log = join(processes.directory, `h2load-streams-${++runs}.tsv`);
    const call = grpc ? ['-d', message, '-H', 'content-type: application/grpc', '-H', 'te: trailers'] : [];
    const args = [
      ...['-t', '1', '-c', String(connections), '-m', String(streams), '-D', String(seconds), ...call],
      ...[`--log-file=${log}`, `http://127.0.0.1:${port}${path}`, '-H', `:authority: ${host}`],
    ];
    // The shell says how much CPU time its child took.
    const run = processes.start('h2load', 'sh', ['-c', timed, 'sh', binary, ...args]);
    const output = await run.finished();
    const load = loadOfLog(readFileSync(log, 'utf8'), seconds);
    const seen = summaryOf(output);
    const short = Math.max(0, load.requests - seen.bodyBytes / grpcMessage.length);
    return {
      ...load,
      errors: Math.max(load.errors, seen.failed) + Math.ceil(short),
      bytes: seen.bodyBytes,
      loaderCpuSeconds: seen.cpuSeconds,
    };
  };
}

/** Reads h2load's log: a line a request: when it began, status (-1: none), microseconds to the end of its answer, separated by tabs. */
export function loadOfLog(log: string, seconds: number): Load {
  const rows = log
    .trimEnd()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t').map(Number) as [number, number, number]);
  const milliseconds = rows.map(([, , microseconds]) => microseconds / 1e3);
  if (rows.length === 0) throw new Error('h2load had no answer at all');
  return {
    requests: rows.length,
    durationSeconds: seconds,
    p50Ms: quantile(milliseconds, 0.5),
    p99Ms: quantile(milliseconds, 0.99),
    errors: rows.filter(([, status]) => status < 200 || status > 399).length,
    bytes: 0,
    loaderCpuSeconds: 0,
  };
}

/** Reads h2load's summary, and behind it what the shell's `times` says: user and system time, its own and its children's. */
export function summaryOf(output: string): { failed: number; bodyBytes: number; cpuSeconds: number } {
  const failed = /, (\d+) failed, \d+ errored, \d+ timeout$/m.exec(output)?.[1];
  const bodyBytes = /, \S+ \((\d+)\) data$/m.exec(output)?.[1];
  const times = /^(\d+)m([\d.]+)s (\d+)m([\d.]+)s$/.exec(output.trimEnd().split('\n').at(-1) ?? '');
  if (failed === undefined || bodyBytes === undefined || times === null)
    throw new Error(`h2load gave no result:\n${output}`);
  const [userMinutes = 0, user = 0, systemMinutes = 0, system = 0] = times.slice(1).map(Number);
  return {
    failed: Number(failed),
    bodyBytes: Number(bodyBytes),
    cpuSeconds: (userMinutes + systemMinutes) * 60 + user + system,
  };
}
