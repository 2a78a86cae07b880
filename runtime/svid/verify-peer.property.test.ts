import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { makeCa, staticTrust } from '#test/mini-ca.ts';
import { verifyChain } from './verify-peer.ts';

const ca = makeCa('mesh.test');
const trust = staticTrust(ca.bundle);
const svid = ca.issue({ spiffeId: 'spiffe://mesh.test/ns/default/dc/dc1/svc/web' });

function isRefused(chain: readonly Uint8Array[]): boolean {
  try {
    verifyChain({ chain, trust, nowMs: Date.now() });
    return false;
  } catch (error) {
    assert.ok(isMeshError(error, 'SLV-2020'), String(error));
    return true;
  }
}

test('one bit changed anywhere in a chain refuses it, and nothing but SLV-2020 is thrown', () => {
  const change = fc.record({ certificate: fc.nat(svid.chain.length - 1), at: fc.nat(), bit: fc.nat(7) });
  fc.assert(
    fc.property(change, ({ certificate, at, bit }) => {
      const chain = svid.chain.map((der) => Uint8Array.from(der));
      const der = chain[certificate] ?? new Uint8Array(1);
      der[at % der.length] = (der[at % der.length] ?? 0) ^ (1 << bit);
      return isRefused(chain);
    }),
    { numRuns: 1_500 },
  );
});

test('a certificate cut short, or with bytes after its end, is refused', () => {
  const [leaf = new Uint8Array(), ...signers] = svid.chain;
  for (let length = 0; length < leaf.length; length++) assert.ok(isRefused([leaf.subarray(0, length), ...signers]));
  assert.ok(isRefused([Buffer.concat([leaf, Uint8Array.of(0)]), ...signers]));
});

test('arbitrary bytes are refused', () => {
  fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 600 }), { minLength: 1, maxLength: 4 }), isRefused));
});
