import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Authority } from '../certificates.ts';
import { freePorts } from '../loopback-ports.ts';
import { type ProcessGroup, waitForPort } from '../processes.ts';
import type { ApplicationPorts, Hop, Mode, Peer, Subject } from './hop.ts';
import { expectAnswered, expectMutualTls, expectRefused } from './proof.ts';

/** Who takes which part in a hop of a peer; names of services. */
interface Cast {
  /** Identity of the client-side proxy. */
  readonly client: string;
  /** Identity that the client-side proxy demands of the server. */
  readonly expects: string;
  /** Identity of the server-side proxy. */
  readonly server: string;
  /** The only identity that the server-side proxy lets in. */
  readonly allows: string;
}

/** The hop that is measured. */
const cast: Cast = { client: 'web', expects: 'db', server: 'db', allows: 'web' };

/** What must be refused, each with the control that shows that nothing else was the reason. */
const impostors: readonly { readonly what: string; readonly refused: Cast; readonly control: Cast }[] = [
  {
    what: 'client-side proxy with the identity mallory',
    refused: { ...cast, client: 'mallory' },
    control: { ...cast, client: 'mallory', allows: 'mallory' },
  },
  {
    what: 'server-side proxy with the identity mallory',
    refused: { ...cast, server: 'mallory' },
    control: { ...cast, server: 'mallory', expects: 'mallory' },
  },
];

/** Where pairs of a peer run. */
export interface PeerWorld {
  readonly processes: ProcessGroup;
  readonly authority: Authority;
  readonly applicationPorts: ApplicationPorts;
  /** As for the edge of a network. */
  readonly edge: boolean;
}

/** A peer as a subject of the suite: web -> db through two processes of it. */
export function peerSubject(peer: Peer, world: PeerWorld): Subject {
  return {
    name: peer.name,
    note: peer.note,
    async open(mode) {
      const hop = await startPair(peer, mode, cast, world);
      const proof = [await expectAnswered(hop), ...(await expectMutualTls(hop))];
      for (const { what, refused, control } of impostors) {
        proof.push(await withPair(refused, (pair) => expectRefused(what, pair)));
        await withPair(control, expectAnswered);
      }
      return { ...hop, proof };

      async function withPair(members: Cast, check: (pair: Hop) => Promise<string>): Promise<string> {
        const pair = await startPair(peer, mode, members, world);
        try {
          return await check(pair);
        } finally {
          await pair.stop();
        }
      }
    },
  };
}

let pairs = 0;

async function startPair(peer: Peer, mode: Mode, members: Cast, world: PeerWorld): Promise<Hop> {
  const { processes, authority, applicationPorts, edge } = world;
  const [port, innerPort] = (await freePorts(2)) as [number, number];
  const name = `${peer.name}-${mode}-${++pairs}`;
  const directoryFor = (side: string) => {
    const directory = join(processes.directory, `${name}-${side}`);
    mkdirSync(directory);
    return directory;
  };
  const shared = { mode, edge, caFile: authority.caFile };
  const server = peer.serverSide({
    ...shared,
    listenPort: innerPort,
    applicationPort: applicationPorts[mode],
    own: authority.leaf(members.server),
    allowed: authority.leaf(members.allows),
    directory: directoryFor('server'),
  });
  const client = peer.clientSide({
    ...shared,
    listenPort: port,
    serverPort: innerPort,
    own: authority.leaf(members.client),
    expected: authority.leaf(members.expects),
    directory: directoryFor('client'),
  });
  const serverProcess = processes.start(`${name}-server`, server.file, server.args);
  const startClient = () => processes.start(`${name}-client`, client.file, client.args);
  let clientProcess = startClient();
  await Promise.all([waitForPort(innerPort, serverProcess), waitForPort(port, clientProcess)]);
  return {
    mode,
    port,
    innerPort,
    processes: [clientProcess, serverProcess],
    async restartClient() {
      await clientProcess.stop();
      clientProcess = startClient();
      return clientProcess;
    },
    async stop() {
      await Promise.all([clientProcess.stop(), serverProcess.stop()]);
    },
  };
}
