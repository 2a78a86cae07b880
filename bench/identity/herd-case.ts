import { writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { cpuSeconds } from '../process-cpu.ts';
import { ownSubject, quantile, type Sample } from '../report.ts';
import type { ServiceOrder } from './service.ts';
import { logLines, prepareHerd, startService, type World } from './subjects.ts';
import type { BenchVault } from './vault.ts';

/** Proxies that all start at one moment, as after a power cut. */
export interface HerdCase {
  readonly name: string;
  readonly proxies: number;
  readonly backend: 'embedded' | 'vault-leaf';
}

/** All of them. */
export const herdCases: readonly HerdCase[] = [100, 2_000].flatMap((proxies) =>
  (['embedded', 'vault-leaf'] as const).map((backend) => ({ name: `herd-${proxies}-${backend}`, proxies, backend })),
);

/** Every proxy must have its SVID by then. */
const servedWithinMs = 60_000;
/** And then it is over, to say how many did not. */
const deadlineMs = 120_000;
/** Processes that the proxies live in. */
const processes = 2;

/** What came of a herd. */
export interface HerdOutcome {
  readonly servedAfterMs: readonly number[];
  /** Requests that were answered 429. */
  readonly limited: number;
  /** Times that a client said that it would try again. */
  readonly retries: number;
  /** Service and, with `vault-leaf`, bao. */
  readonly cpuSeconds: number;
  readonly herdCpuSeconds: number;
  /** Proxies that were not served, and errors in the log of the service or of bao. */
  readonly flaws: readonly string[];
}

/** Starts a service, then the proxies, and looks at the logs of all. */
export async function runHerdCase(
  world: World,
  options: {
    readonly proxies: number;
    readonly rates: ServiceOrder['rates'];
    /** Absent: embedded. */
    readonly vault?: BenchVault;
  },
): Promise<HerdOutcome> {
  const { proxies, rates, vault } = options;
  const backend = vault === undefined ? ({ kind: 'embedded' } as const) : vault.backend('vault-leaf');
  const service = await startService(world, { backend, rates, nodes: 0, joinTokens: proxies });
  const pids = [service.process.pid, ...(vault === undefined ? [] : [vault.pid])];
  const [usedBefore, vaultSaidBefore] = [cpuSeconds(pids), vault?.log().length ?? 0];
  const members = service.joinTokens.map((joinToken, at) => ({ service: `svc-${at}`, joinToken }));
  const startFile = join(world.processes.directory, `start-${service.process.pid}`);
  const waiting = await Promise.all(
    Array.from({ length: processes }, (_, part) =>
      prepareHerd(world, {
        identityUrl: service.url,
        caFile: service.caFile,
        proxies: members.filter((_, at) => at % processes === part),
        directory: world.processes.directory,
        startFile,
        deadlineMs,
      }),
    ),
  );
  writeFileSync(startFile, '');
  const parts = await Promise.all(waiting.map((part) => part.finished()));
  const used = cpuSeconds(pids) - usedBefore;
  const limited = await refused(service.url, 'SLV-2160');
  await service.process.stop();
  const servedAfterMs = parts.flatMap(({ result }) => result.servedAfterMs);
  const failures = parts.flatMap(({ result }) => result.failures);
  const ours = logLines(await readFile(service.process.outputFile, 'utf8')).filter(({ level }) => level >= 50);
  const theirs =
    vault
      ?.log()
      .slice(vaultSaidBefore)
      .split('\n')
      .filter((line) => /\[ERROR\]/.test(line)) ?? [];
  return {
    servedAfterMs,
    limited,
    retries: parts.flatMap(({ log }) => log.filter(({ msg }) => msg.endsWith('still trying'))).length,
    cpuSeconds: used,
    herdCpuSeconds: parts.reduce((sum, { result }) => sum + result.cpuSeconds, 0),
    flaws: [
      ...(servedAfterMs.length < proxies
        ? [`${proxies - servedAfterMs.length} of ${proxies} proxies were not served: ${failures[0]}`]
        : []),
      ...ours.map(({ msg }) => `error in the log of the service: ${msg}`),
      ...theirs.map((line) => `error in the log of bao: ${line}`),
    ],
  };
}

/** One herd, with the rate limits of the product. @throws Error when one was not served in time, or anybody logged an error */
export async function measureHerd(one: HerdCase, world: World, vault: BenchVault | undefined): Promise<Sample[]> {
  const outcome = await runHerdCase(world, {
    proxies: one.proxies,
    rates: 'one-host',
    ...(vault === undefined ? {} : { vault }),
  });
  const { servedAfterMs, limited, retries, cpuSeconds: used, herdCpuSeconds, flaws } = outcome;
  if (flaws.length > 0) throw new Error(flaws.slice(0, 5).join('; '));
  const lastMs = quantile(servedAfterMs, 1);
  if (lastMs > servedWithinMs) throw new Error(`the last proxy was served after ${lastMs} ms`);
  const row = (metric: string, unit: string, value: number): Sample => ({
    case: one.name,
    subject: ownSubject,
    metric,
    unit,
    better: 'lower',
    values: [value],
  });
  return [
    row('last served', 's', lastMs / 1_000),
    row('p50 served', 's', quantile(servedAfterMs, 0.5) / 1_000),
    row('answers 429', 'answers', limited),
    row('retries', 'retries', retries),
    row('cpu/proxy', 'µs', (used / one.proxies) * 1e6),
    row('herd cpu/proxy', 'µs', (herdCpuSeconds / one.proxies) * 1e6),
  ];
}

/** How often the service has refused with this code, by its own count. */
async function refused(url: string, code: string): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  // Its certificate has no name but a SPIFFE ID, which the proxies have looked at.
  request(`${url}/metrics`, { rejectUnauthorized: false }, (answer) => {
    let text = '';
    answer.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    answer.on('end', () => resolve(text));
  })
    .on('error', reject)
    .end();
  const line = new RegExp(`^selvedge_identity_refused_total\\{code="${code}"\\} (\\d+)$`, 'm').exec(await promise);
  return Number(line?.[1] ?? 0);
}
