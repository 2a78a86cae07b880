import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toPem } from '#policies/der-writer.ts';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { extension, makeCa } from '#test/mini-ca.ts';
import { readSignedChain } from './issuer.ts';

const ca = makeCa('mesh.test');
const spiffeId = 'spiffe://mesh.test/ns/default/dc/dc1/svc/web';
const pem = (der: Uint8Array | undefined): string => toPem('CERTIFICATE', der ?? new Uint8Array());
const good = ca.issue({ spiffeId }).chain[0];
/** Which OpenSSL reads, and our reader does not. */
const odd = ca.issue({ spiffeId, extensions: [extension('2.5.29.15', true, Uint8Array.of(3, 2, 7, 128))] }).chain[0];

test('the roots that Vault sends along are dropped, the rest stays in order', () => {
  const chain = readSignedChain({
    certificate: pem(good),
    ca_chain: [pem(ca.certificate), pem(ca.root.certificate)],
  });
  assert.deepEqual(chain.map(pem), [pem(good), pem(ca.certificate)]);
});

test('what Vault sends along twice is in the chain once', () => {
  const above = [pem(ca.certificate), pem(good), pem(ca.certificate), pem(ca.root.certificate)];
  const chain = readSignedChain({ certificate: pem(ca.certificate), ca_chain: above });
  assert.deepEqual(chain.map(pem), [pem(ca.certificate), pem(good)]);
});

test('what cannot be read is the fault of Vault, not of who asked for a certificate', () => {
  const answers = [
    {},
    { certificate: 7 },
    { certificate: 'garbage' },
    { certificate: pem(odd) },
    { certificate: pem(good), ca_chain: [pem(odd)] },
    { certificate: pem(good), issuing_ca: 'garbage' },
  ];
  for (const answer of answers) {
    assert.throws(
      () => readSignedChain(answer),
      (error) => isMeshError(error, 'SLV-2142'),
    );
  }
});
