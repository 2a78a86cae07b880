import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { nodeEvidence } from './attest-options.ts';
import { parseAttestation } from './attestation-file.ts';

const mappings = [{ match: { sub: 'a' }, node: '{{ sub }}', services: ['web'] }];
const jwt = { method: 'jwt', issuer: 'https://issuer.test', audience: 'selvedge', mappings };
const vault = {
  method: 'vault-token',
  'vault-addr': 'https://vault.test:8200',
  mappings: [{ match: { policies: 'n' }, node: '{{ meta/host }}', services: ['web'] }],
};
const x509 = { method: 'x509pop', 'roots-file': '/r.pem', mappings: [{ node: '{{ subject/cn }}', services: ['web'] }] };
const mapped = (item: object, more: object) => ({ ...item, mappings: [{ ...mappings[0], ...more }] });

test('what is right is read, with its defaults', () => {
  const [read, , third] = parseAttestation([jwt, vault, x509]);
  assert.ok(read?.method === 'jwt' && third?.method === 'x509pop');
  assert.deepEqual(read.keys, { kind: 'discovery', issuer: 'https://issuer.test', caFile: undefined });
  assert.deepEqual(
    [read.algorithms, read.clockSkewSeconds, read.maxTokenLifeSeconds],
    [['RS256', 'ES256'], 60, 86_400],
  );
  assert.deepEqual(read.mappings[0]?.match, [{ claim: { text: 'sub', members: ['sub'] }, oneOf: ['a'] }]);
  const { match } = parseAttestation([mapped(jwt, { match: { a: ['x', 1], b: true } })])[0]?.mappings[0] ?? {};
  assert.deepEqual(
    match?.map(({ oneOf }) => oneOf),
    [['x', '1'], ['true']],
  );
});

describe('what is wrong is refused at start, with its place', () => {
  const cases: readonly [what: string, content: unknown, says: RegExp][] = [
    ['no list', {}, /^attestation\.: /],
    ['an empty list', [], /attestation/],
    ['an unknown method', [{ ...jwt, method: 'ssh' }], /attestation\.0\.method/],
    ['an unknown key', [{ ...jwt, isuer: 'x' }], /attestation\.0: .*isuer/],
    ['no audience', [{ ...jwt, audience: undefined }], /attestation\.0\.audience/],
    ['no mapping', [{ ...jwt, mappings: [] }], /attestation\.0\.mappings/],
    ['a symmetric algorithm', [{ ...jwt, algorithms: ['HS256'] }], /attestation\.0\.algorithms\.0/],
    ['no algorithm', [{ ...jwt, algorithms: ['none'] }], /attestation\.0\.algorithms\.0/],
    ['plain http', [{ ...jwt, 'jwks-url': 'http://issuer.test' }], /attestation\.0\.jwks-url: .*no https URL/],
    [
      'an issuer that is no URL, and no keys',
      [{ ...jwt, issuer: 'me' }],
      /attestation\.0\.issuer: .*give jwks-url or jwks-file/,
    ],
    [
      'two sources of keys',
      [{ ...jwt, 'jwks-file': '/a', 'ca-file': '/b' }],
      /attestation\.0\.jwks-file: jwks-file stands alone/,
    ],
    [
      'too much skew',
      [{ ...jwt, 'clock-skew': '1h' }],
      /attestation\.0\.clock-skew: "1h" is not from 0 to 300 seconds/,
    ],
    ['one issuer twice', [jwt, jwt], /attestation\.1: issuer "https:\/\/issuer.test" stands there twice/],
    ['two Vaults', [vault, vault], /attestation\.1: vault-token stands there twice/],
    ['a mapping for everybody, of a JWT', [mapped(jwt, { match: {} })], /attestation\.0\.mappings\.0\.match: say whom/],
    [
      'a mapping for everybody, of a Vault',
      [mapped(vault, { match: undefined, node: '{{ meta/host }}' })],
      /mappings\.0\.match: say whom/,
    ],
    [
      'an unknown function',
      [mapped(jwt, { node: '{{ sub | uper }}' })],
      /attestation\.0\.mappings\.0\.node: character 10: there is no function "uper"/,
    ],
    [
      'an open brace',
      [mapped(jwt, { services: ['web', '{{ sub'] })],
      /attestation\.0\.mappings\.0\.services\.1: character 1: this \{\{ has no \}\}/,
    ],
    [
      'a claim that Vault does not have',
      [mapped(vault, { match: { policies: 'n' }, node: '{{ display_nam }}' })],
      /attestation\.0\.mappings\.0: vault-token knows no "display_nam"; there are display_name, /,
    ],
    [
      'a claim that certificates do not have',
      [mapped(x509, { match: undefined, node: '{{ cn }}' })],
      /x509pop knows no "cn"; there are subject\/cn/,
    ],
    [
      'a match on what is no claim',
      [mapped(jwt, { match: { 'a b': 'x' } })],
      /attestation\.0\.mappings\.0\.match: character 2/,
    ],
    ['a match on a structure', [mapped(jwt, { match: { sub: { a: 1 } } })], /attestation\.0\.mappings\.0\.match\.sub/],
    [
      'a Vault with a path',
      [{ ...vault, 'vault-addr': 'https://vault.test/v1' }],
      /attestation\.0\.vault-addr: .*not a service address/,
    ],
  ];
  for (const [what, content, says] of cases) {
    test(what, () => {
      assert.throws(
        () => parseAttestation(content),
        (error) => {
          assert.ok(isMeshError(error, 'SLV-1002'), String(error));
          assert.match(error.message, says);
          return true;
        },
      );
    });
  }
});

test('what docs/identity.md shows can be used as it is', () => {
  const page = readFileSync(join(import.meta.dirname, '..', 'docs', 'identity.md'), 'utf8');
  const block = /```yaml\n(attestation:\n[\s\S]*?)```/.exec(page)?.[1] ?? '';
  const { attestation } = parse(block) as { attestation: unknown };
  assert.deepEqual(
    parseAttestation(attestation).map(({ method }) => method),
    ['jwt', 'vault-token', 'x509pop'],
  );
});

test('a node joins by one thing', () => {
  const none = {
    joinTokenFile: undefined,
    attestJwtFile: undefined,
    attestVaultTokenFile: undefined,
    attestVaultWrappedTokenFile: undefined,
    attestX509Cert: undefined,
    attestX509Key: undefined,
  };
  assert.equal(nodeEvidence(none), undefined);
  assert.equal(nodeEvidence({ ...none, joinTokenFile: '/t' }), undefined);
  assert.deepEqual(nodeEvidence({ ...none, attestJwtFile: '/j' }), { kind: 'jwt', file: '/j' });
  for (const wrong of [
    { joinTokenFile: '/t', attestJwtFile: '/j' },
    { attestVaultTokenFile: '/v', attestVaultWrappedTokenFile: '/w' },
    { attestX509Cert: '/c' },
    { attestX509Key: '/k' },
  ]) {
    assert.throws(
      () => nodeEvidence({ ...none, ...wrong }),
      (error) => isMeshError(error, 'SLV-1003'),
    );
  }
});
