import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { makeCa, staticTrust } from '#test/mini-ca.ts';
import { readCertificateLink } from './certificate-link.ts';
import { isSignedBy, readKnownLink, rememberLink } from './known-certificates.ts';
import type { TrustSource } from './trust.ts';
import { verifyChain } from './verify-peer.ts';

/*
 * That a certificate was accepted before must never be why it is accepted now: each row accepts a chain first, and then refuses it, or a forged one, for a reason
 * that has nothing to do with bytes.
 */

const web = 'spiffe://mesh.test/ns/default/dc/dc1/svc/web';
const day = 86_400_000;

function rule(chain: readonly Uint8Array[], trust: TrustSource, nowMs = Date.now()): unknown {
  try {
    verifyChain({ chain, trust, nowMs });
    return 'accepted';
  } catch (error) {
    assert.ok(isMeshError(error, 'SLV-2020'), String(error));
    return error.detail['rule'];
  }
}

test('a known signer is judged by the time of now', () => {
  const ca = makeCa('mesh.test');
  const short = ca.root.intermediate({ notAfterMs: Date.now() + day });
  const { chain } = short.issue({ spiffeId: web, notAfterMs: Date.now() + 5 * day });
  const trust = staticTrust(ca.bundle);
  assert.equal(rule(chain, trust), 'accepted');
  assert.equal(rule(chain, trust, Date.now() + 2 * day), 'signer-expired');
});

test('a known signer is judged by the roots and revocations of now', () => {
  const ca = makeCa('mesh.test');
  const { chain } = ca.issue({ spiffeId: web });
  const trust = staticTrust(ca.bundle);
  assert.equal(rule(chain, trust), 'accepted');
  assert.equal(rule(chain, staticTrust(makeCa('mesh.test').bundle)), 'untrusted-root');
  // The same name, another key: what was verified with the one says nothing of the other.
  const commonName = 'a root of one name';
  const [one, two] = [makeCa('mesh.test', { commonName }), makeCa('mesh.test', { commonName })];
  const ofOne = one.issue({ spiffeId: web }).chain;
  assert.equal(rule(ofOne, staticTrust(one.bundle)), 'accepted');
  assert.equal(rule(ofOne, staticTrust(two.bundle)), 'bad-signature');
  trust.revoke(readCertificateLink(ca.certificate).facts.serialHex);
  assert.equal(rule(chain, trust), 'revoked');
});

test('a signer that differs from a known one in a single bit is another', () => {
  const ca = makeCa('mesh.test');
  const { chain } = ca.issue({ spiffeId: web });
  const [leaf = new Uint8Array(), issuing = new Uint8Array()] = chain;
  const trust = staticTrust(ca.bundle);
  assert.equal(rule(chain, trust), 'accepted');
  const forged = Uint8Array.from(issuing);
  forged.set([(forged.at(-1) ?? 0) ^ 1], forged.length - 1);
  assert.notEqual(rule([leaf, forged], trust), 'accepted');
  assert.equal(rule(chain, trust), 'accepted');
});

test('a known leaf is judged by the time, the roots and the revocations of now, and is another in a single bit', () => {
  const ca = makeCa('mesh.test');
  const { chain } = ca.issue({ spiffeId: web, notAfterMs: Date.now() + day });
  const [leaf = new Uint8Array(), issuing = new Uint8Array()] = chain;
  const trust = staticTrust(ca.bundle);
  assert.equal(rule(chain, trust), 'accepted');
  assert.equal(readKnownLink(Uint8Array.from(leaf)), readKnownLink(leaf), 'it is known');
  assert.equal(rule(chain, trust, Date.now() + 2 * day), 'expired');
  assert.equal(rule(chain, staticTrust(makeCa('mesh.test').bundle)), 'untrusted-root');
  const forged = Uint8Array.from(leaf);
  forged.set([(forged.at(-1) ?? 0) ^ 1], forged.length - 1);
  assert.notEqual(rule([forged, issuing], trust), 'accepted');
  assert.equal(rule(chain, trust), 'accepted');
  trust.revoke(readCertificateLink(leaf).facts.serialHex);
  assert.equal(rule(chain, trust), 'revoked');
});

test('a leaf that was refused is not known', () => {
  const ca = makeCa('mesh.test');
  const { chain } = ca.issue({ spiffeId: web });
  const [leaf = new Uint8Array()] = chain;
  assert.equal(rule(chain, staticTrust(makeCa('mesh.test').bundle)), 'untrusted-root');
  assert.notEqual(readKnownLink(leaf), readKnownLink(leaf));
});

test('a known signer vouches for no leaf but those that it signed', () => {
  // Their issuing CAs have one name.
  const [ca, impostor] = [makeCa('mesh.test'), makeCa('mesh.test')];
  const trust = staticTrust(ca.bundle);
  assert.equal(rule(ca.issue({ spiffeId: web }).chain, trust), 'accepted');
  const [forged = new Uint8Array()] = impostor.issue({ spiffeId: web }).chain;
  assert.equal(rule([forged, ca.certificate], trust), 'bad-signature');
});

test('no more than 64 are kept, the one used longest ago goes first', () => {
  const { certificate } = makeCa('mesh.test');
  const link = readCertificateLink(certificate);
  rememberLink(certificate, link);
  assert.equal(readKnownLink(Uint8Array.from(certificate)), link, 'found by its bytes');
  for (let other = 0; other < 64; other++) rememberLink(Uint8Array.of(other), link);
  assert.notEqual(readKnownLink(certificate), link, 'read anew');
});

test('a signature that does not verify is never taken for one that does', () => {
  const [one, two] = [makeCa('mesh.test'), makeCa('mesh.test')];
  const link = readCertificateLink(one.certificate);
  const [right, wrong] = [readCertificateLink(one.root.certificate), readCertificateLink(two.root.certificate)];
  for (let time = 0; time < 2; time++) {
    assert.equal(isSignedBy(link, right), true);
    assert.equal(isSignedBy(link, wrong), false);
  }
});
