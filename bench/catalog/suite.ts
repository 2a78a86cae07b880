import { mkdirSync, readFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { recordTypes } from '#runtime/dns/protocol.ts';
import { queryBytes } from '#runtime/dns/testing/query-bytes.ts';
import { type EtcdCluster, startEtcd } from '#test/etcd.ts';
import { findProgram } from '../install.ts';
import { freePorts } from '../loopback-ports.ts';
import { cpuSeconds } from '../process-cpu.ts';
import { type BenchProcess, waitUntil } from '../processes.ts';
import { createWrk } from '../proxy/wrk.ts';
import { ownSubject, quantile, type Sample } from '../report.ts';
import type { Suite, SuiteOptions, SuiteResult } from '../suite.ts';
import { fillCatalog, instancesEach, services } from './contents.ts';
import { loadDns } from './dns-loader.ts';
import { measureFeeds } from './feeds.ts';
import type { CatalogOrder } from './service.ts';
import { measureWatchers } from './watchers.ts';
import { catalogWrite, rawEtcd, writesPerSecond } from './writers.ts';

const watchers = 5_000;
const proxies = 2_000;
const caseNames = [
  'start',
  'read',
  'watch-5000',
  'feed-2000',
  'dns-a',
  'dns-srv',
  'write-64-sqlite',
  'write-64-etcd',
] as const;
type CaseName = (typeof caseNames)[number];

/** The catalog at 10,000 instances of 500 services: reads, waiting readers, the feed, DNS, durable writes on both engines. */
export const catalogSuite: Suite = {
  caseNames,
  quickCases: ['start', 'read', 'dns-a', 'write-64-sqlite', 'write-64-etcd'],
  subjectNames: [ownSubject, 'etcd'],
  run: runCatalogSuite,
};

interface Catalog {
  readonly url: string;
  readonly port: number;
  readonly dnsPort: number;
  readonly process: BenchProcess;
  readonly order: CatalogOrder;
}

async function runCatalogSuite(options: SuiteOptions): Promise<SuiteResult> {
  const { tell, rounds, seconds } = options;
  const asked = (name: CaseName): boolean => options.cases.length === 0 || options.cases.includes(name);
  const wrk = findProgram('wrk', 'wrk', tell);
  const missing = wrk === undefined ? ['wrk'] : [];
  const load = loadavg()
    .map((one) => one.toFixed(2))
    .join(' ');
  tell(`${cpus().length} cores, shared by the loaders and all that is measured; load average before: ${load}`);
  tell(`plain HTTP on loopback; ${services * instancesEach} instances of ${services} services; audit log on, synced`);
  const samples: Sample[] = [];
  const failures: string[] = [];
  const run = async (name: CaseName, measure: () => Promise<readonly Omit<Sample, 'case'>[]>): Promise<void> => {
    if (!asked(name)) return;
    tell(name);
    try {
      samples.push(...(await measure()).map((sample) => ({ case: name, ...sample })));
    } catch (error) {
      failures.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  };

  let catalog = await start(options, await placeOf(options, 'sqlite'));
  const writing = catalogWrite(catalog.url);
  await run('write-64-sqlite', async () => {
    const values: number[] = [];
    for (let round = 0; round < rounds; round++) values.push(await writesPerSecond(writing, seconds));
    return [sample('writes/s', 'writes/s', 'higher', values)];
  });
  tell('registering');
  await fillCatalog(catalog.url);
  await run('start', async () => {
    const values: number[] = [];
    for (let round = 0; round < Math.min(rounds, 3); round++) {
      await catalog.process.stop();
      const begun = performance.now();
      catalog = await start(options, catalog.order);
      values.push((performance.now() - begun) / 1_000);
    }
    return [
      sample('ready', 's', 'lower', values),
      sample('resident', 'MiB', 'lower', [residentMiB(catalog.process.pid)]),
    ];
  });
  await run('read', async () => {
    if (wrk === undefined) throw new Error('there is no wrk');
    const loader = createWrk(wrk, options.processes);
    const [perSecond, perCpuSecond, p99]: number[][] = [[], [], []];
    for (let round = 0; round < rounds; round++) {
      const before = cpuSeconds([catalog.process.pid]);
      const path = `/v1/health/service/service-${round}?passing`;
      const got = await loader({ port: catalog.port, connections: 32, seconds, newConnections: false, path });
      if (got.errors > 0) throw new Error(`${got.errors} requests failed`);
      perSecond?.push(got.requests / got.durationSeconds);
      perCpuSecond?.push(got.requests / (cpuSeconds([catalog.process.pid]) - before));
      p99?.push(got.p99Ms);
    }
    return [
      sample('requests/s', 'requests/s', 'higher', perSecond ?? []),
      sample('requests/cpu-s', 'requests/s', 'higher', perCpuSecond ?? []),
      sample('p99', 'ms', 'lower', p99 ?? []),
    ];
  });
  await run('watch-5000', async () => {
    const results = await measureWatchers(catalog.url, { watchers, rounds });
    return [
      sample(
        'last answered',
        'ms',
        'lower',
        results.map(({ lastMs }) => lastMs),
      ),
      sample(
        'woken for nothing',
        'watchers',
        'lower',
        results.map(({ wokenForNothing }) => wokenForNothing),
      ),
    ];
  });
  await run('feed-2000', async () => {
    const results = await measureFeeds(catalog.url, { proxies, rounds: rounds * 10 });
    return [
      sample('last heard', 'ms', 'lower', results),
      sample('last heard, p99', 'ms', 'lower', [quantile(results, 0.99)]),
      sample('resident', 'MiB', 'lower', [residentMiB(catalog.process.pid)]),
    ];
  });
  for (const [name, type] of [
    ['dns-a', 'A'],
    ['dns-srv', 'SRV'],
  ] as const)
    await run(name, async () => {
      const queries = Array.from({ length: services }, (_, service) =>
        queryBytes({ name: [`service-${service}`, 'service', 'consul'], type: recordTypes[type], payloadBytes: 4_096 }),
      );
      const results = [];
      for (let round = 0; round < rounds; round++)
        results.push(await loadDns({ port: catalog.dnsPort, queries, sockets: 8, window: 8, seconds }));
      const wrong = results.reduce((sum, { wrong, lost }) => sum + wrong + lost, 0);
      if (wrong > 0) throw new Error(`${wrong} queries had no answer or a wrong one`);
      return [
        sample(
          'answers/s',
          'answers/s',
          'higher',
          results.map(({ answersPerSecond }) => answersPerSecond),
        ),
        sample(
          'p99',
          'ms',
          'lower',
          results.map(({ p99Ms }) => p99Ms),
        ),
      ];
    });
  await catalog.process.stop();

  if (asked('write-64-etcd')) {
    if (findProgram('etcd', 'etcd-server', tell) === undefined) missing.push('etcd');
    else {
      await using cluster = await startEtcd();
      await run('write-64-etcd', () => measureEtcd(cluster, options));
    }
  }
  return { samples, failures, missing };
}

/** The catalog over three members beside puts to the same three, in turn. */
async function measureEtcd(cluster: EtcdCluster, options: SuiteOptions): Promise<Omit<Sample, 'case'>[]> {
  const place = await placeOf(options, 'etcd');
  const catalog = await start(options, { ...place, etcd: cluster.addresses });
  const raw = await rawEtcd(cluster.addresses);
  const [own, peer]: [number[], number[]] = [[], []];
  const write = catalogWrite(catalog.url);
  for (let round = 0; round < options.rounds; round++) {
    own.push(await writesPerSecond(write, options.seconds));
    peer.push(await writesPerSecond(raw.write, options.seconds));
  }
  await catalog.process.stop();
  await raw.store.close();
  return [
    sample('writes/s', 'writes/s', 'higher', own),
    { ...sample('writes/s', 'writes/s', 'higher', peer), subject: 'etcd' },
  ];
}

async function placeOf({ processes }: SuiteOptions, name: string): Promise<CatalogOrder> {
  const dataDir = join(processes.directory, `catalog-${name}`);
  mkdirSync(dataDir, { mode: 0o700 });
  const [port = 0, dnsPort = 0] = await freePorts(2);
  return { port, dnsPort, dataDir };
}

async function start({ checkout, processes }: SuiteOptions, order: CatalogOrder): Promise<Catalog> {
  const file = join(checkout, 'bench', 'catalog', 'service.ts');
  const args = [...catalogFlags(checkout), file, JSON.stringify(order)];
  const process = processes.start('catalog', join(checkout, 'bin', 'node'), args);
  await waitUntil('the catalog to be ready', [process], () =>
    /^ready$/m.test(readFileSync(process.outputFile, 'utf8')),
  );
  return { url: `http://127.0.0.1:${order.port}`, port: order.port, dnsPort: order.dnsPort, process, order };
}

/** What Node is told for a catalog, by the command itself. */
function catalogFlags(checkout: string): string[] {
  const [, flags] =
    /'serve catalog'\) memory='([^']+)'/.exec(readFileSync(join(checkout, 'bin', 'selvedge'), 'utf8')) ?? [];
  if (flags === undefined) throw new Error('bin/selvedge does not say what Node is told for a catalog');
  return flags.split(' ');
}

function residentMiB(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line?.[1]) / 1_024;
}

function sample(
  metric: string,
  unit: string,
  better: Sample['better'],
  values: readonly number[],
): Omit<Sample, 'case'> {
  return { subject: ownSubject, metric, unit, better, values };
}
