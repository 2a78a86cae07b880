import { cpus } from 'node:os';
import { createAuthority } from '../certificates.ts';
import { findPrograms, type Programs } from '../install.ts';
import { freePorts } from '../loopback-ports.ts';
import { type ProcessGroup, waitForPort } from '../processes.ts';
import { ownSubject, type Sample } from '../report.ts';
import type { Suite, SuiteOptions, SuiteResult } from '../suite.ts';
import { footprintCase, measureFootprint } from './footprint.ts';
import { createPacedLoader, createStreamLoader } from './h2load.ts';
import type { ApplicationPorts, Hop, Mode, Subject } from './hop.ts';
import { cases, measureCase } from './measure.ts';
import { nghttpdApplication } from './nghttpd.ts';
import { nginxApplication } from './nginx.ts';
import { peerSubject } from './peer-subject.ts';
import { missingPeers, peerNames, peersOf } from './peers.ts';
import { selvedge } from './selvedge.ts';
import { createWrk } from './wrk.ts';

/** The mesh path against HAProxy, nginx and Envoy doing the same two mTLS hops, interleaved in one run. */
export const proxySuite: Suite = {
  caseNames: [...cases.map((one) => one.name), footprintCase],
  quickCases: ['http-keepalive-32'],
  subjectNames: [ownSubject, ...peerNames],
  run: runProxySuite,
};

async function runProxySuite(options: SuiteOptions): Promise<SuiteResult> {
  const { tell, processes } = options;
  const programs = findPrograms(options.checkout, tell);
  const applicationPorts = await startApplications(programs, processes);
  const subjects = subjectsOf(programs, options, applicationPorts);
  const chosen = cases.filter((one) => options.cases.length === 0 || options.cases.includes(one.name));
  describe(options, subjects);

  const failures: string[] = [];
  const fail = (what: string, error: unknown) => {
    const line = `${what}: ${error instanceof Error ? error.message : String(error)}`;
    tell(`FAILED ${line}`);
    failures.push(line);
  };
  const loaders = {
    wrk: createWrk(programs.wrk, processes),
    paced: createPacedLoader(programs.h2load, processes),
    streams: createStreamLoader(programs.h2load, processes),
  };
  const samples: Sample[] = [];
  for (const mode of new Set(chosen.map((one) => one.mode))) {
    const hops = await openHops(subjects, mode, tell, fail);
    for (const one of chosen.filter((candidate) => candidate.mode === mode)) {
      samples.push(
        ...(await measureCase(one, hops, { ...options, loaders, applicationPort: applicationPorts[mode], fail })),
      );
    }
    await Promise.all([...hops.values()].map((hop) => hop.stop()));
  }
  if (options.cases.length === 0 || options.cases.includes(footprintCase))
    samples.push(...(await measureFootprint(subjects, { ...options, fail })));
  return { samples, failures, missing: missingPeers(programs) };
}

/** One for HTTP/1.1 and bytes, one for HTTP/2, one for gRPC. */
async function startApplications(programs: Programs, processes: ProcessGroup): Promise<ApplicationPorts> {
  const [http, http2, grpc] = (await freePorts(3)) as [number, number, number];
  const launches = [
    [http, nginxApplication(programs.nginx, processes.directory, http)],
    [http2, nghttpdApplication(programs.nghttpd, processes.directory, 'http2', http2)],
    [grpc, nghttpdApplication(programs.nghttpd, processes.directory, 'grpc', grpc)],
  ] as const;
  await Promise.all(
    launches.map(([port, { file, args }]) => waitForPort(port, processes.start('application', file, args))),
  );
  return { http, http2, grpc, tcp: http };
}

function subjectsOf(programs: Programs, options: SuiteOptions, applicationPorts: ApplicationPorts): Subject[] {
  const authority = createAuthority(options.processes.directory);
  const world = { processes: options.processes, authority, applicationPorts, edge: false };
  const peers = peersOf(programs).map((peer) => peerSubject(peer, world));
  const all = [selvedge({ ...world, checkout: options.checkout }), ...peers];
  return all.filter((one) => options.subjects.length === 0 || options.subjects.includes(one.name));
}

function describe(options: SuiteOptions, subjects: readonly Subject[]): void {
  const { tell, rounds, seconds } = options;
  tell('wrk or h2load, 1 thread -> client-side proxy -> mTLS 1.3 -> server-side proxy -> nginx, or nghttpd');
  tell(
    `${cpus().length} cores; each proxy one process with one thread for traffic; ${rounds} rounds of ${seconds} s, order rotated`,
  );
  tell('cpu/request: both proxies of the hop; neither loader nor application, nor the control plane');
  for (const subject of subjects) tell(`  ${subject.name}: ${subject.note}`);
}

/** Opens and proves a hop of every subject; one that cannot be proven is not timed. */
async function openHops(
  subjects: readonly Subject[],
  mode: Mode,
  tell: SuiteOptions['tell'],
  fail: (what: string, error: unknown) => void,
): Promise<Map<string, Hop>> {
  const hops = new Map<string, Hop>();
  for (const subject of subjects) {
    try {
      const hop = await subject.open(mode);
      hops.set(subject.name, hop);
      tell(`proof, ${subject.name}, ${mode}: ${hop.proof.join('; ')}`);
    } catch (error) {
      fail(`${subject.name}, ${mode}`, error);
    }
  }
  return hops;
}
