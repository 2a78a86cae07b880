import 'reflect-metadata';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as x509 from '@peculiar/x509';
import fc from 'fast-check';
import { derTag, openDer } from '#policies/der.ts';
import { toPem } from '#policies/der-writer.ts';
import { parseSpiffeId, parseTrustDomain } from '#policies/spiffe-id.ts';
import { readCertificate, svidIdOf } from '#policies/svid-leaf.ts';
import { readCertificateLink } from '#runtime/svid/certificate-link.ts';
import { keyIdentifier, makeLeaf, serialNumber } from './leaf-template.ts';
import { makeIssuingCa, makeRoot } from './x509-authority.ts';

const trustDomain = parseTrustDomain('mesh.test');
const nowMs = Date.now();
const life = { trustDomain, notBeforeMs: nowMs - 30_000, notAfterMs: nowMs + 86_400_000 * 3_650, randomBytes };
const root = await makeRoot(life);
const issuing = await makeIssuingCa(life, root);
const link = readCertificateLink(issuing.certificateDer);
const signer = { subjectDer: link.subject, keyId: keyIdentifier(link.facts.spkiDer), key: issuing.key };
const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const spkiDer = publicKey.export({ format: 'der', type: 'spki' });
const spiffeId = parseSpiffeId('spiffe://mesh.test/ns/default/dc/dc1/svc/web');

test('the same leaf made by @peculiar/x509 has the same signed part, byte for byte', async () => {
  const serial = serialNumber(randomBytes);
  const seconds = (ms: number): number => Math.floor(ms / 1_000) * 1_000;
  const fields = {
    spkiDer,
    spiffeId,
    dnsSans: [],
    serial,
    notBeforeMs: seconds(nowMs),
    notAfterMs: seconds(nowMs + 3_600_000),
  };
  const ours = new x509.X509Certificate(makeLeaf(signer, fields));
  const signing = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const theirs = await x509.X509CertificateGenerator.create({
    serialNumber: Buffer.from(serial).toString('hex'),
    subject: '',
    issuer: new x509.X509Certificate(issuing.certificateDer).subjectName,
    notBefore: new Date(fields.notBeforeMs),
    notAfter: new Date(fields.notAfterMs),
    signingAlgorithm: signing,
    publicKey: publicKey.toCryptoKey(signing, true, ['verify']),
    signingKey: issuing.key.toCryptoKey(signing, false, ['sign']),
    extensions: [
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.SubjectKeyIdentifierExtension(Buffer.from(keyIdentifier(spkiDer)).toString('hex')),
      new x509.AuthorityKeyIdentifierExtension(Buffer.from(signer.keyId).toString('hex')),
      new x509.SubjectAlternativeNameExtension([{ type: 'url', value: spiffeId }], true),
    ],
  });
  const signedPart = (certificate: x509.X509Certificate): Buffer =>
    Buffer.from(openDer(new Uint8Array(certificate.rawData)).readWhole(derTag.sequence));
  assert.deepEqual(signedPart(ours), signedPart(theirs));
  assert.equal(
    await ours.verify({ publicKey: new x509.X509Certificate(issuing.certificateDer), date: new Date(nowMs + 1_000) }),
    true,
  );
});

test('OpenSSL verifies the chain for both uses and reads what was meant', () => {
  const folder = mkdtempSync(join(tmpdir(), 'selvedge-leaf-'));
  try {
    const leaf = makeLeaf(signer, {
      spkiDer,
      spiffeId,
      dnsSans: [],
      serial: serialNumber(randomBytes),
      notBeforeMs: nowMs - 30_000,
      notAfterMs: nowMs + 60_000,
    });
    const file = (name: string, der: Uint8Array): string => {
      writeFileSync(join(folder, name), toPem('CERTIFICATE', der));
      return join(folder, name);
    };
    const leafFile = file('leaf', leaf);
    for (const purpose of ['sslserver', 'sslclient']) {
      const args = ['verify', '-x509_strict', '-purpose', purpose, '-CAfile', file('root', root.certificateDer)];
      const said = execFileSync('openssl', [
        ...args,
        '-untrusted',
        file('issuing', issuing.certificateDer),
        leafFile,
      ]).toString();
      assert.match(said, /: OK/);
    }
    const text = execFileSync('openssl', ['x509', '-in', leafFile, '-noout', '-text']).toString().replace(/\s+/g, ' ');
    assert.match(text, /Subject: X509v3|Subject: Subject Public Key/);
    assert.match(
      text,
      /X509v3 Key Usage: critical Digital Signature X509v3 Extended Key Usage: TLS Web Server Authentication, TLS Web Client Authentication/,
    );
    assert.match(text, /X509v3 Basic Constraints: critical CA:FALSE/);
    assert.match(
      text,
      /X509v3 Subject Alternative Name: critical URI:spiffe:\/\/mesh\.test\/ns\/default\/dc\/dc1\/svc\/web X509v3|critical URI:\S+ Signature Algorithm/,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('whatever varies comes back from our strict reader and from OpenSSL as it went in', () => {
  const segment = fc.stringMatching(/^[A-Za-z0-9_-]{1,40}$/);
  const day = fc.integer({ min: 0, max: 40_000 });
  fc.assert(
    fc.property(
      fc.array(segment, { minLength: 1, maxLength: 8 }),
      day,
      fc.uint8Array({ minLength: 17, maxLength: 17 }),
      (path, fromDay, random) => {
        const id = parseSpiffeId(`spiffe://mesh.test/${path.join('/')}`);
        const serial = serialNumber(() => random);
        const notBeforeMs = fromDay * 86_400_000;
        const der = makeLeaf(signer, {
          spkiDer,
          spiffeId: id,
          dnsSans: [],
          serial,
          notBeforeMs,
          notAfterMs: notBeforeMs + 3_600_000,
        });
        const facts = readCertificate(der);
        assert.equal(svidIdOf(facts), id);
        assert.equal(facts.serialHex, Buffer.from(serial).toString('hex'));
        assert.deepEqual([facts.notBeforeMs, facts.notAfterMs], [notBeforeMs, notBeforeMs + 3_600_000]);
        assert.equal(facts.subjectEmpty && facts.sanCritical && facts.keyUsageCritical, true);
        const openssl = new X509Certificate(der);
        assert.equal(openssl.verify(readCertificateLink(issuing.certificateDer).key), true);
        assert.equal(openssl.checkIssued(new X509Certificate(issuing.certificateDer)), true);
        assert.equal(openssl.serialNumber.toLowerCase(), facts.serialHex);
      },
    ),
    { numRuns: 200 },
  );
});

test('serial numbers are positive, of constant length and all different', () => {
  const serials = new Set(Array.from({ length: 1_000 }, () => Buffer.from(serialNumber(randomBytes)).toString('hex')));
  assert.equal(serials.size, 1_000);
  for (const serial of serials) assert.match(serial, /^[4-7][0-9a-f]{33}$/);
});
