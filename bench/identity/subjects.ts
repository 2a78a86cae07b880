import { mkdirSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePorts } from '../loopback-ports.ts';
import { type BenchProcess, type ProcessGroup, waitUntil } from '../processes.ts';
import type { HerdPlan, HerdResult } from './herd.ts';
import type { Connection, LoadPlan, LoadResult } from './load.ts';
import type { PreparedNode, ServiceOrder } from './service.ts';

/** Processes of this suite: started, waited for, and read. */

/** What every part of the suite is given. */
export interface World {
  readonly checkout: string;
  readonly processes: ProcessGroup;
}

/** A running identity service with its nodes. */
export interface Service {
  readonly url: string;
  readonly caFile: string;
  readonly process: BenchProcess;
  /** Connections of nodes that nothing was asked for yet: a record grows with each SVID of a node, and no real node has hundreds. */
  takeConnections(count: number): Connection[];
  readonly joinTokens: readonly string[];
}

let services = 0;

/** Starts the service and waits until its nodes have joined. */
export async function startService(
  world: World,
  order: Pick<ServiceOrder, 'backend' | 'rates' | 'nodes' | 'joinTokens'>,
): Promise<Service> {
  const name = `identity-${order.backend.kind}-${++services}`;
  const dataDir = join(world.processes.directory, name);
  mkdirSync(dataDir, { mode: 0o700 });
  const [port] = (await freePorts(1)) as [number];
  const process = startNode(world, name, 'service.ts', JSON.stringify({ ...order, dataDir, port }));
  await waitUntil(`${name} ready`, [process], () => saysReady(process), 120_000);
  const read = async (file: string) => JSON.parse(await readFile(join(dataDir, file), 'utf8'));
  const nodes: PreparedNode[] = await read('nodes.json');
  return {
    url: `https://127.0.0.1:${port}`,
    caFile: join(dataDir, 'ca.pem'),
    process,
    takeConnections(count) {
      if (nodes.length < count) throw new Error(`${name} has ${nodes.length} nodes left, ${count} are needed`);
      return nodes
        .splice(0, count)
        .map(({ service, chainPem, keyPem }) => ({ cert: chainPem, key: keyPem, fields: { service } }));
    },
    joinTokens: await read('join-tokens.json'),
  };
}

let runs = 0;

/** Runs the loader. @throws Error when a single request failed */
export async function runLoad(world: World, plan: LoadPlan): Promise<LoadResult> {
  const result: LoadResult = resultOf(await startNode(world, 'load', 'load.ts', planFile(world, plan)).finished());
  if (result.errors.length > 0) throw new Error(`requests failed: ${result.errors.join('; ')}`);
  if (result.leaves === 0) throw new Error('no request was answered');
  return result;
}

/** Runs the issuing core alone. */
export async function runCore(world: World, seconds: number): Promise<LoadResult> {
  return resultOf(await startNode(world, 'core', 'core.ts', String(seconds)).finished());
}

/** Some of the proxies of a herd, which wait for the start. */
export interface HerdPart {
  /** @returns also what they logged, line by line */
  finished(): Promise<{ result: HerdResult; log: readonly LogLine[] }>;
}

/** Starts a process with some proxies and waits until it is ready. */
export async function prepareHerd(world: World, plan: HerdPlan): Promise<HerdPart> {
  const process = startNode(world, 'herd', 'herd.ts', planFile(world, plan));
  await waitUntil('a herd ready', [process], () => saysReady(process), 60_000);
  return {
    async finished() {
      const output = await process.finished();
      return { result: resultOf(output), log: logLines(output) };
    },
  };
}

/** A line of one of our logs, as far as it is looked at here. */
export interface LogLine {
  readonly level: number;
  readonly msg: string;
}

/** The log lines in a process's output. */
export function logLines(output: string): readonly LogLine[] {
  return output.split('\n').flatMap((line) => (line.startsWith('{"level"') ? [JSON.parse(line) as LogLine] : []));
}

const saysReady = async ({ outputFile }: BenchProcess): Promise<boolean> =>
  /^ready$/m.test(await readFile(outputFile, 'utf8'));

function planFile(world: World, plan: LoadPlan | HerdPlan): string {
  const file = join(world.processes.directory, `plan-${++runs}.json`);
  writeFileSync(file, JSON.stringify(plan), { mode: 0o600 });
  return file;
}

function startNode(world: World, name: string, script: string, argument: string): BenchProcess {
  const node = join(world.checkout, 'bin', 'node');
  // As bin/selvedge starts the product.
  const flags = ['--max-semi-space-size=64'];
  return world.processes.start(name, node, [...flags, join(world.checkout, 'bench', 'identity', script), argument]);
}

function resultOf<T>(output: string): T {
  const result = /^RESULT (.*)$/m.exec(output)?.[1];
  if (result === undefined) throw new Error(`no result:\n${output.slice(-2_000)}`);
  return JSON.parse(result);
}
