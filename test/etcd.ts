import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EtcdPeerNetwork } from './etcd-peer-network.ts';
import { freePorts } from './free-ports.ts';
import type { ToolLookup } from './python-tool.ts';
import { suspend } from './suspend.ts';
import { findSystemTool } from './system-tool.ts';
import { waitFor } from './wait-for.ts';

/** A real etcd cluster for tests: Debian's `etcd`, or the one that SELVEDGE_ETCD names. On loopback; ends with this process at the latest. */

export function findEtcd(): Promise<ToolLookup> {
  return findSystemTool({ binary: 'etcd', variable: 'SELVEDGE_ETCD', debian: 'etcd-server' });
}

/** One member. */
export interface EtcdMember {
  /** `127.0.0.1:PORT`, for clients. */
  readonly address: string;
  readonly pid: number;
  /** SIGKILL, and until it is gone. Its data stays. */
  kill(): Promise<void>;
  /** SIGSTOP: it holds its connections and says nothing. */
  pause(): void;
  resume(): void;
  /** Starts it again, on its data. */
  start(): Promise<void>;
  isLeader(): Promise<boolean>;
  /** Cuts it off from the other members, not from clients; of a cluster whose network can be cut. */
  isolate(): Promise<void>;
  /** What it has printed. */
  log(): string;
}

export interface EtcdCluster extends AsyncDisposable {
  readonly members: readonly EtcdMember[];
  readonly addresses: readonly string[];
  /** Waits for one. */
  leader(): Promise<EtcdMember>;
  /** All members reach one another again. */
  heal(): void;
  /** Writes a key past every store. */
  put(key: string, value: string): Promise<void>;
  /** Forgets all history up to now. */
  compact(): Promise<void>;
  /** How many streams with watches the first member has, by its metrics. */
  watchStreams(): Promise<number>;
}

const alive = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of alive) child.kill('SIGKILL');
});

/**
 * Starts a cluster and waits until it has a leader. Elections take about half a second: the time-outs are half of the default.
 *
 * @param options.canBeCut the members reach one another over a network that can be cut
 */
export async function startEtcd(
  options: { readonly members?: number; readonly args?: readonly string[]; readonly canBeCut?: boolean } = {},
): Promise<EtcdCluster> {
  const found = await findEtcd();
  if (found.path === undefined) throw new Error(found.reason);
  const command = found.path;
  const count = options.members ?? 3;
  const folder = await mkdtemp(join(tmpdir(), 'selvedge-etcd-'));
  const ports = await freePorts(count * 2);
  const url = (port: number | undefined): string => `http://127.0.0.1:${port}`;
  const names = Array.from({ length: count }, (_, index) => `m${index}`);
  const network = new EtcdPeerNetwork();
  const listening = ports.slice(count);
  const known =
    options.canBeCut === true
      ? await Promise.all(listening.map((port, index) => network.open(index, port)))
      : listening;
  const initial = names.map((name, index) => `${name}=${url(known[index])}`).join(',');
  const cut = (index: number) => (id: string) => network.isolate(index, id);
  const members = names.map((name, index) =>
    member(command, `127.0.0.1:${ports[index]}`, cut(index), [
      ...['--name', name, '--data-dir', join(folder, name)],
      ...['--listen-client-urls', url(ports[index]), '--advertise-client-urls', url(ports[index])],
      ...['--listen-peer-urls', url(listening[index]), '--initial-advertise-peer-urls', url(known[index])],
      ...['--initial-cluster', initial, '--initial-cluster-token', folder],
      ...['--heartbeat-interval', '50', '--election-timeout', '500', '--logger', 'zap', '--log-level', 'warn'],
      ...(options.args ?? []),
    ]),
  );
  const cluster: EtcdCluster = {
    members,
    addresses: members.map(({ address }) => address),
    leader: () =>
      waitFor(
        'a leader',
        async () => {
          for (const one of members) if (await one.isLeader()) return one;
          return undefined;
        },
        30_000,
      ),
    heal: () => network.heal(),
    async put(key, value) {
      await ask(members[0]?.address, 'kv/put', { key: btoa(key), value: btoa(value) });
    },
    async compact() {
      const { header } = await ask(members[0]?.address, 'maintenance/status', {});
      await ask(members[0]?.address, 'kv/compaction', { revision: header?.revision });
    },
    async watchStreams() {
      const metrics = await (await fetch(`http://${members[0]?.address}/metrics`)).text();
      const [, streams] = /^etcd_debugging_mvcc_watch_stream_total (\d+)$/m.exec(metrics) ?? [];
      if (streams === undefined) throw new Error('etcd has no metric of its watch streams');
      return Number(streams);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(members.map((one) => one.kill()));
      await network[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
  await Promise.all(members.map((one) => one.start()));
  await cluster.leader();
  return cluster;
}

/** What is read of etcd's answers. Its numbers of 64 bits are text. */
interface Answer {
  readonly header?: { readonly member_id?: string; readonly revision?: string };
  readonly leader?: string;
}

/** Asks etcd's JSON gateway. @param timeoutMs of a member that may hang; the rest waits for its disk */
async function ask(address: string | undefined, path: string, body: object, timeoutMs = 20_000): Promise<Answer> {
  const request = { method: 'POST', body: JSON.stringify(body), signal: AbortSignal.timeout(timeoutMs) };
  const answer = await fetch(`http://${address}/v3/${path}`, request);
  if (!answer.ok) throw new Error(`etcd: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as Answer;
}

function member(command: string, address: string, cut: (id: string) => void, args: readonly string[]): EtcdMember {
  let child: ChildProcess | undefined;
  let ended: Promise<void> = Promise.resolve();
  let output = '';
  return {
    address,
    get pid() {
      return child?.pid ?? 0;
    },
    async kill() {
      child?.kill('SIGKILL');
      await ended;
    },
    pause: () => {
      if (child?.pid !== undefined) suspend(child.pid);
    },
    resume: () => void child?.kill('SIGCONT'),
    async start() {
      const started = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
      child = started;
      alive.add(started);
      for (const stream of [started.stdout, started.stderr])
        stream.on('data', (chunk: Buffer) => {
          output += chunk.toString('utf8');
        });
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      ended = promise;
      promise.catch(() => undefined);
      started.once('close', () => {
        alive.delete(started);
        resolve();
      });
      started.once('error', reject);
    },
    async isLeader() {
      try {
        const { header, leader } = await ask(address, 'maintenance/status', {}, 2_000);
        return leader !== undefined && leader === header?.member_id;
      } catch {
        return false; // not up
      }
    },
    async isolate() {
      const id = async (): Promise<string | undefined> =>
        (await ask(address, 'maintenance/status', {})).header?.member_id;
      cut(BigInt(await waitFor(`the ID of ${address}`, id, 30_000)).toString(16));
    },
    log: () => output,
  };
}
