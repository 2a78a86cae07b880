import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { readCertificate } from '#policies/certificate.ts';
import { openDer } from '#policies/der.ts';
import { derBitString, derNull, derOid, derSequence, derUtf8 } from '#policies/der-writer.ts';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { makeCa } from '#test/mini-ca.ts';
import { linkOfKnownKey, readCertificateLink } from './certificate-link.ts';
import { sideBySide, useThreads } from './side-by-side.ts';
import {
  isAcceptedAlgorithm,
  isAlgorithmOf,
  isSignedWith,
  isSignedWithSideBySide,
  readSignedDer,
  type SignedDer,
} from './signed-der.ts';

const said = derSequence(derUtf8('what is signed'));
const keys = {
  'EC P-256': generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'EC P-384': generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  Ed25519: generateKeyPairSync('ed25519'),
  RSA: generateKeyPairSync('rsa', { modulusLength: 2_048 }),
};
const ecdsa = (bits: number): string => `1.2.840.10045.4.3.${bits === 256 ? 2 : bits === 384 ? 3 : 4}`;
const rsa = (bits: number): string => `1.2.840.113549.1.1.${bits === 256 ? 11 : bits === 384 ? 12 : 13}`;

const accepted: readonly [keyof typeof keys, algorithm: string, digest: string | null][] = [
  ...[256, 384, 512].flatMap((bits): [keyof typeof keys, string, string][] => [
    ['EC P-256', ecdsa(bits), `sha${bits}`],
    ['EC P-384', ecdsa(bits), `sha${bits}`],
    ['RSA', rsa(bits), `sha${bits}`],
  ]),
  ['Ed25519', '1.3.101.112', null],
];
useThreads(true);

/** What each way to compute it says: at once, alone, and beside another order. */
async function isSigned(statement: SignedDer, key: KeyObject): Promise<boolean> {
  const verdict = isSignedWith(statement, key);
  const work = () => isSignedWithSideBySide(statement, key);
  const others = [await work(), ...(await Promise.all([sideBySide(work), sideBySide(work)]))];
  assert.deepEqual(others, [verdict, verdict, verdict]);
  return verdict;
}

for (const [type, algorithm, digest] of accepted) {
  test(`${algorithm} by ${type}: fits its bytes and its key, and nothing else`, async () => {
    const { privateKey, publicKey } = keys[type];
    const statement = { signed: said, algorithm, signature: sign(digest, said, privateKey) };
    assert.equal(await isSigned(statement, publicKey), true);
    assert.equal(await isSigned({ ...statement, signed: derSequence(derUtf8('What is signed')) }, publicKey), false);
    assert.equal(await isSigned({ ...statement, signature: new Uint8Array(3) }, publicKey), false);
    for (const [other, { publicKey: wrong }] of Object.entries(keys)) {
      if (other !== type) assert.equal(await isSigned(statement, wrong), false, other);
    }
    for (const [, other] of accepted) {
      if (other !== algorithm)
        assert.equal(await isSigned({ ...statement, algorithm: other }, publicKey), false, other);
    }
  });
}

test('no other algorithm is accepted, however well it fits', () => {
  const others: readonly [oid: string, digest: string, key: KeyObject, publicKey: KeyObject][] = [
    ['1.2.840.113549.1.1.5', 'sha1', keys.RSA.privateKey, keys.RSA.publicKey],
    ['1.2.840.113549.1.1.4', 'md5', keys.RSA.privateKey, keys.RSA.publicKey],
    ['1.2.840.10045.4.1', 'sha1', keys['EC P-256'].privateKey, keys['EC P-256'].publicKey],
    ['constructor', 'sha256', keys.RSA.privateKey, keys.RSA.publicKey],
  ];
  for (const [algorithm, digest, key, publicKey] of others) {
    assert.equal(isAcceptedAlgorithm(algorithm), false, algorithm);
    assert.equal(isAlgorithmOf(algorithm, publicKey), false, algorithm);
    assert.equal(isSignedWith({ signed: said, algorithm, signature: sign(digest, said, key) }, publicKey), false);
  }
});

test('reads what a certificate says of its signature; parameters but NULL, and a signature of odd bits, it refuses', () => {
  const algorithm = derOid(rsa(256));
  const read = (...parts: readonly Uint8Array[]) => readSignedDer(openDer(derSequence(said, ...parts)));
  for (const identifier of [derSequence(algorithm), derSequence(algorithm, derNull())]) {
    assert.equal(read(identifier, derBitString(Uint8Array.of(1, 2))).algorithm, rsa(256));
  }
  const malformed = (error: unknown) => isMeshError(error, 'SLV-5007');
  assert.throws(() => read(derSequence(algorithm, derUtf8('x')), derBitString(Uint8Array.of(1))), malformed);
  assert.throws(() => read(derSequence(algorithm), derBitString(Uint8Array.of(2), 1)), malformed);
  assert.throws(() => read(derSequence(algorithm), derBitString(Uint8Array.of(1)), derNull()), malformed);
});

test('agrees with OpenSSL about certificates: right signer, wrong signer, a bit turned over', () => {
  const [ca, impostor] = [makeCa('mesh.test'), makeCa('mesh.test')];
  const [leaf = new Uint8Array()] = ca.issue({ spiffeId: 'spiffe://mesh.test/web' }).chain;
  const turned = Uint8Array.from(leaf);
  // Within the serial number: the certificate can still be read.
  turned[16] = (turned[16] ?? 0) ^ 1;
  for (const der of [leaf, turned]) {
    for (const signer of [ca, impostor].map(({ certificate }) => readCertificateLink(certificate))) {
      assert.equal(
        isSignedWith(readCertificateLink(der).signature, signer.key),
        new X509Certificate(der).verify(signer.key),
      );
    }
  }
  assert.equal(isSignedWith(readCertificateLink(leaf).signature, readCertificateLink(ca.certificate).key), true);
});

test('a certificate for another key than the known one is refused', () => {
  const { publicKey } = keys['EC P-256'];
  const [der = new Uint8Array()] = makeCa('mesh.test').issue({ spiffeId: 'spiffe://mesh.test/web' }).chain;
  const facts = readCertificate(der);
  const spkiDer = publicKey.export({ format: 'der', type: 'spki' });
  assert.throws(
    () => linkOfKnownKey(der, facts, { spkiDer, key: publicKey }),
    (error) => isMeshError(error, 'SLV-5003'),
  );
});
