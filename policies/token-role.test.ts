import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isMeshError } from './errors/mesh-error.ts';
import { isServiceName } from './service-name.ts';
import { formatTokenRole, maxRoleLength, parseTokenRole, patternHolds, readTokenRole } from './token-role.ts';

const serviceName = fc.stringMatching(/^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,12}[A-Za-z0-9])?$/);

test('roles, and what is none', () => {
  for (const text of [
    'operator',
    'reader',
    'intentions:db',
    'intentions:billing-*',
    'intentions:*',
    'service:a.b_c*',
  ]) {
    assert.equal(formatTokenRole(parseTokenRole(text)), text);
  }
  for (const text of [
    ...['', 'Operator', 'operator ', ' reader', 'admin', 'operator:*', 'intentions', 'intentions:', 'service:'],
    ...['intentions:**', 'intentions:*a', 'intentions:a*b', 'intentions:a**', 'intentions:-*', 'intentions:.x'],
    ...['service:a b', 'service:a/b', 'service:a\n', 'service:a\n*', 'service:é', 'service:a\0', 'SERVICE:a', 'kv:*'],
    ...['service:selvedge-catalog', 'service:selvedge-*', 'service:selvedge-identity*'],
    ...[`service:${'a'.repeat(129)}`, `intentions:${'a'.repeat(128)}*`, 'x'.repeat(1_000_000)],
  ]) {
    assert.equal(readTokenRole(text), undefined, JSON.stringify(text.slice(0, 40)));
    assert.throws(
      () => parseTokenRole(text),
      (error) => isMeshError(error, 'SLV-3009'),
    );
  }
  assert.equal(`intentions:${'a'.repeat(127)}*`.length, maxRoleLength);
  assert.ok(readTokenRole(`intentions:${'a'.repeat(127)}*`));
});

test('a pattern holds exactly the names that begin with its prefix, or the one that it is', () => {
  fc.assert(
    fc.property(serviceName, serviceName, fc.boolean(), (pattern, name, wildcard) => {
      const role = parseTokenRole(`intentions:${pattern}${wildcard ? '*' : ''}`);
      assert.ok(role.kind === 'intentions');
      const expected = wildcard ? name.slice(0, pattern.length) === pattern : name === pattern;
      assert.equal(patternHolds(role.destinations, name), expected);
      assert.equal(patternHolds(role.destinations, wildcard ? pattern + name : pattern), true);
    }),
  );
});

test('no pattern holds the wildcard destination, or anything else that is no name', () => {
  const patterns = fc.oneof(
    fc.constant('*'),
    serviceName,
    serviceName.map((name) => `${name}*`),
  );
  fc.assert(
    fc.property(
      patterns,
      fc.oneof(
        fc.constant('*'),
        fc.string(),
        serviceName.map((name) => `${name}*`),
      ),
      (pattern, name) => {
        const role = parseTokenRole(`intentions:${pattern}`);
        if (role.kind === 'intentions' && !isServiceName(name))
          assert.equal(patternHolds(role.destinations, name), false);
      },
    ),
  );
});

test('every text is a role that is written so again, or none', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => `service:${text}`),
      ),
      (text) => {
        const role = readTokenRole(text);
        if (role !== undefined) assert.equal(formatTokenRole(role), text);
      },
    ),
  );
});
