import 'reflect-metadata';
import assert from 'node:assert/strict';
import { X509Certificate as NodeCertificate, webcrypto } from 'node:crypto';
import { test } from 'node:test';
import * as x509 from '@peculiar/x509';
import fc from 'fast-check';
import { isMeshError } from './errors/mesh-error.ts';
import { readCertificate, svidIdOf } from './svid-leaf.ts';

/** Certificates are made by another implementation than the one that reads them. */
const ec = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const keys = await webcrypto.subtle.generateKey(ec, true, ['sign', 'verify']);

const uri = (value: string): x509.JsonGeneralName => ({ type: 'url', value });
const web = 'spiffe://mesh.test/ns/default/dc/dc1/svc/web';
const usage = x509.KeyUsageFlags;
const { serverAuth, clientAuth, emailProtection } = x509.ExtendedKeyUsage;

interface Shape {
  readonly names?: readonly x509.JsonGeneralName[];
  readonly sanCritical?: boolean;
  readonly subject?: string;
  readonly ca?: boolean | undefined;
  readonly usage?: number | undefined;
  readonly usageCritical?: boolean;
  readonly purposes?: readonly string[] | undefined;
  readonly more?: readonly x509.Extension[];
}

async function certificate(shape: Shape = {}): Promise<Uint8Array> {
  const all = {
    names: [uri(web)],
    sanCritical: true,
    subject: '',
    ca: false,
    usage: usage.digitalSignature,
    usageCritical: true,
    purposes: [serverAuth, clientAuth],
    more: [],
    ...shape,
  };
  const made = await x509.X509CertificateGenerator.create({
    serialNumber: '00d1ff01',
    subject: all.subject,
    issuer: 'CN=issuer',
    notBefore: new Date('2026-11-23T10:00:00Z'),
    notAfter: new Date('2026-11-23T14:00:00Z'),
    publicKey: keys.publicKey,
    signingKey: keys.privateKey,
    signingAlgorithm: ec,
    extensions: [
      ...(all.names.length > 0 ? [new x509.SubjectAlternativeNameExtension([...all.names], all.sanCritical)] : []),
      ...(all.ca === undefined ? [] : [new x509.BasicConstraintsExtension(all.ca, undefined, true)]),
      ...(all.usage === undefined ? [] : [new x509.KeyUsagesExtension(all.usage, all.usageCritical)]),
      ...(all.purposes === undefined ? [] : [new x509.ExtendedKeyUsageExtension([...all.purposes])]),
      ...all.more,
    ],
  });
  return new Uint8Array(made.rawData);
}

test('the facts of a leaf are what its maker and OpenSSL say', async () => {
  const der = await certificate({
    names: [uri(web), { type: 'dns', value: 'web.mesh' }, { type: 'ip', value: '10.0.0.1' }],
    subject: 'CN=web',
    sanCritical: false,
  });
  const facts = readCertificate(der);
  const openssl = new NodeCertificate(der);
  assert.deepEqual(facts.uriSans, [web]);
  assert.deepEqual(facts.dnsSans, ['web.mesh']);
  assert.equal(facts.otherSanCount, 1);
  assert.equal(facts.isCa, false);
  assert.deepEqual(facts.keyUsage, { digitalSignature: true, keyCertSign: false, crlSign: false });
  assert.deepEqual(facts.extendedKeyUsage, [serverAuth, clientAuth]);
  assert.equal(facts.notBeforeMs, Date.parse('2026-11-23T10:00:00Z'));
  assert.equal(facts.notAfterMs, openssl.validToDate.getTime());
  assert.equal(facts.serialHex, openssl.serialNumber.toLowerCase());
  assert.equal(facts.serialHex, 'd1ff01');
  assert.deepEqual(Buffer.from(facts.spkiDer), openssl.publicKey.export({ type: 'spki', format: 'der' }));
  assert.equal(facts.subjectEmpty, false);
  assert.equal(facts.sanCritical, false);
  assert.equal(svidIdOf(facts), web);
});

const { digitalSignature, keyCertSign, cRLSign, keyEncipherment, keyAgreement } = usage;
const accepted: readonly (readonly [string, Shape])[] = [
  ['as we issue it', {}],
  ['no basicConstraints', { ca: undefined }],
  ['no EKU', { purposes: undefined }],
  ['EKU with one more', { purposes: [serverAuth, clientAuth, emailProtection] }],
  ['subject and SAN not critical', { subject: 'CN=web', sanCritical: false }],
  ['keyEncipherment and keyAgreement', { usage: digitalSignature | keyEncipherment | keyAgreement }],
  ['DNS names beside the ID', { names: [{ type: 'dns', value: 'a' }, uri(web), { type: 'dns', value: 'b' }] }],
];
const refused: readonly (readonly [string, Shape, RegExp])[] = [
  ['no SAN', { names: [] }, /no URI SAN/],
  ['only DNS names', { names: [{ type: 'dns', value: 'web' }] }, /no URI SAN/],
  ['two URI SANs', { names: [uri(web), uri('spiffe://mesh.test/b')] }, /more than one URI SAN/],
  ['the same URI twice', { names: [uri(web), uri(web)] }, /more than one URI SAN/],
  ['another URI beside it', { names: [uri(web), uri('https://mesh.test')] }, /more than one URI SAN/],
  ['ID without path', { names: [uri('spiffe://mesh.test')] }, /must have a path/],
  ['ID of another scheme', { names: [uri('https://mesh.test/web')] }, /scheme is missing or invalid/],
  ['ID with a query', { names: [uri(`${web}?x=1`)] }, /path segment characters/],
  ['the ID and one of another trust domain', { names: [uri(web), uri('spiffe://other.test/x')] }, /more than one URI/],
  ['an empty URI', { names: [uri('')] }, /cannot be empty/],
  ['ID with an upper-case scheme', { names: [uri('SPIFFE://mesh.test/web')] }, /scheme is missing or invalid/],
  ['ID with an upper-case trust domain', { names: [uri('spiffe://Mesh.test/web')] }, /trust domain characters/],
  ['ID without trust domain', { names: [uri('spiffe:///web')] }, /trust domain is missing/],
  ['ID with a port', { names: [uri('spiffe://mesh.test:80/web')] }, /trust domain characters/],
  ['ID with a user', { names: [uri('spiffe://web@mesh.test/web')] }, /trust domain characters/],
  ['ID with a fragment', { names: [uri(`${web}#x`)] }, /path segment characters/],
  ['ID with percent-encoding', { names: [uri('spiffe://mesh.test/w%65b')] }, /path segment characters/],
  ['ID with an empty segment', { names: [uri('spiffe://mesh.test//web')] }, /empty segments/],
  ['ID with a slash at its end', { names: [uri(`${web}/`)] }, /trailing slash/],
  ['root path', { names: [uri('spiffe://mesh.test/')] }, /trailing slash/],
  ['ID over 2048 bytes', { names: [uri(`spiffe://mesh.test/${'x'.repeat(2_030)}`)] }, /longer than 2048/],
  ['ID with dot segments', { names: [uri('spiffe://mesh.test/a/../b')] }, /dot segments/],
  ['empty subject, SAN not critical', { sanCritical: false }, /SAN must be critical/],
  ['CA flag', { ca: true }, /CA flag/],
  ['no key usage', { usage: undefined }, /must have the key usage/],
  ['key usage not critical', { usageCritical: false }, /must be critical/],
  ['keyCertSign', { usage: digitalSignature | keyCertSign }, /keyCertSign/],
  ['cRLSign', { usage: digitalSignature | cRLSign }, /cRLSign/],
  ['no digitalSignature', { usage: keyEncipherment }, /digitalSignature/],
  ['no usage at all but the extension', { usage: 0 }, /digitalSignature|padding|BIT STRING/],
  ['CA that may sign', { ca: true, usage: digitalSignature | keyCertSign | cRLSign }, /CA flag/],
  ['EKU of any use only', { purposes: ['2.5.29.37.0'] }, /serverAuth/],
  ['EKU of neither use', { purposes: [emailProtection] }, /serverAuth/],
  ['EKU without clientAuth', { purposes: [serverAuth] }, /clientAuth/],
  ['EKU without serverAuth', { purposes: [clientAuth] }, /serverAuth/],
  [
    'an extension twice',
    { more: [new x509.KeyUsagesExtension(digitalSignature, true)] },
    /extension 2\.5\.29\.15 twice/,
  ],
];

test('every rule of the X509-SVID leaf table', async (t) => {
  for (const [name, shape] of accepted) {
    await t.test(name, async () => assert.ok(svidIdOf(readCertificate(await certificate(shape)))));
  }
  for (const [name, shape, flaw] of refused) {
    await t.test(name, async () => {
      const der = await certificate(shape);
      assert.throws(
        () => svidIdOf(readCertificate(der)),
        (error) => isMeshError(error, 'SLV-5003') && flaw.test(error.message),
      );
    });
  }
});

test('a NUL or a high byte in a name refuses the certificate: C would read another name', async () => {
  for (const value of ['web.mesh\u0000.evil', 'w\u00e9b']) {
    const der = await certificate({ names: [uri(web), { type: 'dns', value }] });
    assert.throws(() => readCertificate(der), /not IA5/);
  }
});

test('property: a certificate that is cut short or changed is read or refused, and never read as two things', async () => {
  const der = await certificate({ names: [uri(web), { type: 'dns', value: 'web.mesh' }] });
  for (let length = 0; length < der.length; length++) {
    assert.throws(() => readCertificate(der.subarray(0, length)), isUnreadable, `cut at ${length}`);
  }
  assert.throws(() => readCertificate(Buffer.concat([der, Buffer.of(0)])), isUnreadable);
  const edits = fc.array(fc.tuple(fc.nat(der.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(edits, (changes) => {
      const changed = Uint8Array.from(der);
      for (const [at, octet] of changes) changed[at] = octet;
      try {
        readCertificate(changed);
      } catch (error) {
        assert.ok(isUnreadable(error), String(error));
        return;
      }
    }),
    { numRuns: 3_000 },
  );
});

test('property: where our reader and OpenSSL both read a changed certificate, they read the same names', async () => {
  const der = await certificate({ subject: 'CN=web', names: [uri(web)] });
  const sanAt = Buffer.from(der).indexOf(web);
  const near = fc.tuple(fc.integer({ min: sanAt - 16, max: sanAt + web.length }), fc.nat(255));
  fc.assert(
    fc.property(near, ([at, octet]) => {
      const changed = Uint8Array.from(der);
      changed[at] = octet;
      let id: string;
      try {
        id = svidIdOf(readCertificate(changed));
      } catch (error) {
        assert.ok(isUnreadable(error), String(error));
        return;
      }
      assert.equal(new NodeCertificate(changed).subjectAltName, `URI:${id}`);
    }),
    { numRuns: 2_000 },
  );
});

function isUnreadable(error: unknown): boolean {
  return isMeshError(error, 'SLV-5003');
}
