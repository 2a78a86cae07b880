import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ProcessGroup } from '../processes.ts';
import { quantile } from '../report.ts';
import type { Load } from './wrk.ts';

/** How fast to ask. */
export interface PacedOptions {
  readonly port: number;
  readonly path: string;
  readonly host: string;
  readonly connections: number;
  /** Requests a second in all, at even intervals on each connection, whatever is answered meanwhile. */
  readonly rate: number;
  readonly seconds: number;
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
