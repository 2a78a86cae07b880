import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { parseTrustDomain } from '#policies/spiffe-id.ts';
import { openAuditLog } from '#runtime/audit/audit-log.ts';
import { createLogger } from '#runtime/logging.ts';
import { createMetrics } from '#runtime/metrics.ts';
import { type ProcessContext, systemContext } from '#runtime/process-context.ts';
import { openSignedBundle } from '#runtime/svid/open-bundle.ts';
import type { Store } from '#store/contract.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { waitFor } from '#test/wait-for.ts';
import { Attestation } from './attestation.ts';
import { openEmbeddedCa } from './backends/embedded.ts';
import type { CaBackend } from './ca-backend.ts';
import { Issuance } from './issuance.ts';
import { issueCounts } from './issue-counts.ts';
import { NodeProofs } from './node-proof.ts';
import { Nodes } from './nodes.ts';
import { type OwnSvid, openOwnSvid } from './own-svid.ts';
import { Presence } from './presence.ts';
import { ProcessRoll } from './processes/process-roll.ts';
import { Revocations } from './revocation/revocations.ts';
import { HeldSvids } from './status/held-svids.ts';
import { type HealthParts, ServiceHealth } from './status/service-health.ts';
import { TrustPublication } from './trust-publication.ts';

const trustDomain = parseTrustDomain('mesh.test');
let nowMs = 0;
let dataDir = '';
let store: Store;
const context: ProcessContext = {
  ...systemContext(createLogger({ process: 'test', level: 'silent' })),
  clock: () => nowMs,
};

beforeEach(async () => {
  nowMs = Date.now();
  dataDir = await mkdtemp(join(tmpdir(), 'selvedge-own-'));
  store = await openSqliteStore({ path: undefined, clock: Date.now, log: context.log });
});
afterEach(async () => {
  await store.close();
  await rm(dataDir, { recursive: true });
});

/** Issuance and trust over a CA that can be made to fail. */
async function parts(): Promise<{
  issuance: Issuance;
  trust: TrustPublication;
  ca: { fails: boolean; refused: number };
  healthOf: (own: OwnSvid, more?: Partial<HealthParts>) => ServiceHealth;
}> {
  const embedded = await openEmbeddedCa({ dataDir, trustDomain }, context);
  const ca = { fails: false, refused: 0 };
  const backend: CaBackend = {
    kind: embedded.kind,
    roots: embedded.roots,
    health: { state: 'healthy' },
    issuingCaNotAfterMs: embedded.issuingCaNotAfterMs,
    async sign(order) {
      if (!ca.fails) return embedded.sign(order);
      ca.refused += 1;
      throw new MeshError('SLV-2140', 'The CA is away.');
    },
    close: () => embedded.close(),
  };
  const nodes = new Nodes(store, context.clock);
  const trust = new TrustPublication({
    trustDomain,
    store,
    backend,
    nodes,
    revocations: new Revocations(store, context.clock),
    context,
    isShared: false,
    also: { jwtAuthorities: async () => [], federated: async () => [] },
  });
  await trust.refresh();
  const attestation = new Attestation({
    nodes,
    proofs: new NodeProofs(context.clock),
    presence: await Presence.open(store, context),
    open: false,
  });
  const audit = await openAuditLog(undefined, context);
  const counts = issueCounts(createMetrics(), backend);
  const config = { trustDomain, datacenter: 'dc1', svidTtlSeconds: 3_600 };
  const held = new HeldSvids(context.clock);
  const isRevoked = (): boolean => false;
  const issuance = new Issuance({ config, backend, attestation, nodes, audit, counts, held, isRevoked, context });
  const healthOf = (own: OwnSvid, more: Partial<HealthParts> = {}) =>
    new ServiceHealth({ backend, own, held, records: { failures: [] }, clock: context.clock, ...more });
  return { issuance, trust, ca, healthOf };
}

test('is renewed at a third of its life, retried while the CA is away, and signs what others accept', async () => {
  const { issuance, trust, ca } = await parts();
  let wake = Promise.withResolvers<void>();
  const pause = (_ms: number, signal: AbortSignal): Promise<void> => {
    signal.addEventListener('abort', () => wake.resolve());
    return wake.promise;
  };
  const own = await openOwnSvid({ issuance, trust, dataDir: undefined, context, pause });
  const first = own.current;
  assert.equal(first?.spiffeId, 'spiffe://mesh.test/ns/default/dc/dc1/svc/selvedge-identity');
  const turn = (): void => {
    const before = wake;
    wake = Promise.withResolvers();
    before.resolve();
  };
  nowMs += 1_000_000;
  turn();
  for (let tick = 0; tick < 50; tick++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(own.current?.serialHex, first?.serialHex, 'not before a third of its life');
  nowMs += 400_000;
  ca.fails = true;
  turn();
  await waitFor('a try', () => ca.refused === 1, 10_000);
  assert.equal(own.current?.serialHex, first?.serialHex);
  const sequence = trust.bundle.sequence;
  const before = await trust.signed(own);
  assert.equal(await trust.signed(own), before, 'signed once');
  ca.fails = false;
  nowMs += 200_000;
  turn();
  await waitFor('the next one', () => own.current?.serialHex !== first?.serialHex, 10_000);
  const after = await trust.signed(own);
  assert.notEqual(after, before, 'signed anew by the new SVID');
  assert.equal((await openSignedBundle(after, trustDomain, trust, nowMs)).bundle.sequence, sequence);
  await own.close();
});

test('when it runs out it is no longer shown, and nothing is signed by it; its end stays the first of all ends', async () => {
  const { issuance, trust, ca, healthOf } = await parts();
  const own = await openOwnSvid({ issuance, trust, dataDir: undefined, context });
  const health = healthOf(own);
  const endMs = own.current?.notAfterMs;
  assert.equal(health.earliestEndMs, endMs);
  ca.fails = true;
  nowMs += 3_601_000;
  assert.equal(own.current, undefined);
  assert.equal(health.earliestEndMs, endMs);
  assert.deepEqual(health.reasons, ['the own SVID has run out']);
  await assert.rejects(trust.signed(own), (error) => error instanceof MeshError && error.code === 'SLV-2140');
  await own.close();
});

test('a store that several share and that can not be asked is as a CA that can not sign: nothing is issued', async () => {
  const { issuance, trust, healthOf } = await parts();
  const own = await openOwnSvid({ issuance, trust, dataDir: undefined, context });
  const roll = new ProcessRoll(store, { key: 'identity/processes/lead' }, context);
  await roll.look();
  const health = healthOf(own, { roll });
  assert.deepEqual([health.outage.state, health.reasons], ['ok', []]);
  const sinceMs = nowMs;
  nowMs += 20_000;
  assert.deepEqual([health.outage.state, health.reasons], ['failing', []]);
  nowMs += 2_400_000;
  assert.equal(health.outage.state, 'red', 'half of the time that an hour gives is gone');
  assert.deepEqual(health.reasons, [`since ${new Date(sinceMs).toISOString()}: etcd can not be reached`]);
  assert.deepEqual(health.failures, health.reasons);
  await roll.look();
  assert.deepEqual([health.outage.state, health.reasons, health.failures], ['ok', [], []]);
  // So is a disk without room.
  const records = { failures: [{ sinceMs, reason: 'SLV-3504: no space' }] };
  assert.match(healthOf(own, { records }).reasons.join(), /^since .*Z: SLV-3504: no space$/);
  await own.close();
});

test('a restart uses that of the last run, without the CA; one that is of no more use is replaced', async () => {
  const { issuance, trust, ca } = await parts();
  const open = () => openOwnSvid({ issuance, trust, dataDir, context });
  const first = await open();
  await first.close();
  const path = join(dataDir, 'own-svid.json');
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  ca.fails = true;
  const second = await open();
  assert.equal(second.current?.serialHex, first.current?.serialHex);
  await second.close();
  const stored = await readFile(path, 'utf8');
  for (const spoiled of ['', '{}', stored.replace('spiffe', 'x'), stored.replace(/CERTIFICATE/g, 'NOTHING')]) {
    await writeFile(path, spoiled);
    if (spoiled === stored) continue;
    await assert.rejects(open(), (error) => error instanceof MeshError && error.code === 'SLV-2140');
  }
  ca.fails = false;
  const third = await open();
  assert.notEqual(third.current?.serialHex, first.current?.serialHex);
  await third.close();
  nowMs += 30 * 86_400_000;
  const fourth = await open();
  assert.ok((fourth.current?.notAfterMs ?? 0) > nowMs, 'a month off needs no manual step');
  await fourth.close();
});

test('the sequence of the bundle grows with its contents and stays without, also when the store was lost', async () => {
  const { trust } = await parts();
  const first = trust.bundle.sequence;
  await trust.refresh();
  assert.equal(trust.bundle.sequence, first);
  nowMs += 5_000;
  await store.delete('identity/trust');
  await trust.refresh();
  assert.ok(trust.bundle.sequence > first);
});
