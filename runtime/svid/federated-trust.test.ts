import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { type MiniCa, makeCa, staticTrust } from '#test/mini-ca.ts';
import { createLogger } from '../logging.ts';
import { openSignedBundle } from './open-bundle.ts';
import { signBundle } from './sign-bundle.ts';
import { TrustStore } from './trust-store.ts';
import { verifyChain } from './verify-peer.ts';

const log = createLogger({ process: 'test', level: 'silent' });
const nothing = { serials: [], spiffeIds: [] };
const nowMs = Date.now();
const web = (domain: string) => `spiffe://${domain}/ns/default/dc/dc1/svc/web`;

/** The trust that a node of `own` has when its identity service federates with `foreign`. */
async function trustOf(own: MiniCa, ...foreign: readonly MiniCa[]): Promise<TrustStore> {
  const svid = own.issue({ spiffeId: `spiffe://${own.trustDomain}/ns/default/dc/dc1/svc/selvedge-identity` });
  const federated = foreign.map(({ bundle }) => bundle);
  const jws = await signBundle({ bundle: own.bundle, federated, revoked: nothing, svid, nowMs });
  const opened = await openSignedBundle(jws, own.trustDomain, staticTrust(own.bundle), nowMs);
  return new TrustStore({ opened, clock: () => nowMs, log });
}

function ruleOf(run: () => unknown): unknown {
  try {
    run();
    return 'accepted';
  } catch (error) {
    assert.ok(isMeshError(error, 'SLV-2020'));
    return error.detail['rule'];
  }
}

test('a leaf is valid under the roots of its own trust domain and of no other, in both directions', async () => {
  const [a, b, c] = [makeCa('a.test'), makeCa('b.test'), makeCa('c.test')];
  const nodes = [await trustOf(a, b), await trustOf(b, a)];
  for (const trust of nodes) {
    const judge = (ca: MiniCa, domain: string) =>
      ruleOf(() => verifyChain({ chain: ca.issue({ spiffeId: web(domain) }).chain, trust, nowMs }));
    assert.equal(judge(a, 'a.test'), 'accepted');
    assert.equal(judge(b, 'b.test'), 'accepted');
    assert.equal(judge(a, 'b.test'), 'untrusted-root');
    assert.equal(judge(b, 'a.test'), 'untrusted-root');
    assert.equal(judge(c, 'a.test'), 'untrusted-root');
    assert.equal(judge(c, 'b.test'), 'untrusted-root');
    assert.equal(judge(c, 'c.test'), 'unknown-trust-domain');
  }
});

test("the federated trust domain's identity service can not sign our bundle", async () => {
  const [a, b] = [makeCa('a.test'), makeCa('b.test')];
  const trust = await trustOf(a, b);
  for (const signerId of ['b.test', 'a.test']) {
    const svid = b.issue({ spiffeId: `spiffe://${signerId}/ns/default/dc/dc1/svc/selvedge-identity` });
    const bundle = { ...b.bundle, trustDomain: a.trustDomain, sequence: 99 };
    assert.equal(await trust.acceptSigned(await signBundle({ bundle, revoked: nothing, svid, nowMs })), false);
  }
  assert.equal(trust.sequence, a.bundle.sequence);
});

test('when federation ends the foreign bundle goes, and whoever watches is told', async () => {
  const [a, b] = [makeCa('a.test'), makeCa('b.test')];
  const trust = await trustOf(a, b);
  let told = 0;
  trust.onChange(() => {
    told += 1;
  });
  const svid = a.issue({ spiffeId: 'spiffe://a.test/ns/default/dc/dc1/svc/selvedge-identity' });
  const bundle = { ...a.bundle, sequence: a.bundle.sequence + 1 };
  assert.equal(await trust.acceptSigned(await signBundle({ bundle, revoked: nothing, svid, nowMs })), true);
  assert.equal(trust.bundleOf(b.trustDomain), undefined);
  assert.equal(told, 1);
});

test('two bundles of one trust domain in a signed bundle refuse it', async () => {
  const [a, b] = [makeCa('a.test'), makeCa('b.test')];
  await assert.rejects(
    trustOf(a, b, b),
    (error) => isMeshError(error, 'SLV-2012') && /two bundles/.test(error.message),
  );
  await assert.rejects(trustOf(a, a), (error) => isMeshError(error, 'SLV-2012') && /two bundles/.test(error.message));
});
