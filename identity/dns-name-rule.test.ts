import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { allowsDnsName, formatDnsNameRule, parseDnsNameRule, vaultDomains } from './dns-name-rule.ts';

const rules = ['web=web.example.com', 'web=www.example.com', '{service}.service.consul', 'Db_1=db'].map(
  parseDnsNameRule,
);
const label63 = 'a'.repeat(63);

const allowed: readonly (readonly [service: string, name: string, allowed: boolean])[] = [
  ['web', 'web.example.com', true],
  ['web', 'www.example.com', true],
  ['web', 'web.service.consul', true],
  ['db', 'db.service.consul', true],
  ['Db_1', 'db', true],
  [label63, `${label63}.service.consul`, true],
  ['db', 'web.example.com', false],
  ['db', 'web.service.consul', false],
  ['web', 'x.web.example.com', false],
  ['web', 'example.com', false],
  ['web', 'service.consul', false],
  ['web', '.service.consul', false],
  ['web', 'web.service.consul.', false],
  ['web', 'WEB.service.consul', false],
  ['web', '*.service.consul', false],
  ['web', 'x.web.service.consul', false],
  ['web', '{service}.service.consul', false],
  ['web', 'web.service.consul\u0000', false],
  ['web', '', false],
  // Not a label in lower case: the name would be a tag's, or another service's.
  ['tag.web', 'tag.web.service.consul', false],
  ['Web', 'Web.service.consul', false],
  ['Web', 'web.service.consul', false],
  ['a_b', 'a_b.service.consul', false],
  [`${label63}a`, `${label63}a.service.consul`, false],
];
for (const [service, name, is] of allowed) {
  test(`${name === '' ? 'the empty name' : JSON.stringify(name)} is ${is ? '' : 'not '}for ${service}`, () => {
    assert.equal(allowsDnsName(rules, service, name), is);
    assert.equal(allowsDnsName([], service, name), false, 'by default none is');
  });
}

test('what is no rule is refused', () => {
  for (const text of [
    '',
    '=',
    'web',
    'web=',
    '=web.example.com',
    '*=web.example.com',
    'web=*.example.com',
    'web=Web.example.com',
    'web=web.example.com.',
    'web=web..example.com',
    'web=-web.example.com',
    'web=web_1.example.com',
    'web=10.0.0.1',
    'web=web.1',
    'web={service}.example.com',
    'web=a@example.com',
    'web=w\u00e9b.example.com',
    `web=${label63}a.example.com`,
    `web=${`${label63}.`.repeat(4)}com`,
    'w b=web.example.com',
    '{service}',
    '{service}.',
    '{service}.*.consul',
    '{service}.{service}.consul',
    'x.{service}.consul',
  ]) {
    assert.throws(
      () => parseDnsNameRule(text),
      (error) => isMeshError(error) && ['SLV-1002', 'SLV-5002'].includes(error.code),
      text,
    );
  }
});

test('a rule reads back as it is written, and a role of Vault is told each once', () => {
  assert.deepEqual(rules.map(formatDnsNameRule).map(parseDnsNameRule), rules);
  assert.deepEqual(vaultDomains([...rules, ...rules]), [
    'web.example.com',
    'www.example.com',
    '*.service.consul',
    'db',
  ]);
});
