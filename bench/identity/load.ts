import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { makeCsr } from '#runtime/svid/csr.ts';
import { makeKeyPair } from '#runtime/svid/node-key.ts';
import { cpuSeconds } from '../process-cpu.ts';
import { quantile } from '../report.ts';

/*
 * The loader, a process of its own: each caller asks, waits for the answer, and asks again, on kept TLS connections that are open before the time starts.
 * The same for our API and for OpenBao's. Requests are made beforehand, so that what it costs is TLS and HTTP.
 */

/** One connection that is kept. */
export interface Connection {
  /** PEM of what is shown in TLS; absent: nothing. */
  readonly cert?: string;
  readonly key?: string;
  /** The body without its `csr`. */
  readonly fields: Readonly<Record<string, unknown>>;
}

/** What to do, as a JSON file named by the first argument. */
export interface LoadPlan {
  readonly url: string;
  /** PEM of the roots of the server's certificate. Absent: not looked at, for it has no name but a SPIFFE ID; the suite has proven it. */
  readonly ca?: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Requests at once. Each caller goes round its share of the connections. */
  readonly callers: number;
  readonly connections: readonly Connection[];
  readonly seconds: number;
  /** Whose CPU time is read at the beginning and at the end. */
  readonly pids: Readonly<Record<string, number>>;
}

/** What came of it. */
export interface LoadResult {
  readonly leaves: number;
  readonly durationSeconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly errors: readonly string[];
  readonly loaderCpuSeconds: number;
  readonly cpuSeconds: Readonly<Record<string, number>>;
}

/** Requests are used again after so many: the servers remember none. */
const differentCsrs = 512;

const plan: LoadPlan = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8'));
const csrs = Array.from({ length: differentCsrs }, () => makeCsr(makeKeyPair()));
let nextCsr = 0;
const errors: string[] = [];
const shares = Array.from({ length: plan.callers }, (_, caller) =>
  plan.connections.filter((_, at) => at % plan.callers === caller).map(open),
);
// The first request of each connection shakes hands and counts nowhere.
await Promise.all(
  shares.map(async (share) => {
    for (const ask of share) await ask();
  }),
);

const latencies: number[] = [];
const pids = Object.entries(plan.pids);
const usedBefore = pids.map(([, pid]) => cpuSeconds([pid]));
const ownBefore = process.cpuUsage();
const begin = performance.now();
const deadline = begin + plan.seconds * 1_000;
await Promise.all(
  shares.map(async (share) => {
    for (let turn = 0; performance.now() < deadline; turn++) {
      const asked = performance.now();
      await share[turn % share.length]?.();
      latencies.push(performance.now() - asked);
    }
  }),
);
const durationSeconds = (performance.now() - begin) / 1_000;
const own = process.cpuUsage(ownBefore);
const result: LoadResult = {
  leaves: latencies.length,
  durationSeconds,
  p50Ms: quantile(latencies, 0.5),
  p99Ms: quantile(latencies, 0.99),
  errors: errors.slice(0, 5),
  loaderCpuSeconds: (own.user + own.system) / 1e6,
  cpuSeconds: Object.fromEntries(pids.map(([name, pid], at) => [name, cpuSeconds([pid]) - (usedBefore[at] ?? 0)])),
};
process.stdout.write(`RESULT ${JSON.stringify(result)}\n`);
process.exit(0);

/** @returns asks once on this connection, and settles when the whole answer is there */
function open(connection: Connection): () => Promise<void> {
  const { cert, key, fields } = connection;
  const agent = new Agent({
    keepAlive: true,
    maxSockets: 1,
    rejectUnauthorized: plan.ca !== undefined,
    ...(plan.ca === undefined ? {} : { ca: plan.ca }),
    ...(cert === undefined ? {} : { cert, key }),
  });
  // All that differs is the request inside: it stands in the middle, escaped as JSON escapes it.
  const rest = JSON.stringify(fields).slice(1);
  return () =>
    new Promise((resolve) => {
      const csr = csrs[nextCsr++ % differentCsrs] ?? '';
      const body = `{"csr":${JSON.stringify(csr)},${rest}`;
      const headers = {
        ...plan.headers,
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
      };
      const asked = request(plan.url, { method: 'POST', agent, headers }, (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString('latin1');
          if (answer.statusCode !== 200 || !text.includes('BEGIN CERTIFICATE')) {
            errors.push(`${answer.statusCode} ${text.slice(0, 300)}`);
          }
          resolve();
        });
      });
      asked.on('error', (error) => {
        errors.push(error.message);
        resolve();
      });
      asked.end(body);
    });
}
