import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nearestWord } from './nearest-word.ts';

const known = ['listen', 'local', 'upstream', 'catalog'];
const cases: [given: string, expected: string | undefined][] = [
  ['lsten', 'listen'],
  ['LOCAL', 'local'],
  ['catalgo', 'catalog'],
  ['upstreams', 'upstream'],
  ['zzzzzz', undefined],
  ['', undefined],
  ['x'.repeat(10_000), undefined],
];
for (const [given, expected] of cases) {
  test(`${given.slice(0, 20)} -> ${expected}`, () => assert.equal(nearestWord(given, known), expected));
}
