import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMeshError } from './errors/mesh-error.ts';
import { quote } from './quote.ts';
import { parseServiceName } from './service-name.ts';

test('names of services', () => {
  for (const name of [
    'a',
    'A1',
    'web',
    'web-api.v2_x',
    '0',
    'a'.repeat(128),
    'constructor',
    '__proto__'.replaceAll('_', 'x'),
  ]) {
    assert.equal(parseServiceName(name), name);
  }
  for (const name of [
    '',
    '-a',
    'a-',
    '.',
    '..',
    'a/b',
    'a b',
    'a\n',
    '\na',
    'web*',
    '*',
    'ä',
    'a%62',
    'a'.repeat(129),
    '__proto__',
  ]) {
    assert.throws(
      () => parseServiceName(name),
      (error) => isMeshError(error, 'SLV-5002'),
      name,
    );
  }
});

test('quoted text breaks no line and no terminal', () => {
  assert.equal(quote('a\n\u001b[31m"\u0085\u202e'), '"a\\n\\u001b[31m\\"\\u0085\\u202e"');
  assert.equal(quote('x'.repeat(200)).length, 99);
});
