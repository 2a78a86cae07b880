import 'reflect-metadata';
import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, X509Certificate as NodeCertificate, webcrypto } from 'node:crypto';
import { before, test } from 'node:test';
import * as x509 from '@peculiar/x509';
import { isMeshError } from './errors/mesh-error.ts';
import { readJwtAuthority } from './jwt-authority.ts';
import { parseTrustDomain } from './spiffe-id.ts';
import { formatSpiffeBundle, parseSpiffeBundle } from './trust-bundle.ts';

const trustDomain = parseTrustDomain('mesh.test');
const algorithms = {
  'P-256': { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  'P-384': { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' },
  'P-521': { name: 'ECDSA', namedCurve: 'P-521', hash: 'SHA-512' },
  RSA: { name: 'RSASSA-PKCS1-v1_5', modulusLength: 2_048, publicExponent: Uint8Array.of(1, 0, 1), hash: 'SHA-256' },
  Ed25519: { name: 'Ed25519' },
} as const;
const roots = new Map<string, Uint8Array>();

before(async () => {
  for (const [name, algorithm] of Object.entries(algorithms)) {
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    if (!('privateKey' in keys)) throw new Error('not a pair');
    const root = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: '01',
      name: `CN=root ${name}`,
      notBefore: new Date('2026-01-01T00:00:00Z'),
      notAfter: new Date('2036-01-01T00:00:00Z'),
      keys,
      signingAlgorithm: algorithm,
      extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
    });
    roots.set(name, new Uint8Array(root.rawData));
  }
});

const jwtAuthorities = ['P-256', 'P-384', 'P-521'].flatMap((namedCurve) => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve });
  return readJwtAuthority({ ...publicKey.export({ format: 'jwk' }), kid: namedCurve }) ?? [];
});

test('a bundle reads back as it was written, with keys of every kind, each JWK the key of its certificate', () => {
  const bundle = {
    trustDomain,
    sequence: 7,
    refreshHintSeconds: 60,
    x509Authorities: [...roots.values()],
    jwtAuthorities,
  };
  const document = JSON.parse(JSON.stringify(formatSpiffeBundle(bundle)));
  assert.deepEqual(parseSpiffeBundle(trustDomain, document), bundle);
  for (const key of document.keys.filter(({ use }: { use: string }) => use === 'x509-svid')) {
    assert.equal(key.kid, undefined);
    const fromJwk = createPublicKey({ key, format: 'jwk' }).export({ type: 'spki', format: 'der' });
    const fromCertificate = new NodeCertificate(Buffer.from(key.x5c[0], 'base64')).publicKey;
    assert.deepEqual(fromJwk, fromCertificate.export({ type: 'spki', format: 'der' }));
  }
});

test('a JWT key that can verify nothing is no authority; private members are left behind', () => {
  const [good] = jwtAuthorities;
  const jwk = { use: 'jwt-svid', kid: 'k', ...good?.jwk };
  const keys = [
    { ...jwk, d: 'AAAA', alg: 'ES256' },
    { ...jwk, kid: undefined },
    { ...jwk, kid: '' },
    { ...jwk, kid: 'long'.repeat(65) },
    { ...jwk, kid: 'a', crv: 'P-224' },
    { ...jwk, kid: 'b', x: 'AA' },
    { ...jwk, kid: 'c', x: `${good?.jwk.kty === 'EC' ? good.jwk.x : ''}=` },
    { ...jwk, kid: 'd', kty: 'OKP', crv: 'Ed25519' },
    { use: 'jwt-svid', kid: 'e', kty: 'oct', k: 'AAAA' },
    { use: 'jwt-svid', kid: 'f', kty: 'RSA', n: 'AAAA', e: 'AQAB' },
  ];
  assert.deepEqual(parseSpiffeBundle(trustDomain, { keys }).jwtAuthorities, [{ kid: 'k', jwk: good?.jwk }]);
});

test('a sequence of 64 bits and a hint of years are whole numbers, and count as the largest that is kept', () => {
  const document = JSON.parse('{"keys":[],"spiffe_sequence":16238269036752183483,"spiffe_refresh_hint":40000000}');
  const { sequence, refreshHintSeconds } = parseSpiffeBundle(trustDomain, document);
  assert.deepEqual([sequence, refreshHintSeconds], [Number.MAX_SAFE_INTEGER, 31_536_000]);
});

const rootX5c = () => Buffer.from(roots.get('P-256') ?? []).toString('base64');

test('what SPIFFE says to ignore is ignored', () => {
  const x5c = [rootX5c()];
  const parsed = parseSpiffeBundle(trustDomain, {
    keys: [
      { kty: 'EC', use: 'jwt-svid', kid: 'a', crv: 'P-256', x: 'AA', y: 'AA' },
      { kty: 'EC', use: 'wit-svid', kid: 'b' },
      { kty: 'EC', x5c },
      { kty: 'EC', use: 'enc', x5c },
      { kty: 'oct', use: 'x509-svid', x5c },
      { use: 'x509-svid', x5c },
      'nonsense',
      { kty: 'EC', use: 'x509-svid', x5c, unknown: 1 },
    ],
    unknown: true,
  });
  assert.equal(parsed.x509Authorities.length, 1);
  assert.equal(parsed.sequence, 0);
  assert.equal(parsed.refreshHintSeconds, 300);
});

test('no keys is a bundle that trusts nobody', () => {
  assert.deepEqual(parseSpiffeBundle(trustDomain, { keys: [] }).x509Authorities, []);
});

test('what is no bundle is refused by name', () => {
  const key = (x5c: unknown) => ({ keys: [{ kty: 'EC', use: 'x509-svid', x5c }] });
  for (const [document, flaw] of [
    [null, /document/],
    [[], /document/],
    [{}, /keys/],
    [{ keys: {} }, /keys/],
    [{ keys: [], spiffe_sequence: '1' }, /spiffe_sequence/],
    [{ keys: [], spiffe_sequence: -1 }, /spiffe_sequence/],
    [{ keys: [], spiffe_sequence: 1.5 }, /spiffe_sequence/],
    [{ keys: [], spiffe_refresh_hint: 1.5 }, /spiffe_refresh_hint/],
    [{ keys: new Array(257).fill({}) }, /keys/],
    [key(undefined), /keys\.0\.x5c must hold exactly one/],
    [key([]), /exactly one/],
    [key([rootX5c(), rootX5c()]), /exactly one/],
    [key([rootX5c().replaceAll('+', '-').replaceAll('/', '_').replace(/=*$/, '-')]), /exactly one/],
    [key(['AAAA']), /is not a certificate/],
    [key([rootX5c().slice(0, 100)]), /is not a certificate/],
  ] as const) {
    assert.throws(
      () => parseSpiffeBundle(trustDomain, document),
      (error) => isMeshError(error, 'SLV-5006') && flaw.test(error.message),
      String(flaw),
    );
  }
});
