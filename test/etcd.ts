import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from './free-ports.ts';
import type { ToolLookup } from './python-tool.ts';
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
  /** What it has printed. */
  log(): string;
}

export interface EtcdCluster extends AsyncDisposable {
  readonly members: readonly EtcdMember[];
  readonly addresses: readonly string[];
  /** Waits for one. */
  leader(): Promise<EtcdMember>;
  /** Writes a key past every store. */
  put(key: string, value: string): Promise<void>;
}

const alive = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of alive) child.kill('SIGKILL');
});

/** Starts a cluster and waits until it has a leader. Elections take about half a second: the time-outs are half of the default. */
export async function startEtcd(
  options: { readonly members?: number; readonly args?: readonly string[] } = {},
): Promise<EtcdCluster> {
  const found = await findEtcd();
  if (found.path === undefined) throw new Error(found.reason);
  const command = found.path;
  const count = options.members ?? 3;
  const folder = await mkdtemp(join(tmpdir(), 'selvedge-etcd-'));
  const ports = await freePorts(count * 2);
  const url = (port: number | undefined): string => `http://127.0.0.1:${port}`;
  const names = Array.from({ length: count }, (_, index) => `m${index}`);
  const initial = names.map((name, index) => `${name}=${url(ports[count + index])}`).join(',');
  const members = names.map((name, index) =>
    member(command, `127.0.0.1:${ports[index]}`, [
      ...['--name', name, '--data-dir', join(folder, name)],
      ...['--listen-client-urls', url(ports[index]), '--advertise-client-urls', url(ports[index])],
      ...['--listen-peer-urls', url(ports[count + index]), '--initial-advertise-peer-urls', url(ports[count + index])],
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
    async put(key, value) {
      const body = JSON.stringify({ key: btoa(key), value: btoa(value) });
      const answer = await fetch(`http://${members[0]?.address}/v3/kv/put`, { method: 'POST', body });
      if (!answer.ok) throw new Error(`etcd: ${answer.status} ${await answer.text()}`);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(members.map((one) => one.kill()));
      await rm(folder, { recursive: true, force: true });
    },
  };
  await Promise.all(members.map((one) => one.start()));
  await cluster.leader();
  return cluster;
}

function member(command: string, address: string, args: readonly string[]): EtcdMember {
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
    pause: () => void child?.kill('SIGSTOP'),
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
        const signal = AbortSignal.timeout(2_000);
        const answer = await fetch(`http://${address}/v3/maintenance/status`, { method: 'POST', body: '{}', signal });
        const { header, leader } = (await answer.json()) as { header?: { member_id?: string }; leader?: string };
        return leader !== undefined && leader === header?.member_id;
      } catch {
        return false; // not up
      }
    },
    log: () => output,
  };
}
