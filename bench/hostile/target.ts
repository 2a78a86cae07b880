import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Authority, createAuthority } from '../certificates.ts';
import type { Programs } from '../install.ts';
import { type BenchProcess, waitUntil } from '../processes.ts';
import type { Peer } from '../proxy/hop.ts';
import { peerSubject } from '../proxy/peer-subject.ts';
import { peersOf } from '../proxy/peers.ts';
import { probe } from '../proxy/probe.ts';
import { allow, declare, startControlPlane, startEdgeProxy } from '../proxy/selvedge.ts';
import { ownSubject } from '../report.ts';
import type { SuiteOptions } from '../suite.ts';
import type { Flood } from './floods.ts';

/** A pair of proxies, one of which is flooded. */
export interface Target {
  readonly name: string;
  /** Where the good client asks: the client-side proxy, without TLS. */
  readonly port: number;
  /** The server-side proxy: mTLS. */
  readonly innerPort: number;
  /** Client-side, server-side. */
  readonly processes: readonly [BenchProcess, BenchProcess];
  readonly application: BenchProcess;
  /** File with the SVID of a caller who is allowed. */
  readonly svidFile: string;
}

/** Behind all pairs. */
export interface Application {
  readonly port: number;
  readonly process: BenchProcess;
}

/** The end of a pair that a flood attacks. */
export function attackedBy({ at }: Flood, { port, innerPort, processes }: Target): { port: number; pid: number } {
  return at === 'inbound' ? { port: innerPort, pid: processes[1].pid } : { port, pid: processes[0].pid };
}

/** Starts those that are asked for, one after the other; each is proven, or has answered through both proxies. */
export async function startTargets(
  options: SuiteOptions,
  programs: Programs,
  application: Application,
): Promise<Target[]> {
  const asked = (name: string): boolean => options.subjects.length === 0 || options.subjects.includes(name);
  const targets = asked(ownSubject) ? [await startOwn(options, application)] : [];
  const authority = createAuthority(options.processes.directory);
  for (const peer of peersOf(programs).filter(({ name }) => asked(name))) {
    targets.push(await startPeer(peer, authority, options, application));
  }
  return targets;
}

const everywhere = ({ port }: Application) => ({ http: port, http2: port, grpc: port, tcp: port });

/** The hostile peer is another caller than the good one. */
async function startOwn({ checkout, processes, tell }: SuiteOptions, application: Application): Promise<Target> {
  const world = { checkout, processes, applicationPorts: everywhere(application) };
  const control = await startControlPlane(world);
  await declare(control, 'http');
  const db = await startEdgeProxy('db', 'http', control, world);
  const web = await startEdgeProxy('web', 'http', control, world);
  const mallory = await startEdgeProxy('mallory', 'http', control, world);
  await allow(control, 'http', 'mallory');
  for (const { upstreamPort, process } of [web, mallory]) {
    await waitUntil(
      'a request through both proxies',
      [process],
      async () => (await probe('http', upstreamPort)) === 200,
    );
  }
  await mallory.process.stop();
  tell(`  ${ownSubject}: the defaults of the product`);
  return {
    name: ownSubject,
    port: web.upstreamPort,
    innerPort: db.listenPort,
    processes: [web.process, db.process],
    application: application.process,
    svidFile: join(mallory.dataDir, 'svid-mallory.json'),
  };
}

/** The hostile peer has the certificate of the good client's proxy: peers let in one caller, and make no difference between callers whom they let in. */
async function startPeer(
  peer: Peer,
  authority: Authority,
  { processes, tell }: SuiteOptions,
  application: Application,
): Promise<Target> {
  const world = { processes, authority, applicationPorts: everywhere(application), edge: true };
  const hop = await peerSubject(peer, world).open('http');
  tell(`  ${peer.name}: as its documentation says for the edge; ${peer.note}`);
  tell(`  proof, ${peer.name}: ${hop.proof.join('; ')}`);
  const { certificateFile, keyFile } = authority.leaf('web');
  const svidFile = join(processes.directory, `svid-${peer.name}.json`);
  const [chainPem, keyPem] = [certificateFile, keyFile].map((file) => readFileSync(file, 'utf8'));
  writeFileSync(svidFile, JSON.stringify({ chainPem, keyPem }));
  return { ...hop, name: peer.name, application: application.process, svidFile };
}
