import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { parseSpiffeId, parseTrustDomain } from '#policies/spiffe-id.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { readCertificateRequest } from '../certificate-request.ts';
import { nextStep, type RotationFacts } from '../rotation/next-step.ts';
import { superseded, taintedAuthorities } from '../rotation/rotation.ts';
import { forgeRequest } from '../testing/forge-request.ts';
import { verifyIssued } from '../verify-issued.ts';
import { openEmbeddedCa } from './embedded.ts';

const trustDomain = parseTrustDomain('mesh.test');
const spiffeId = parseSpiffeId('spiffe://mesh.test/ns/default/dc/dc1/svc/web');
const context = systemContext(createLogger({ process: 'test', level: 'silent' }));
const order = { request: await readCertificateRequest(forgeRequest()), spiffeId, ttlSeconds: 3_600 };
/** Nothing to wait for. */
const facts: RotationFacts = {
  nowMs: 1,
  earliestMs: 1,
  sightings: { kind: 'proxies', missing: [] },
  blindWaitMs: 0,
  deadlineMs: 0,
  holdouts: [],
  oldEndsAtMs: 0,
  settledSinceMs: undefined,
  settleMs: 0,
};

describe('rotation of the embedded CA', () => {
  let dataDir = '';
  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'selvedge-ca-'));
  });
  afterEach(() => rm(dataDir, { recursive: true }));
  const open = () => openEmbeddedCa({ dataDir, trustDomain }, context);
  const accepted = async (ca: Awaited<ReturnType<typeof open>>, roots: readonly Uint8Array[]) =>
    await verifyIssued(await ca.sign(order), order, roots, Date.now());

  test('of the root: at each state both sides believe each other, opened anew after each as after a crash', async () => {
    let ca = await open();
    const oldRoots = ca.roots;
    const before = await ca.sign(order);
    await ca.rotating.prepare('root');
    const states = [ca.rotating.state.state];
    for (
      let step = nextStep(ca.rotating.state, facts);
      step.kind === 'step';
      step = nextStep(ca.rotating.state, facts)
    ) {
      const { roots } = ca;
      await accepted(ca, roots);
      await accepted(ca, oldRoots); // whoever sleeps all the while believes the new leaves, by the cross certificate
      await verifyIssued(before, order, roots, Date.now());
      await ca.rotating.take(step.step);
      states.push(ca.rotating.state.state);
      await ca.close();
      ca = await open();
    }
    assert.deepEqual(states, ['prepared', 'published', 'seen', 'activated', 'idle']);
    assert.equal(ca.roots.length, 1);
    await accepted(ca, ca.roots);
    await accepted(ca, oldRoots);
    await assert.rejects(verifyIssued(before, order, ca.roots, Date.now()), /untrusted|no root/i);
    const pems = (await readdir(join(dataDir, 'ca'))).filter((name) => name.endsWith('.pem'));
    assert.equal(pems.length, 2, 'the keys of the old CAs are gone');
  });

  test('of the issuing CA: the root stays, its leaves are not tainted unless asked', async () => {
    const ca = await open();
    const { roots } = ca;
    const before = await ca.sign(order);
    await ca.rotating.prepare('issuing');
    await ca.rotating.take('activate');
    const after = await ca.sign(order);
    assert.notEqual(after.issuer, before.issuer);
    assert.deepEqual(ca.roots, roots);
    assert.deepEqual(superseded(ca.rotating.state), [before.issuer]);
    assert.deepEqual(taintedAuthorities(ca.rotating.state), []);
    await ca.rotating.taint();
    assert.deepEqual(taintedAuthorities((await open()).rotating.state), [before.issuer]);
    await verifyIssued(before, order, ca.roots, Date.now());
    await ca.rotating.take('retire');
    await verifyIssued(before, order, ca.roots, Date.now());
  });

  test('one at a time; a second is refused and changes nothing', async () => {
    const ca = await open();
    await ca.rotating.prepare('root');
    const { state } = ca.rotating;
    await assert.rejects(ca.rotating.prepare('issuing'), (error) => isMeshError(error, 'SLV-2180'));
    assert.deepEqual(ca.rotating.state, state);
  });

  test('a journal that can not be written leaves the state as it was, in memory as on disk', async () => {
    const ca = await open();
    await ca.rotating.prepare('root');
    const { state } = ca.rotating;
    await rm(join(dataDir, 'ca'), { recursive: true });
    await writeFile(join(dataDir, 'ca'), 'no folder any more');
    await assert.rejects(
      ca.rotating.take('publish'),
      (error) => isMeshError(error, 'SLV-1005') || isMeshError(error, 'SLV-2143'),
    );
    assert.deepEqual(ca.rotating.state, state);
    assert.equal(ca.roots.length, 1);
  });
});
