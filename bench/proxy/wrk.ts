import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ProcessGroup } from '../processes.ts';

/** What one run of wrk saw. Latency is from the request written to the answer read. */
export interface Load {
  readonly requests: number;
  readonly durationSeconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Every connect, read and write error, timeout, and status above 399. */
  readonly errors: number;
  /** Bytes of all answers, heads too. */
  readonly bytes: number;
  /** CPU seconds of wrk's one thread: near the duration, the loader itself is what was measured. */
  readonly loaderCpuSeconds: number;
}

/** How hard to ask. */
export interface LoadOptions {
  readonly port: number;
  readonly connections: number;
  readonly seconds: number;
  /** Every request on a connection of its own: `Connection: close`, and wrk connects anew. */
  readonly newConnections: boolean;
  /** Begins with `/`. */
  readonly path: string;
  readonly host?: string;
}

/** Latencies come in microseconds; os.clock() is the CPU time of the process. */
const reportScript = `done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"durationSeconds":%f,"p50Ms":%f,"p99Ms":%f,"errors":%d,"bytes":%d,"loaderCpuSeconds":%f}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout, summary.bytes, os.clock()))
end
`;

/** A loader: wrk with one thread. */
export function createWrk(binary: string, processes: ProcessGroup): (options: LoadOptions) => Promise<Load> {
  const script = join(processes.directory, 'report.lua');
  writeFileSync(script, reportScript);
  return async (options) => {
    const run = processes.start('wrk', binary, [
      ...['-t', '1', '-c', String(options.connections), '-d', `${options.seconds}s`, '-s', script],
      ...(options.host === undefined ? [] : ['-H', `Host: ${options.host}`]),
      ...(options.newConnections ? ['-H', 'Connection: close'] : []),
      `http://127.0.0.1:${options.port}${options.path}`,
    ]);
    const output = await run.finished();
    const result = /^RESULT (.*)$/m.exec(output)?.[1];
    if (result === undefined) throw new Error(`wrk gave no result:\n${output}`);
    return JSON.parse(result) as Load;
  };
}
