import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { derOctetString } from '#policies/der-writer.ts';
import { extension, makeCa } from '#test/mini-ca.ts';
import { SignedBundles } from '#test/signed-bundles.ts';
import { ConsulCa, consulLeaf } from './consul-ca.ts';

const nowMs = Date.parse('2026-11-23T12:00:00Z');

test('a root, in every field', async () => {
  const ca = makeCa('mesh.test', {
    commonName: 'Mesh root R1',
    serialHex: '0102e159b8d2bba6a6db0001',
    notBeforeMs: nowMs - 86_400_000,
    notAfterMs: nowMs + 10.5 * 86_400_000,
    extensions: [extension('2.5.29.14', false, derOctetString(Buffer.from('0a1b2c', 'hex')))],
  });
  const source = new SignedBundles();
  await source.publish(ca, [], 7, nowMs);
  const roots = await new ConsulCa(source).roots();
  const text = roots?.json(nowMs) ?? '';
  // Beyond what a JS number holds: the digits of the low 64 bits stand there as they are.
  const low64 = BigInt.asUintN(64, 0x0102e159b8d2bba6a6db0001n);
  assert.ok(low64 > BigInt(Number.MAX_SAFE_INTEGER));
  assert.ok(text.includes(`"SerialNumber":${low64},`), text);
  const answer = JSON.parse(text);
  const [root] = answer.Roots;
  const certificate = new X509Certificate(ca.root.certificate);
  assert.deepEqual(
    { ...answer, Roots: [{ ...root, SerialNumber: 0 }] },
    {
      ActiveRootID: certificate.fingerprint.toLowerCase(),
      TrustDomain: 'mesh.test',
      Roots: [
        {
          ID: certificate.fingerprint.toLowerCase(),
          Name: 'Mesh root R1',
          SerialNumber: 0,
          SigningKeyID: '0a:1b:2c',
          ExternalTrustDomain: '',
          NotBefore: '2026-11-22T12:00:00Z',
          NotAfter: '2026-12-04T00:00:00Z',
          DaysRemaining: 10,
          RootCert: certificate.toString(),
          IntermediateCerts: null,
          Active: true,
          PrivateKeyType: 'ec',
          PrivateKeyBits: 256,
          CreateIndex: roots?.index,
          ModifyIndex: roots?.index,
        },
      ],
    },
  );
  assert.equal(roots?.pem, certificate.toString());
});

test('RSA roots say so', async () => {
  const keys = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const source = new SignedBundles();
  const ca = makeCa('mesh.test');
  await source.publish(ca, [{ ...ca, root: makeCa('mesh.test', { keys }).root }], 1);
  const { Roots } = JSON.parse((await new ConsulCa(source).roots())?.json(nowMs) ?? '');
  assert.deepEqual(
    Roots.map((root: Record<string, unknown>) => [root['PrivateKeyType'], root['PrivateKeyBits'], root['Active']]),
    [
      ['ec', 256, true],
      ['rsa', 2_048, false],
    ],
  );
});

test('the index grows with the roots and with which one is active, and with nothing else; also over a restart', async () => {
  const [r1, r2] = [makeCa('mesh.test'), makeCa('mesh.test')];
  const source = new SignedBundles();
  const ca = new ConsulCa(source);
  assert.equal(await ca.roots(), undefined);
  const indexNow = async () => (await ca.roots())?.index ?? 0;

  await source.publish(r1, [], 100, nowMs);
  const first = await indexNow();
  assert.ok(first >= 1);
  await source.publish(r1, [], 101, nowMs + 60_000);
  assert.equal(await indexNow(), first, 'a revocation, or a bundle signed again');
  await source.publish(r1, [r2], 102, nowMs + 61_000);
  const second = await indexNow();
  assert.ok(second > first, 'a root more');
  await source.publish(r2, [r1], 102, nowMs + 61_000);
  const third = await indexNow();
  assert.ok(third > second, 'another is active, within the same second');
  await source.publish(r2, [r1], 103, nowMs + 62_000);
  assert.ok(((await new ConsulCa(source).roots())?.index ?? 0) >= third, 'a process that starts later');
});

test('a leaf, in every field, with its key as Consul writes it', () => {
  const svid = makeCa('mesh.test').issue({
    spiffeId: 'spiffe://mesh.test/ns/default/dc/dc1/svc/web',
    serialHex: 'abc123',
    notBeforeMs: nowMs,
    notAfterMs: nowMs + 3_600_000,
  });
  const leaf = JSON.parse(consulLeaf('web', svid, 42));
  assert.deepEqual(
    { ...leaf, PrivateKeyPEM: '' },
    {
      SerialNumber: 'ab:c1:23',
      CertPEM: svid.chainPem,
      PrivateKeyPEM: '',
      Service: 'web',
      ServiceURI: svid.spiffeId,
      ValidAfter: '2026-11-23T12:00:00Z',
      ValidBefore: '2026-11-23T13:00:00Z',
      CreateIndex: 42,
      ModifyIndex: 42,
    },
  );
  assert.match(leaf.PrivateKeyPEM, /^-----BEGIN EC PRIVATE KEY-----/);
  assert.ok(new X509Certificate(leaf.CertPEM).checkPrivateKey(createPrivateKey(leaf.PrivateKeyPEM)));
});
