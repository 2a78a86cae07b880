import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { derBitString, derOid, derSequence, derValue, toPem } from '#policies/der-writer.ts';
import type { ErrorCode } from '#policies/errors/catalogue.ts';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { parseSpiffeId } from '#policies/spiffe-id.ts';
import { readCertificateRequest, requireNothingElse } from './certificate-request.ts';
import {
  forgeRequest,
  forgeRequestDer,
  goodKeyKinds,
  type RequestWishes,
  rsaSpki,
  testKey,
} from './testing/forge-request.ts';

const id = parseSpiffeId('spiffe://mesh.test/ns/default/dc/dc1/svc/web');

async function refusal(action: () => unknown, code: ErrorCode = 'SLV-2130'): Promise<string> {
  try {
    await action();
  } catch (error) {
    assert.ok(isMeshError(error, code), String(error));
    return error.message;
  }
  assert.fail('not refused');
}

for (const kind of goodKeyKinds) {
  test(`a request with a key of ${kind} gives its public key`, async () => {
    const key = testKey(kind);
    const request = await readCertificateRequest(forgeRequest({ key }));
    assert.deepEqual(Buffer.from(request.spkiDer), key.publicKey.export({ format: 'der', type: 'spki' }));
    requireNothingElse(request, id);
  });
}

test('what OpenSSL writes is read: attributes, DNS names and all', async () => {
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
    const request = await readCertificateRequest(pem.toString());
    assert.deepEqual([request.uriSans, request.dnsSans, request.otherSanCount], [[id], ['web'], 1]);
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
];
for (const [what, pem, says] of unusable) {
  test(`${what} is refused`, async () => {
    assert.match(await refusal(() => readCertificateRequest(pem)), says);
  });
}

/** A request for a key that is refused before its signature is looked at. */
const withKey = (spkiDer: Uint8Array): string => forgeRequest({ spkiDer });
const spkiOf = ({ publicKey }: { publicKey: KeyObject }): Uint8Array =>
  publicKey.export({ format: 'der', type: 'spki' });
/** P-256 with its point compressed (SEC 1, 2.3.3): the same key in another spelling. */
function compressed(): Uint8Array {
  const spki = Buffer.from(spkiOf(testKey()));
  const point = spki.subarray(-65);
  const algorithm = spki.subarray(2, spki.length - 65 - 3);
  return derSequence(algorithm, derBitString(Buffer.from([2 + ((point[64] ?? 0) & 1), ...point.subarray(1, 33)])));
}
const badKeys: readonly [what: string, spkiDer: Uint8Array, says: RegExp][] = [
  ['RSA of 1024 bits', spkiOf(testKey('rsa-1024')), /1024 bits/],
  ['RSA of 2047 bits', rsaSpki(2_047), /2047 bits/],
  ['RSA of 4097 bits', rsaSpki(4_097), /4097 bits/],
  ['RSA of 8192 bits', rsaSpki(8_192), /8192 bits/],
  ['RSA with the exponent 1', rsaSpki(2_048, 1n), /exponent/],
  ['RSA with the exponent 3', rsaSpki(2_048, 3n), /exponent/],
  ['RSA with an even exponent', rsaSpki(2_048, 65_536n), /exponent/],
  ['RSA with a huge exponent', rsaSpki(2_048, 2n ** 256n + 1n), /exponent/],
  ['RSA-PSS', spkiOf(generateKeyPairSync('rsa-pss', { modulusLength: 2_048 })), /type rsa-pss/],
  ['P-521', spkiOf(testKey('P-521')), /curve secp521r1/],
  ['P-224', spkiOf(generateKeyPairSync('ec', { namedCurve: 'P-224' })), /curve secp224r1/],
  ['secp256k1', spkiOf(testKey('secp256k1')), /curve secp256k1/],
  [
    'P-256 with explicit parameters',
    spkiOf(generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' })),
    /not encoded in the usual way|curve/,
  ],
  ['P-256 with a compressed point', compressed(), /not encoded in the usual way/],
  ['X25519', spkiOf(generateKeyPairSync('x25519')), /type x25519/],
  ['Ed448', spkiOf(generateKeyPairSync('ed448')), /type ed448/],
  ['DSA', spkiOf(generateKeyPairSync('dsa', { modulusLength: 1_024, divisorLength: 160 })), /type dsa/],
];
for (const [what, spkiDer, says] of badKeys) {
  test(`a key of ${what} is refused`, async () => {
    assert.match(await refusal(() => readCertificateRequest(withKey(spkiDer))), says);
  });
}

test('RSA is taken up to 4096 bits', async () => {
  // Nobody has that key, so the next check is the one that says no.
  const csr = forgeRequest({ spkiDer: rsaSpki(4_096), signedBy: testKey('rsa-2048') });
  assert.match(await refusal(() => readCertificateRequest(csr)), /signature does not fit/);
});

test('an RSA key is not asked to verify PSS, SHA-1 or MD5', async () => {
  for (const algorithm of ['1.2.840.113549.1.1.10', '1.2.840.113549.1.1.5', '1.2.840.113549.1.1.4']) {
    const csr = forgeRequestDer({ key: testKey('rsa-2048') });
    const sha256 = Buffer.from(derOid('1.2.840.113549.1.1.11'));
    Buffer.from(csr.buffer).set(derOid(algorithm), Buffer.from(csr).lastIndexOf(sha256));
    assert.match(
      await refusal(() => readCertificateRequest(toPem('CERTIFICATE REQUEST', csr))),
      /which is not accepted for its key/,
    );
  }
});

const greedy: readonly [what: string, wishes: RequestWishes, says: RegExp][] = [
  ['another ID', { uriSans: ['spiffe://mesh.test/ns/default/dc/dc1/svc/db'] }, /asks for "spiffe.*db"/],
  ['its ID and another', { uriSans: [id, 'spiffe://mesh.test/ns/default/dc/dc1/svc/db'] }, /asks for/],
  ['another trust domain', { uriSans: ['spiffe://evil.test/ns/default/dc/dc1/svc/web'] }, /asks for/],
  ['its ID with another spelling', { uriSans: [`${id}/`] }, /asks for/],
  ['CA:TRUE', { isCa: true }, /to be a CA/],
  ['keyCertSign', { keyCertSign: true }, /to be a CA/],
];
for (const [what, wishes, says] of greedy) {
  test(`a request for ${what} is refused`, async () => {
    const request = await readCertificateRequest(forgeRequest(wishes));
    assert.match(await refusal(() => requireNothingElse(request, id)), says);
  });
}

test('a request may ask for its own ID and for CA:FALSE; its subject is not looked at', async () => {
  const request = await readCertificateRequest(forgeRequest({ uriSans: [id], isCa: false, commonName: 'db' }));
  assert.deepEqual(requireNothingElse(request, id), []);
});

test('of other names it may ask for the DNS names that are allowed, and for those only', async () => {
  const isAllowed = (name: string): boolean => ['web', 'web.example.com'].includes(name);
  const ask = async (wishes: RequestWishes) =>
    requireNothingElse(await readCertificateRequest(forgeRequest({ uriSans: [id], ...wishes })), id, isAllowed);
  assert.deepEqual(await ask({ dnsSans: ['web', 'web.example.com', 'web'] }), ['web', 'web.example.com']);
  assert.deepEqual(await ask({ dnsSans: [] }), []);
  const refused: readonly RequestWishes[] = [
    { dnsSans: ['web', 'db'] },
    { dnsSans: [''] },
    { dnsSans: ['WEB'] },
    { dnsSans: ['web\u0000'] },
    { dnsSans: ['*.example.com'] },
    { otherSans: [derValue(0x87, Uint8Array.of(10, 0, 0, 1))] },
    { otherSans: [derValue(0x81, Buffer.from('a@web'))] },
    { otherSans: [derValue(0xa4, derSequence())] },
  ];
  for (const wishes of refused) await refusal(() => ask(wishes), 'SLV-2131');
  const plain = await readCertificateRequest(forgeRequest({ dnsSans: ['web'] }));
  assert.match(await refusal(() => requireNothingElse(plain, id), 'SLV-2131'), /"web" is not allowed/);
});

test('no bytes bring the reader to anything but a refusal (fuzz)', async () => {
  const seeds = [forgeRequestDer({ uriSans: [id], isCa: true }), forgeRequestDer({ key: testKey('rsa-2048') })];
  const edit = fc.record({ at: fc.nat(1_200), value: fc.nat(255), drop: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...seeds), fc.array(edit, { minLength: 1, maxLength: 4 }), async (seed, edits) => {
      let der = Buffer.from(seed);
      for (const { at, value, drop } of edits) {
        const index = at % der.length;
        if (drop) der = Buffer.concat([der.subarray(0, index), der.subarray(index + 1)]);
        else der[index] = value;
      }
      if (der.equals(seed)) return;
      try {
        await readCertificateRequest(toPem('CERTIFICATE REQUEST', der));
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

test('text that is no PEM is refused in linear time (fuzz)', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.string({ maxLength: 2_000, unit: 'binary' }),
      async (text) => void (await refusal(() => readCertificateRequest(text))),
    ),
    { numRuns: 500 },
  );
  const started = performance.now();
  await refusal(() => readCertificateRequest(`-----BEGIN CERTIFICATE REQUEST-----${' '.repeat(16_000)}`));
  await refusal(() => readCertificateRequest(' '.repeat(60_000)));
  assert.ok(performance.now() - started < 1_000);
});
