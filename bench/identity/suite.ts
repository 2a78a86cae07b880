import { mkdtempSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { findBao } from '#test/bao.ts';
import { ownSubject, type Sample } from '../report.ts';
import type { Suite, SuiteOptions, SuiteResult } from '../suite.ts';
import { herdCases, measureHerd } from './herd-case.ts';
import { startService } from './subjects.ts';
import { anchors, measureThroughput, nodesOf, type ThroughputCase, throughputCases } from './throughput.ts';
import { type BenchVault, openBenchVault, vaultNote } from './vault.ts';

/** Issuing SVIDs, against OpenBao's own sign endpoint, interleaved in one run; and thousands of proxies that start at once. */
export const identitySuite: Suite = {
  caseNames: [...throughputCases, ...herdCases].map(({ name }) => name),
  quickCases: ['embedded-32', 'vault-leaf-32', 'core', 'herd-100-embedded', 'herd-100-vault-leaf'],
  subjectNames: [ownSubject, ...Object.keys(anchors)],
  run: runIdentitySuite,
};

const trustDomain = 'bench.selvedge';

async function runIdentitySuite(options: SuiteOptions): Promise<SuiteResult> {
  const { tell, processes } = options;
  const found = await findBao();
  if (found.path === undefined) return { samples: [], failures: [], missing: [`openbao (${found.reason})`] };
  const chosen = <T extends { readonly name: string }>(all: readonly T[]): T[] =>
    all.filter(({ name }) =>
      options.cases.length === 0 ? !name.startsWith('herd-100-') : options.cases.includes(name),
    );
  const failures: string[] = [];
  const fail = (what: string, error: unknown) => {
    const line = `${what}: ${error instanceof Error ? error.message : String(error)}`;
    tell(`FAILED ${line}`);
    failures.push(line);
  };
  const directory = mkdtempSync(join(processes.directory, 'vault-'));
  await using vault = await openBenchVault(directory, trustDomain);
  describe(options);
  const samples: Sample[] = [];
  const asked = chosen(throughputCases);
  if (asked.length > 0) {
    const services = await startServices(asked, options, vault);
    samples.push(...(await measureThroughput(asked, { ...options, services, vault, fail })));
    await Promise.all([...services.values()].map(({ process }) => process.stop()));
  }
  for (const one of chosen(herdCases)) {
    try {
      tell(`${one.name}: ${one.proxies} proxies`);
      samples.push(...(await measureHerd(one, options, one.backend === 'vault-leaf' ? vault : undefined)));
    } catch (error) {
      fail(one.name, error);
    }
  }
  return { samples, failures, missing: [] };
}

/** The services that these cases need, each with nodes enough for every round. */
async function startServices(asked: readonly ThroughputCase[], options: SuiteOptions, vault: BenchVault) {
  const kinds = new Set(asked.flatMap(({ what }) => (what === 'core' ? [] : [what])));
  const services = new Map<string, Awaited<ReturnType<typeof startService>>>();
  for (const kind of kinds) {
    const measurements = asked.filter(({ what }) => what === kind).length * (options.rounds + 1);
    const backend = kind === 'embedded' ? { kind } : vault.backend(kind);
    const nodes = measurements * nodesOf(options.seconds);
    services.set(kind, await startService(options, { backend, rates: 'lifted', nodes, joinTokens: 0 }));
  }
  return services;
}

function describe({ tell, rounds, seconds }: SuiteOptions): void {
  const load = loadavg()
    .map((one) => one.toFixed(2))
    .join(' ');
  tell(`${cpus().length} cores, shared by the loader and all that is measured; load average before: ${load}`);
  tell(`${rounds} rounds of ${seconds} s, everything in turn in each; ${vaultNote}`);
  tell(
    'selvedge: POST /v1/identity/svids over kept mTLS connections, the SVID in hand renewed; store and audit log on disk',
  );
  tell('openbao: POST .../sign/<role> over kept TLS connections, no_store=true; openbao-stored: no_store=false');
  tell('cpu/leaf: service and bao, as far as they take part; neither loader nor clients');
}
