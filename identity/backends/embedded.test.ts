import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { parseSpiffeId, parseTrustDomain } from '#policies/spiffe-id.ts';
import { createLogger } from '#runtime/logging.ts';
import { type ProcessContext, systemContext } from '#runtime/process-context.ts';
import { readCertificateRequest } from '../certificate-request.ts';
import { forgeRequest } from '../testing/forge-request.ts';
import { verifyIssued } from '../verify-issued.ts';
import { caBackendConformance } from './conformance.ts';
import { issuingLifeMs, issuingRenewalMs, openEmbeddedCa, rootLifeMs } from './embedded.ts';

const trustDomain = parseTrustDomain('mesh.test');
const id = parseSpiffeId('spiffe://mesh.test/ns/default/dc/dc1/svc/web');
const system = systemContext(createLogger({ process: 'test', level: 'silent' }));
const request = await readCertificateRequest(forgeRequest());
const order = { request, spiffeId: id, ttlSeconds: 3_600 };

caBackendConformance('embedded, in memory', {
  trustDomain,
  clock: system.clock,
  async open() {
    const backend = await openEmbeddedCa({ dataDir: undefined, trustDomain }, system);
    return { backend, close: () => backend.close() };
  },
});

describe('embedded CA on disk', () => {
  let dataDir = '';
  let nowMs = Date.now();
  const context: ProcessContext = { ...system, clock: () => nowMs };
  beforeEach(async () => {
    nowMs = Date.now();
    dataDir = await mkdtemp(join(tmpdir(), 'selvedge-ca-'));
  });
  afterEach(() => rm(dataDir, { recursive: true }));

  test('is the same CA after a restart; keys are for this user alone and nothing half-written is left', async () => {
    const first = await openEmbeddedCa({ dataDir, trustDomain }, context);
    const signed = await first.sign(order);
    await first.close();
    const second = await openEmbeddedCa({ dataDir, trustDomain }, context);
    assert.deepEqual(second.roots.map(Buffer.from), first.roots.map(Buffer.from));
    await verifyIssued(signed, order, second.roots, nowMs);
    assert.deepEqual((await second.sign(order)).chain[1], signed.chain[1]);
    const files = (await readdir(join(dataDir, 'ca'))).sort();
    assert.deepEqual(
      files.map((file) => file.replace(/-[0-9a-f]{16}/, '')),
      ['issuing.pem', 'journal.json', 'root.pem'],
    );
    for (const file of files) assert.equal((await stat(join(dataDir, 'ca', file))).mode & 0o777, 0o600);
  });

  test('started twice at once, both have one root', async () => {
    const both = await Promise.all([1, 2].map(() => openEmbeddedCa({ dataDir, trustDomain }, context)));
    assert.deepEqual(both[0]?.roots.map(Buffer.from), both[1]?.roots.map(Buffer.from));
    for (const ca of both) await verifyIssued(await ca.sign(order), order, ca.roots, nowMs);
  });

  test('replaces its issuing CA a month before its end, while running and after months off', async () => {
    const ca = await openEmbeddedCa({ dataDir, trustDomain }, context);
    const before = (await ca.sign(order)).chain[1];
    nowMs += issuingLifeMs - issuingRenewalMs - 60_000;
    assert.deepEqual((await ca.sign(order)).chain[1], before);
    nowMs += 120_000;
    const signed = await Promise.all([ca.sign(order), ca.sign(order)]);
    assert.notDeepEqual(signed[0]?.chain[1], before);
    assert.deepEqual(signed[0]?.chain[1], signed[1]?.chain[1], 'once, however many ask');
    for (const each of signed) await verifyIssued(each, order, ca.roots, nowMs);
    nowMs += 200 * 86_400_000;
    const later = await openEmbeddedCa({ dataDir, trustDomain }, context);
    await verifyIssued(await later.sign(order), order, ca.roots, nowMs);
    assert.deepEqual(later.health, { state: 'healthy' });
  });

  test('signs on with the old issuing CA while the new one can not be saved, and says so when that ends', async () => {
    const ca = await openEmbeddedCa({ dataDir, trustDomain }, context);
    const before = (await ca.sign(order)).chain[1];
    await rm(join(dataDir, 'ca'), { recursive: true });
    await writeFile(join(dataDir, 'ca'), 'no folder any more');
    nowMs += issuingLifeMs - 86_400_000;
    assert.deepEqual((await ca.sign(order)).chain[1], before);
    nowMs += 2 * 86_400_000;
    await assert.rejects(ca.sign(order), (error) => isMeshError(error, 'SLV-1005'));
    assert.equal(ca.health.state, 'unhealthy');
  });

  test('never outlives its root', async () => {
    const ca = await openEmbeddedCa({ dataDir, trustDomain }, context);
    nowMs += rootLifeMs - 10 * 86_400_000;
    await ca.sign(order);
    assert.ok((ca.issuingCaNotAfterMs ?? Infinity) <= nowMs + 10 * 86_400_000);
    nowMs += 11 * 86_400_000;
    await assert.rejects(ca.sign(order), (error) => isMeshError(error, 'SLV-2143'));
  });

  const spoiled: readonly [what: string, spoil: (root: string) => string][] = [
    ['garbage', () => 'garbage'],
    ['nothing', () => ''],
    ['a certificate without its key', (root) => root.slice(0, root.indexOf('-----BEGIN PRIVATE'))],
  ];
  for (const [what, spoil] of spoiled) {
    test(`a root file that holds ${what} is named and left alone`, async () => {
      await (await openEmbeddedCa({ dataDir, trustDomain }, context)).close();
      const path = await fileOf('root');
      const text = spoil(await readFile(path, 'utf8'));
      await writeFile(path, text);
      const named = (error: unknown): boolean => isMeshError(error, 'SLV-2143') && error.message.includes(path);
      await assert.rejects(openEmbeddedCa({ dataDir, trustDomain }, context), named);
      assert.equal(await readFile(path, 'utf8'), text);
    });
  }

  test('a data directory of another trust domain, or with a foreign issuing CA, is refused', async () => {
    await (await openEmbeddedCa({ dataDir, trustDomain }, context)).close();
    const refused = (error: unknown): boolean => isMeshError(error, 'SLV-2143');
    await assert.rejects(openEmbeddedCa({ dataDir, trustDomain: parseTrustDomain('other.test') }, context), refused);
    await rm(await fileOf('root'));
    await assert.rejects(openEmbeddedCa({ dataDir, trustDomain }, context), refused);
  });

  test('a journal that is no journal is named and left alone', async () => {
    await (await openEmbeddedCa({ dataDir, trustDomain }, context)).close();
    const journal = join(dataDir, 'ca', 'journal.json');
    for (const text of ['', '{', '{"state":"idle"}', '{"state":"idle","active":{"root":"../x","issuing":"y"}}']) {
      await writeFile(journal, text);
      await assert.rejects(openEmbeddedCa({ dataDir, trustDomain }, context), (error) =>
        isMeshError(error, 'SLV-2143'),
      );
      assert.equal(await readFile(journal, 'utf8'), text);
    }
  });

  /** The one file of a role. */
  async function fileOf(role: string): Promise<string> {
    const name = (await readdir(join(dataDir, 'ca'))).find((file) => file.startsWith(role));
    return join(dataDir, 'ca', name ?? assert.fail(`no file of the ${role}`));
  }
});
