import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts } from '../loopback-ports.ts';
import { type BenchProcess, type ProcessGroup, waitForPort, waitUntil } from '../processes.ts';
import { ownSubject } from '../report.ts';
import type { ApplicationPorts, Hop, Mode, Subject } from './hop.ts';
import { benchRequests } from './hop.ts';
import { probe } from './probe.ts';
import { expectAnswered, expectMutualTls, expectRefused } from './proof.ts';

/** Where edge proxies of the benchmark run. */
export interface World {
  readonly checkout: string;
  readonly processes: ProcessGroup;
  readonly applicationPorts: ApplicationPorts;
}

/** The control plane of one hop: `selvedge dev`. Its CPU does not count, as it is not on the path of a request. */
export interface ControlPlane {
  readonly catalogUrl: string;
  readonly identityUrl: string;
  readonly process: BenchProcess;
}

/** One edge proxy: where its application reaches `db`, and where others reach it. */
export interface EdgeProxy {
  readonly upstreamPort: number;
  readonly listenPort: number;
  /** Its `--data-dir`. */
  readonly dataDir: string;
  readonly process: BenchProcess;
  /** Once more with the same arguments: it comes back from its data directory. */
  startAgain(): BenchProcess;
}

/** Ourselves: two edge proxies as processes of their own, with the defaults of the product. */
export function selvedge(world: World): Subject {
  return {
    name: ownSubject,
    note:
      'default resilience policy (breaker, retries, timeouts), metrics on, errors logged; SPIFFE IDs verified at both ends, no TLS ' +
      'resumption; intention web -> db: L4 in TCP mode, else L7 (method, path prefix)',
    async open(mode) {
      const control = await startControlPlane(world);
      await declare(control, mode);
      const db = await startEdgeProxy('db', mode, control, world);
      const web = await startEdgeProxy('web', mode, control, world);
      let webProcess = web.process;
      const hop: Hop = {
        mode,
        port: web.upstreamPort,
        innerPort: db.listenPort,
        processes: [web.process, db.process],
        async restartClient() {
          await webProcess.stop();
          webProcess = web.startAgain();
          return webProcess;
        },
        async stop() {
          await Promise.all([webProcess.stop(), db.process.stop()]);
          await control.process.stop();
        },
      };
      await waitUntil(
        'a request through both edge proxies',
        hop.processes,
        async () => (await probe(mode, hop.port)) === 200,
      );
      const proof = [
        await expectAnswered(hop),
        ...(await expectMutualTls(hop)),
        await refuseImpostor(mode, control, world),
      ];
      return { ...hop, proof };
    },
  };
}

/** Starts one. @returns when it listens */
export async function startControlPlane(world: World): Promise<ControlPlane> {
  const [catalogPort, identityPort] = (await freePorts(2)) as [number, number];
  const process = start(world, 'selvedge-dev', [
    'dev',
    ...['--http-addr', `127.0.0.1:${catalogPort}`, '--identity-addr', `127.0.0.1:${identityPort}`],
    ...['--dns-addr', '127.0.0.1:0', '--default-intention-policy', 'deny', '--node-name', 'bench'],
  ]);
  await Promise.all([waitForPort(catalogPort, process), waitForPort(identityPort, process)]);
  return { catalogUrl: `http://127.0.0.1:${catalogPort}`, identityUrl: `http://127.0.0.1:${identityPort}`, process };
}

/** Starts that of `db`, which has the application, or one that has `db` as its upstream. @returns when it listens */
export async function startEdgeProxy(
  service: string,
  mode: Mode,
  control: ControlPlane,
  world: World,
): Promise<EdgeProxy> {
  const [upstreamPort, listenPort] = (await freePorts(2)) as [number, number];
  const dataDir = mkdtempSync(join(world.processes.directory, `selvedge-${service}-`));
  const startIt = () =>
    start(world, `selvedge-${mode}-${service}`, [
      ...['serve', 'edge-proxy', '--service', service, '--node-name', `bench-${service}`, '--data-dir', dataDir],
      ...['--listen', `127.0.0.1:${listenPort}`, '--admin-addr', '127.0.0.1:0'],
      ...['--catalog', control.catalogUrl, '--identity', control.identityUrl],
      ...(service === 'db'
        ? ['--local', `127.0.0.1:${world.applicationPorts[mode]}`]
        : ['--upstream', `db=127.0.0.1:${upstreamPort}`]),
    ]);
  const process = startIt();
  await waitForPort(service === 'db' ? listenPort : upstreamPort, process);
  return { upstreamPort, listenPort, dataDir, process, startAgain: startIt };
}

/** Says what `db` speaks and lets web in, by Consul's API. */
export async function declare(control: ControlPlane, mode: Mode): Promise<void> {
  await send(control, 'PUT', '/v1/config', { Kind: 'service-defaults', Name: 'db', Protocol: mode });
  await allow(control, mode, 'web');
}

/** An intention for what the benchmark asks. */
export async function allow(control: ControlPlane, mode: Mode, source: string): Promise<void> {
  const { method, path } = benchRequests[mode];
  const http = { PathPrefix: path, Methods: [method] };
  const rule = mode === 'tcp' ? { Action: 'allow' } : { Permissions: [{ Action: 'allow', HTTP: http }] };
  await send(control, 'PUT', intentionOf(source), rule);
}

/**
 * A third edge proxy, of a service that web's intention does not cover. With an intention of its own it passes; without,
 * it does not: so it is refused for its identity and nothing else.
 */
async function refuseImpostor(mode: Mode, control: ControlPlane, world: World): Promise<string> {
  const mallory = await startEdgeProxy('mallory', mode, control, world);
  try {
    const port = mallory.upstreamPort;
    await allow(control, mode, 'mallory');
    await waitUntil('mallory let in by an intention', [mallory.process], async () => (await probe(mode, port)) === 200);
    await send(control, 'DELETE', intentionOf('mallory'));
    await waitUntil('mallory kept out again', [mallory.process], async () => (await probe(mode, port)) !== 200);
    return await expectRefused('edge proxy with the identity mallory', { mode, port });
  } finally {
    await mallory.process.stop();
  }
}

const intentionOf = (source: string): string => `/v1/connect/intentions/exact?source=${source}&destination=db`;

async function send(control: ControlPlane, method: 'PUT' | 'DELETE', path: string, body?: object): Promise<void> {
  const content = body === undefined ? {} : { body: JSON.stringify(body) };
  const response = await fetch(`${control.catalogUrl}${path}`, { method, ...content });
  if (!response.ok) throw new Error(`${method} ${path} was answered ${response.status}: ${await response.text()}`);
}

function start(world: World, name: string, args: readonly string[]): BenchProcess {
  return world.processes.start(name, join(world.checkout, 'bin', 'selvedge'), args);
}
