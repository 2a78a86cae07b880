import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { describe, test } from 'node:test';
import { contextTag } from '#policies/der.ts';
import { derExplicit, derOctetString, derSequence, derValue } from '#policies/der-writer.ts';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { extension, makeCa, type Recipe, staticTrust, usage } from '#test/mini-ca.ts';
import type { TrustSource } from './trust.ts';
import { type PeerFlaw, verifyChain } from './verify-peer.ts';

const web = 'spiffe://mesh.test/ns/default/dc/dc1/svc/web';
const ca = makeCa('mesh.test');
const other = makeCa('other.test');
const trust = staticTrust(ca.bundle, other.bundle);
const hour = 3_600_000;

function verify(chain: readonly Uint8Array[], source: TrustSource = trust, nowMs = Date.now()) {
  return verifyChain({ chain, trust: source, nowMs });
}

function refuses(rule: PeerFlaw, chain: readonly Uint8Array[], source: TrustSource = trust, nowMs = Date.now()): void {
  assert.throws(
    () => verify(chain, source, nowMs),
    (error) => {
      assert.ok(isMeshError(error, 'SLV-2020'), String(error));
      assert.equal(error.detail['rule'], rule, error.message);
      return true;
    },
  );
}

describe('a good SVID', () => {
  test('is verified through its issuing CA', () => {
    const svid = ca.issue({ spiffeId: web });
    assert.deepEqual(verify(svid.chain), { spiffeId: web, notAfterMs: svid.notAfterMs, serialHex: svid.serialHex });
  });
  test('may be signed by the root itself, carry DNS names, and have no EKU', () => {
    verify(ca.root.issue({ spiffeId: web }).chain);
    verify(ca.issue({ spiffeId: web, dns: ['web.mesh', '*.web.mesh'], extendedKeyUsage: null }).chain);
  });
  test('may come with its chain out of order, with strangers, and with the root', () => {
    const inner = ca.root.intermediate().intermediate();
    const [leaf, ...signers] = inner.issue({ spiffeId: web }).chain;
    assert.ok(leaf !== undefined);
    verify([leaf, other.certificate, ...signers.reverse(), ca.root.certificate]);
  });
  test('passes with five certificates in its path', () => {
    verify(ca.root.intermediate().intermediate().intermediate().issue({ spiffeId: web }).chain);
  });
  test('passes by a cross-signed root when only the old root is known, and by either when both are', () => {
    const next = makeCa('mesh.test', { commonName: 'root two' });
    const cross = ca.root.intermediate({
      commonName: 'root two',
      keys: { publicKey: publicKeyOf(next.root.privateKey), privateKey: next.root.privateKey },
    });
    const chain = [...next.issue({ spiffeId: web }).chain, cross.certificate];
    verify(chain, staticTrust(ca.bundle));
    verify(chain, staticTrust(next.bundle));
    verify(chain, staticTrust({ ...ca.bundle, x509Authorities: [ca.root.certificate, next.root.certificate] }));
    refuses('untrusted-root', chain.slice(0, -1), staticTrust(ca.bundle));
  });
  test('is good for 60 s of skew at either end', () => {
    const nowMs = Math.floor(Date.now() / 1_000) * 1_000;
    const { chain } = ca.issue({ spiffeId: web, notBeforeMs: nowMs, notAfterMs: nowMs + hour });
    verify(chain, trust, nowMs - 60_000);
    refuses('not-yet-valid', chain, trust, nowMs - 60_001);
    verify(chain, trust, nowMs + hour + 60_000);
    refuses('expired', chain, trust, nowMs + hour + 60_001);
  });
  test('keeps verifying beside a root that cannot be read', () => {
    verify(
      ca.issue({ spiffeId: web }).chain,
      staticTrust({ ...ca.bundle, x509Authorities: [Uint8Array.of(1, 2), ca.root.certificate] }),
    );
  });
});

describe('a wrong leaf', () => {
  const wrong: Record<string, Recipe & { spiffeId?: string }> = {
    'two URI SANs': { uris: [web, 'spiffe://mesh.test/ns/default/dc/dc1/svc/db'] },
    'the same URI SAN twice': { uris: [web, web] },
    'no URI SAN': { dns: ['web.mesh'] },
    'no SAN at all': {},
    'no path': { spiffeId: 'spiffe://mesh.test' },
    'an ID with a query': { spiffeId: `${web}?x=1` },
    'an https URI': { spiffeId: 'https://mesh.test/web' },
    'CA:TRUE': { spiffeId: web, isCa: true },
    keyCertSign: { spiffeId: web, keyUsage: [usage.digitalSignature, usage.keyCertSign] },
    cRLSign: { spiffeId: web, keyUsage: [usage.digitalSignature, usage.crlSign] },
    'no digitalSignature': { spiffeId: web, keyUsage: [usage.keyEncipherment] },
    'no key usage': { spiffeId: web, keyUsage: null },
    'key usage not critical': { spiffeId: web, keyUsageCritical: false },
    'two IDs of two trust domains': { uris: [web, 'spiffe://other.test/x'] },
    'an empty URI': { uris: [''] },
    'an ID in upper case': { spiffeId: web.toUpperCase() },
    'an ID with a slash at its end': { spiffeId: `${web}/` },
    'EKU of clients only': { spiffeId: web, extendedKeyUsage: ['1.3.6.1.5.5.7.3.2'] },
    'EKU of any use only': { spiffeId: web, extendedKeyUsage: ['2.5.29.37.0'] },
    'EKU of servers only': { spiffeId: web, extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'] },
    'SAN not critical under an empty subject': { spiffeId: web, sanCritical: false },
  };
  for (const [name, recipe] of Object.entries(wrong)) {
    test(name, () => refuses('not-an-svid', ca.issue(recipe).chain));
  }
  test('an unknown critical extension', () => {
    const extensions = [extension('1.2.3.4', true, derOctetString())];
    refuses('malformed-certificate', ca.issue({ spiffeId: web, extensions }).chain);
    verify(ca.issue({ spiffeId: web, extensions: [extension('1.2.3.4', false, derOctetString())] }).chain);
  });
  test('expired, not yet valid', () => {
    refuses('expired', ca.issue({ spiffeId: web, notAfterMs: Date.now() - 62_000 }).chain);
    refuses('not-yet-valid', ca.issue({ spiffeId: web, notBeforeMs: Date.now() + 62_000 }).chain);
  });
  const keys = {
    'RSA 1024': generateKeyPairSync('rsa', { modulusLength: 1_024 }),
    'EC P-521': generateKeyPairSync('ec', { namedCurve: 'P-521' }),
    'EC secp256k1': generateKeyPairSync('ec', { namedCurve: 'secp256k1' }),
    Ed448: generateKeyPairSync('ed448'),
    X25519: generateKeyPairSync('x25519'),
    'RSA-PSS': generateKeyPairSync('rsa-pss', { modulusLength: 2_048 }),
    'RSA 2047': rsaOf(2_047),
    'RSA 8192': rsaOf(8_192),
    'RSA with the exponent 1': rsaOf(2_048, 'AQ'),
    'RSA with an even exponent': rsaOf(2_048, 'AQAA'),
    'RSA with an exponent over 32 bits': rsaOf(2_048, 'AQAAAAE'),
  };
  for (const [name, pair] of Object.entries(keys)) {
    test(`a key that is not accepted: ${name}`, () =>
      refuses('malformed-certificate', ca.issue({ spiffeId: web, keys: pair }).chain));
  }
  test('keys that are: RSA 2048, P-384, Ed25519', () => {
    verify(ca.issue({ spiffeId: web, keys: generateKeyPairSync('rsa', { modulusLength: 2_048 }) }).chain);
    verify(ca.issue({ spiffeId: web, keys: generateKeyPairSync('ec', { namedCurve: 'P-384' }) }).chain);
    verify(ca.issue({ spiffeId: web, keys: generateKeyPairSync('ed25519') }).chain);
  });
  test('revoked by serial, by signer, by ID', () => {
    const svid = ca.issue({ spiffeId: web });
    for (const what of [svid.serialHex, web]) {
      const source = staticTrust(ca.bundle);
      source.revoke(what);
      refuses('revoked', svid.chain, source);
    }
    const signer = ca.root.intermediate({ serialHex: '7abc' });
    const source = staticTrust(ca.bundle);
    source.revoke('7abc');
    refuses('revoked', signer.issue({ spiffeId: web }).chain, source);
  });
});

describe('a wrong chain', () => {
  test('nothing, garbage, too many, too large', () => {
    refuses('no-certificate', []);
    refuses('malformed-certificate', [Buffer.from('garbage')]);
    const { chain } = ca.issue({ spiffeId: web });
    refuses('too-many-certificates', [...chain, ...Array.from({ length: 15 }, () => ca.certificate)]);
    refuses('certificate-too-large', [new Uint8Array(16_385)]);
  });
  test("a leaf that names one trust domain under another's root", () => {
    refuses('untrusted-root', other.issue({ spiffeId: web }).chain);
    refuses('untrusted-root', ca.issue({ spiffeId: 'spiffe://other.test/ns/default/dc/dc1/svc/web' }).chain);
  });
  test('a trust domain that is not known, and one whose bundle is empty', () => {
    refuses('unknown-trust-domain', makeCa('third.test').issue({ spiffeId: 'spiffe://third.test/svc/web' }).chain);
    refuses('untrusted-root', ca.issue({ spiffeId: web }).chain, staticTrust({ ...ca.bundle, x509Authorities: [] }));
  });
  test('foreign root that is sent along, self-signed', () => {
    const foreign = makeCa('mesh.test');
    refuses('untrusted-root', [...foreign.issue({ spiffeId: web }).chain, foreign.root.certificate]);
    refuses('not-an-svid', [makeCa('mesh.test', { uris: [web] }).root.certificate]);
    const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const self = makeCa('mesh.test', {
      uris: [web],
      isCa: false,
      keyUsage: [usage.digitalSignature],
      sanCritical: true,
      keys,
    });
    refuses('untrusted-root', [self.root.certificate]);
  });
  test('a root of the same name with another key', () => {
    const twin = makeCa('mesh.test', { commonName: 'twin' });
    const evil = makeCa('mesh.test', { commonName: 'twin' });
    refuses('bad-signature', evil.issue({ spiffeId: web }).chain, staticTrust(twin.bundle));
  });
  test('a leaf signed by a leaf', () => {
    const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const leafAsSigner = ca.root.intermediate({ uris: [web], isCa: false, keyUsage: [usage.digitalSignature], keys });
    refuses('signer-not-ca', leafAsSigner.issue({ spiffeId: web }).chain);
  });
  test('an intermediate that is no CA, lacks keyCertSign, is expired, not yet valid, limited by EKU', () => {
    const below = (recipe: Recipe) => ca.root.intermediate(recipe).issue({ spiffeId: web }).chain;
    refuses('signer-not-ca', below({ isCa: false }));
    refuses('signer-not-ca', below({ keyUsage: [usage.crlSign] }));
    refuses('signer-not-ca', below({ keyUsage: null }));
    refuses('signer-expired', below({ notAfterMs: Date.now() - 62_000 }));
    refuses('signer-not-yet-valid', below({ notBeforeMs: Date.now() + 62_000 }));
    refuses('signer-eku', below({ extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'] }));
    verify(below({ extendedKeyUsage: ['2.5.29.37.0'] }));
  });
  test('an expired root', () => {
    const old = makeCa('mesh.test', { notAfterMs: Date.now() - 62_000 });
    refuses('signer-expired', old.issue({ spiffeId: web }).chain, staticTrust(old.bundle));
  });
  test('longer than a signer allows, longer than five', () => {
    refuses('path-length', ca.intermediate().issue({ spiffeId: web }).chain);
    refuses(
      'chain-too-long',
      ca.root.intermediate().intermediate().intermediate().intermediate().issue({ spiffeId: web }).chain,
    );
  });
  test('outside of the name constraints of a signer', () => {
    const uri = (host: string) => derSequence(derValue(contextTag(6), Buffer.from(host)));
    const below = (value: Uint8Array) =>
      ca.root.intermediate({ uris: [], extensions: [extension('2.5.29.30', true, value)] }).issue({ spiffeId: web })
        .chain;
    verify(below(derSequence(derExplicit(0, uri('mesh.test')))));
    verify(below(derSequence(derExplicit(0, uri('.test')))));
    refuses('name-constraints', below(derSequence(derExplicit(0, uri('other.test')))));
    refuses('name-constraints', below(derSequence(derExplicit(1, uri('mesh.test')))));
  });
  test('many signers of one name cost a bounded number of signatures', () => {
    const twins = Array.from({ length: 14 }, () => ca.root.intermediate({ commonName: 'twin' }));
    const odd = makeCa('mesh.test').root.intermediate({ commonName: 'twin' });
    const [leaf] = odd.issue({ spiffeId: web }).chain;
    assert.ok(leaf !== undefined);
    refuses('bad-signature', [leaf, ...twins.map((twin) => twin.certificate)]);
  });
});

/** A public RSA key of this size, to which nobody has the private half. */
function rsaOf(bits: number, e = 'AQAB') {
  const modulus = Buffer.alloc(Math.ceil(bits / 8), 0xa5);
  modulus[0] = 1 << ((bits - 1) % 8);
  return { publicKey: createPublicKey({ key: { kty: 'RSA', n: modulus.toString('base64url'), e }, format: 'jwk' }) };
}

function publicKeyOf(privateKey: KeyObject) {
  return createPublicKey(privateKey);
}
