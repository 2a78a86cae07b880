import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { toPem } from '#policies/der-writer.ts';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { parseSpiffeId } from '#policies/spiffe-id.ts';
import { readCertificateRequest, requireNothingElse } from './certificate-request.ts';
import { forgeRequest, forgeRequestDer, type RequestWishes, testKey } from './testing/forge-request.ts';

const id = parseSpiffeId('spiffe://mesh.test/ns/default/dc/dc1/svc/web');

function refusal(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    assert.ok(isMeshError(error, 'SLV-2130'), String(error));
    return error.message;
  }
  assert.fail('not refused');
}

for (const kind of ['P-256', 'P-384', 'ed25519', 'rsa-2048'] as const) {
  test(`a request with a key of ${kind} gives its public key`, () => {
    const key = testKey(kind);
    const request = readCertificateRequest(forgeRequest({ key }));
    assert.deepEqual(Buffer.from(request.spkiDer), key.publicKey.export({ format: 'der', type: 'spki' }));
    requireNothingElse(request, id);
  });
}

test('what OpenSSL writes is read: attributes, DNS names and all', () => {
  const folder = mkdtempSync(join(tmpdir(), 'selvedge-csr-'));
  try {
    const args = [
      'req',
      '-new',
      '-nodes',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-keyout',
      join(folder, 'key'),
    ];
    const names = ['-subj', '/O=Acme/CN=web', '-addext', `subjectAltName=URI:${id},DNS:web,IP:10.0.0.1`];
    const pem = execFileSync('openssl', [...args, ...names, '-addext', 'keyUsage=digitalSignature'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const request = readCertificateRequest(pem.toString());
    assert.deepEqual(request.uriSans, [id]);
    requireNothingElse(request, id);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const unusable: readonly [what: string, pem: string, says: RegExp][] = [
  ['garbage', 'garbage', /not one CERTIFICATE REQUEST/],
  ['nothing', '', /not one CERTIFICATE REQUEST/],
  ['base64 of garbage', toPem('CERTIFICATE REQUEST', Buffer.from('garbage')), /malformed/],
  ['a certificate', forgeRequest().replaceAll('CERTIFICATE REQUEST', 'CERTIFICATE'), /not one CERTIFICATE REQUEST/],
  ['two requests', forgeRequest() + forgeRequest(), /not one CERTIFICATE REQUEST/],
  [
    'a request with bytes after it',
    toPem('CERTIFICATE REQUEST', Buffer.concat([forgeRequestDer(), Buffer.of(0)])),
    /malformed/,
  ],
  ['inexact base64', forgeRequest().replace('\n-----END', '=\n-----END'), /base64/],
  ['too large a request', forgeRequest({ commonName: 'x'.repeat(9_000) }), /over the limit/],
  ['a tampered request', forgeRequest({ tampered: true, uriSans: [id] }), /signature does not fit|malformed/],
  ['a request signed by another key', forgeRequest({ signedBy: testKey() }), /signature does not fit/],
  [
    'a request signed by a key of another type',
    forgeRequest({ signedBy: testKey('ed25519') }),
    /not accepted for its key/,
  ],
  ['a small RSA key', forgeRequest({ key: testKey('rsa-1024') }), /1024 bits/],
  ['a P-521 key', forgeRequest({ key: testKey('P-521') }), /curve/],
];
for (const [what, pem, says] of unusable) {
  test(`${what} is refused`, () => {
    assert.match(
      refusal(() => readCertificateRequest(pem)),
      says,
    );
  });
}

const greedy: readonly [what: string, wishes: RequestWishes, says: RegExp][] = [
  ['another ID', { uriSans: ['spiffe://mesh.test/ns/default/dc/dc1/svc/db'] }, /asks for "spiffe.*db"/],
  ['its ID and another', { uriSans: [id, 'spiffe://mesh.test/ns/default/dc/dc1/svc/db'] }, /asks for/],
  ['another trust domain', { uriSans: ['spiffe://evil.test/ns/default/dc/dc1/svc/web'] }, /asks for/],
  ['its ID with another spelling', { uriSans: [`${id}/`] }, /asks for/],
  ['CA:TRUE', { isCa: true }, /to be a CA/],
  ['keyCertSign', { keyCertSign: true }, /to be a CA/],
];
for (const [what, wishes, says] of greedy) {
  test(`a request for ${what} is refused`, () => {
    const request = readCertificateRequest(forgeRequest(wishes));
    assert.match(
      refusal(() => requireNothingElse(request, id)),
      says,
    );
  });
}

test('a request may ask for its own ID, for CA:FALSE, and for names that it will not get', () => {
  requireNothingElse(
    readCertificateRequest(forgeRequest({ uriSans: [id], isCa: false, dnsSans: ['web'], commonName: 'web' })),
    id,
  );
});

test('no bytes bring the reader to anything but a refusal (fuzz)', () => {
  const seeds = [forgeRequestDer({ uriSans: [id], isCa: true }), forgeRequestDer({ key: testKey('rsa-2048') })];
  const edit = fc.record({ at: fc.nat(1_200), value: fc.nat(255), drop: fc.boolean() });
  fc.assert(
    fc.property(fc.constantFrom(...seeds), fc.array(edit, { minLength: 1, maxLength: 4 }), (seed, edits) => {
      let der = Buffer.from(seed);
      for (const { at, value, drop } of edits) {
        const index = at % der.length;
        if (drop) der = Buffer.concat([der.subarray(0, index), der.subarray(index + 1)]);
        else der[index] = value;
      }
      if (der.equals(seed)) return;
      try {
        readCertificateRequest(toPem('CERTIFICATE REQUEST', der));
      } catch (error) {
        assert.ok(isMeshError(error, 'SLV-2130'), String(error));
        return;
      }
      // Every byte is under the signature or part of it: what is still read differs in nothing that matters.
      assert.fail('a changed request was accepted');
    }),
    { numRuns: 1_500 },
  );
});

test('text that is no PEM is refused in linear time (fuzz)', () => {
  fc.assert(
    fc.property(
      fc.string({ maxLength: 2_000, unit: 'binary' }),
      (text) => void refusal(() => readCertificateRequest(text)),
    ),
    { numRuns: 500 },
  );
  const started = performance.now();
  refusal(() => readCertificateRequest(`-----BEGIN CERTIFICATE REQUEST-----${' '.repeat(16_000)}`));
  refusal(() => readCertificateRequest(' '.repeat(60_000)));
  assert.ok(performance.now() - started < 1_000);
});
