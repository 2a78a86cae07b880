import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { defaultRates, type IdentityRates } from '#identity/identity-config.ts';
import { JoinTokens } from '#identity/join-tokens.ts';
import { type IdentityConfig, type RunningIdentity, startIdentity } from '#identity/main.ts';
import { Nodes, readNodeKey } from '#identity/nodes.ts';
import { issuedSchema, nodeProofHeader } from '#policies/wire/identity-api.ts';
import { runUntilSignal } from '#runtime/lifecycle.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { makeCsr } from '#runtime/svid/csr.ts';
import { makeKeyPair, privateKeyPem, publicKeyPem } from '#runtime/svid/node-key.ts';
import { signNodeProof } from '#runtime/svid/node-proof.ts';
import { keepCompact } from '#store/compaction.ts';
import type { Store } from '#store/contract.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';

/*
 * The identity service as a process of the benchmark: what `selvedge serve identity` starts, and two things that it has no option for. Its rate limits are
 * lifted (a benchmark is one host that asks like thousands), and nodes are made before anything is measured.
 */

/** What the process is told, as JSON in its first argument. */
export interface ServiceOrder {
  readonly dataDir: string;
  readonly port: number;
  readonly backend: IdentityConfig['backend'];
  /**
   * `lifted`: none, for what measures throughput. `one-host`: those of the product for all callers together; each caller may use them up, because here all
   * are one address. `scarce`: so few that most callers are told to come back.
   */
  readonly rates: 'lifted' | 'one-host' | 'scarce';
  /** Nodes with an SVID each, written to `nodes.json` in the directory before the process says `ready`. */
  readonly nodes: number;
  /** Join tokens, one for each `svc-N`, written to `join-tokens.json`. */
  readonly joinTokens: number;
}

/** A node of `nodes.json`: the service that it is, and an SVID to renew by. */
export interface PreparedNode {
  readonly service: string;
  readonly chainPem: string;
  readonly keyPem: string;
}

const unlimited = { perSecond: 1e9, burst: 1e9 };
/** Fewer than come in a second on a machine that is slow and busy. */
const few = { perSecond: 10, burst: 5 };

const ratesOf: Readonly<Record<ServiceOrder['rates'], IdentityRates>> = {
  lifted: {
    join: { perCaller: unlimited, global: unlimited },
    issue: { perCaller: unlimited, global: unlimited },
  },
  'one-host': {
    join: { perCaller: unlimited, global: defaultRates.join.global },
    issue: { perCaller: unlimited, global: defaultRates.issue.global },
  },
  scarce: { join: { perCaller: few, global: few }, issue: { perCaller: few, global: few } },
};

const order: ServiceOrder = JSON.parse(process.argv[2] ?? '{}');
const log = createLogger({ process: 'identity' });
const context = systemContext(log);
await runUntilSignal(log, async () => {
  const store = await openSqliteStore({ path: join(order.dataDir, 'identity.db'), ...context });
  const stopCompacting = keepCompact(store, context);
  const config: IdentityConfig = {
    host: '127.0.0.1',
    port: order.port,
    dataDir: order.dataDir,
    trustDomain: 'bench.selvedge',
    datacenter: 'dc1',
    svidTtlSeconds: 14_400,
    open: false,
    backend: order.backend,
    rates: ratesOf[order.rates],
  };
  const identity = await startIdentity(config, context, store);
  writeFileSync(join(order.dataDir, 'nodes.json'), JSON.stringify(await makeNodes(order.nodes, identity, store)));
  const tokens = new JoinTokens(store, new Nodes(store, context.clock), context);
  const joinTokens: string[] = [];
  for (let at = 0; at < order.joinTokens; at++) {
    joinTokens.push((await tokens.create({ services: [`svc-${at}`], ttlSeconds: 3_600 })).token);
  }
  writeFileSync(join(order.dataDir, 'join-tokens.json'), JSON.stringify(joinTokens));
  process.stdout.write('ready\n');
  return {
    async close() {
      await identity.close();
      stopCompacting();
      await store.close();
    },
  };
});

/** Nodes as joining makes them, and the first SVID of each by its key, as over the network. A few at a time, as they would come. */
async function makeNodes(count: number, identity: RunningIdentity, store: Store): Promise<PreparedNode[]> {
  const nodes = new Nodes(store, context.clock);
  const made: PreparedNode[] = [];
  while (made.length < count) {
    const some = Array.from({ length: Math.min(16, count - made.length) }, (_, at) => `svc-${made.length + at}`);
    made.push(...(await Promise.all(some.map((service) => makeNode(service, nodes, identity, store)))));
  }
  return made;
}

async function makeNode(service: string, nodes: Nodes, identity: RunningIdentity, store: Store): Promise<PreparedNode> {
  const nodeKey = makeKeyPair();
  const grant = { name: `node-of-${service}`, services: [service] };
  const { node, compare, put } = await nodes.joining(readNodeKey(publicKeyPem(nodeKey)), grant);
  await store.txn({ compare: [compare].flat(), success: [put] });
  const key = makeKeyPair();
  const body = JSON.stringify({ service, csr: makeCsr(key) });
  const proof = await signNodeProof(nodeKey, { nodeId: node.id, content: body }, context);
  const headers = { 'content-type': 'application/json', [nodeProofHeader]: proof };
  const answer = await identity.app.request('/v1/identity/svids', { method: 'POST', body, headers }, {
    remoteAddress: '127.0.0.1',
  } as never);
  const { chain } = issuedSchema.parse(await answer.json());
  return { service, chainPem: chain, keyPem: privateKeyPem(key) };
}
