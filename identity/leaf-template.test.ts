import 'reflect-metadata';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes, X509Certificate } from 'node:crypto';
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
import { keyIdentifier, type LeafFields, makeLeaf, serialNumber } from './leaf-template.ts';
import { goodKeyKinds, testKey } from './testing/forge-request.ts';
import { makeIssuingCa, makeRoot } from './x509-authority.ts';

const trustDomain = parseTrustDomain('mesh.test');
const nowMs = Date.now();
const life = { trustDomain, notBeforeMs: nowMs - 30_000, notAfterMs: Date.UTC(2060, 0, 1), randomBytes };
const root = await makeRoot(life);
const issuing = await makeIssuingCa(life, root);
const link = readCertificateLink(issuing.certificateDer);
const signer = { subjectDer: link.subject, keyId: keyIdentifier(link.facts.spkiDer), key: issuing.key };
const spkis = goodKeyKinds.map((kind) => testKey(kind).publicKey.export({ format: 'der', type: 'spki' }));
const [spkiDer = Buffer.alloc(0)] = spkis;
const seconds = (ms: number): number => Math.floor(ms / 1_000) * 1_000;
const longestId = parseSpiffeId(`spiffe://mesh.test/${'x'.repeat(2_048 - 19)}`);
const spiffeId = parseSpiffeId('spiffe://mesh.test/ns/default/dc/dc1/svc/web');

/** What may vary, in all its shapes: each key kind, no, one and several DNS names, the longest ID, lives to both sides of 2050. */
const shapes: readonly LeafFields[] = spkis.flatMap((spkiDer, at) => {
  const dnsNames = [[], ['web.example.com'], ['a.test', `${'b'.repeat(63)}.test`, 'c.d.e.f.test']];
  return dnsNames.map((dnsSans, turn) => ({
    spkiDer,
    spiffeId: turn === 2 ? longestId : spiffeId,
    dnsSans,
    serial: serialNumber(randomBytes),
    ...[
      { notBeforeMs: seconds(nowMs - 30_000), notAfterMs: seconds(nowMs + 60_000) },
      { notBeforeMs: seconds(nowMs), notAfterMs: seconds(nowMs + 86_400_000) },
      { notBeforeMs: Date.UTC(2049, 11, 31, 23, 59, 59), notAfterMs: Date.UTC(2050, 0, 1) },
    ][(at + turn) % 3],
  })) as LeafFields[];
});

const signing = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

/** The same leaf by @peculiar/x509. */
function theirLeaf(fields: LeafFields): Promise<x509.X509Certificate> {
  const names: x509.JsonGeneralName[] = [
    { type: 'url', value: fields.spiffeId },
    ...fields.dnsSans.map((value): x509.JsonGeneralName => ({ type: 'dns', value })),
  ];
  return x509.X509CertificateGenerator.create({
    serialNumber: Buffer.from(fields.serial).toString('hex'),
    subject: '',
    issuer: new x509.X509Certificate(issuing.certificateDer).subjectName,
    notBefore: new Date(fields.notBeforeMs),
    notAfter: new Date(fields.notAfterMs),
    signingAlgorithm: signing,
    publicKey: new x509.PublicKey(fields.spkiDer),
    signingKey: issuing.key.toCryptoKey(signing, false, ['sign']),
    extensions: [
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.SubjectKeyIdentifierExtension(Buffer.from(keyIdentifier(fields.spkiDer)).toString('hex')),
      new x509.AuthorityKeyIdentifierExtension(Buffer.from(signer.keyId).toString('hex')),
      new x509.SubjectAlternativeNameExtension(names, true),
    ],
  });
}

const signedPart = (certificate: x509.X509Certificate): Buffer =>
  Buffer.from(openDer(new Uint8Array(certificate.rawData)).readWhole(derTag.sequence));

async function requireSame(fields: LeafFields): Promise<void> {
  const ours = new x509.X509Certificate(await makeLeaf(signer, fields));
  assert.deepEqual(signedPart(ours), signedPart(await theirLeaf(fields)));
  const publicKey = new x509.X509Certificate(issuing.certificateDer);
  assert.equal(await ours.verify({ publicKey, signatureOnly: true }), true);
}

test('the same leaf made by @peculiar/x509 has the same signed part, byte for byte', async () => {
  assert.equal(shapes.length, 15);
  for (const fields of shapes) await requireSame(fields);
});

test('property: so has any other', async () => {
  const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/);
  const segment = fc.stringMatching(/^[A-Za-z0-9_-]{1,40}$/);
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...spkis),
      fc.array(segment, { minLength: 1, maxLength: 8 }),
      fc.uniqueArray(
        fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.')),
        { maxLength: 6 },
      ),
      fc.uint8Array({ minLength: 17, maxLength: 17 }),
      fc.integer({ min: 0, max: 4_000_000_000 }),
      fc.integer({ min: 60, max: 86_400 }),
      (key, path, dnsSans, random, fromSeconds, lifeSeconds) =>
        requireSame({
          spkiDer: key,
          spiffeId: parseSpiffeId(`spiffe://mesh.test/${path.join('/')}`),
          dnsSans,
          serial: serialNumber(() => random),
          notBeforeMs: fromSeconds * 1_000,
          notAfterMs: (fromSeconds + lifeSeconds) * 1_000,
        }),
    ),
    { numRuns: 60 },
  );
});

test('OpenSSL verifies each for both uses, and reads what was meant', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'selvedge-leaf-'));
  try {
    const file = (name: string, der: Uint8Array): string => {
      writeFileSync(join(folder, name), toPem('CERTIFICATE', der));
      return join(folder, name);
    };
    const roots = ['-CAfile', file('root', root.certificateDer), '-untrusted', file('issuing', issuing.certificateDer)];
    // OpenSSL is told of a time within the life of each; one call takes all leaves of one life.
    for (const [atSeconds, ofOneLife] of Map.groupBy(shapes, ({ notBeforeMs }) => notBeforeMs / 1_000)) {
      const leaves = await Promise.all(ofOneLife.map((fields) => makeLeaf(signer, fields)));
      const files = leaves.map((der, at) => file(`leaf-${atSeconds}-${at}`, der));
      for (const purpose of ['sslserver', 'sslclient']) {
        const args = ['verify', '-x509_strict', '-attime', String(atSeconds), '-purpose', purpose, ...roots, ...files];
        const said = execFileSync('openssl', args).toString();
        assert.equal(said.match(/: OK/g)?.length, files.length, said);
      }
      // The first of each life: they are of different names.
      const [fields = assert.fail('none')] = ofOneLife;
      const text = execFileSync('openssl', ['x509', '-in', files[0] ?? '', '-noout', '-text'])
        .toString()
        .replace(/\s+/g, ' ');
      assert.match(text, /Subject: X509v3|Subject: Subject Public Key/);
      assert.match(
        text,
        /X509v3 Key Usage: critical Digital Signature X509v3 Extended Key Usage: TLS Web Server Authentication, TLS Web Client Authentication/,
      );
      assert.match(text, /X509v3 Basic Constraints: critical CA:FALSE/);
      const names = [`URI:${fields.spiffeId}`, ...fields.dnsSans.map((name) => `DNS:${name}`)].join(', ');
      assert.ok(text.includes(`X509v3 Subject Alternative Name: critical ${names} Signature Algorithm`), text);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('whatever varies comes back from our strict reader and from OpenSSL as it went in', async () => {
  const segment = fc.stringMatching(/^[A-Za-z0-9_-]{1,40}$/);
  const day = fc.integer({ min: 0, max: 40_000 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(segment, { minLength: 1, maxLength: 8 }),
      day,
      fc.uint8Array({ minLength: 17, maxLength: 17 }),
      async (path, fromDay, random) => {
        const id = parseSpiffeId(`spiffe://mesh.test/${path.join('/')}`);
        const serial = serialNumber(() => random);
        const notBeforeMs = fromDay * 86_400_000;
        const der = await makeLeaf(signer, {
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
