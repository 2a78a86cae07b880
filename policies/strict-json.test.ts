import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isMeshError } from './errors/mesh-error.ts';
import { parseStrictJson } from './strict-json.ts';

test('a key that is named twice is refused, however it is written and wherever it stands', () => {
  for (const text of [
    '{"a":1,"a":1}',
    '{"a":1,"b":{"c":[{"d":1}],"c":2}}',
    '[{"a":{}, "a" : 2}]',
    '{"a":1,"\\u0061":2}',
    '{"__proto__":1,"__proto__":2}',
    '{"":1,"":2}',
    '{"}":{"x":1},"{":[],"}":1}',
    '{"a\\"":1,"a\\"":2}',
  ]) {
    assert.throws(
      () => parseStrictJson(text),
      (error) => isMeshError(error, 'SLV-5009') && error.message.includes('twice'),
      text,
    );
  }
});

test('the same key in different objects, and text that looks like one, is fine', () => {
  for (const text of [
    '{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}',
    '{"a":"\\"a\\":1,\\"a\\":2"}',
    '{"a":"{","b":"}","c":"a"}',
    '["a","a"]',
    ' "a" ',
    'null',
  ]) {
    assert.deepEqual(parseStrictJson(text), JSON.parse(text));
  }
});

test('what is not JSON is refused', () => {
  for (const text of ['', '{', '{"a":1,}', "{'a':1}", '\ufeff{}', '{"a":01}']) {
    assert.throws(
      () => parseStrictJson(text),
      (error) => isMeshError(error, 'SLV-5009'),
      text,
    );
  }
});

test('all that JSON.stringify writes reads back', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom(undefined, 2), (value, indent) => {
      const text = JSON.stringify(value, undefined, indent);
      assert.deepEqual(parseStrictJson(text), JSON.parse(text));
    }),
    { numRuns: 300 },
  );
});

test('long strings and deep nesting cost no more than their length', () => {
  const startMs = performance.now();
  parseStrictJson(JSON.stringify('\\"'.repeat(500_000)));
  parseStrictJson(`${'{"a":'.repeat(2_000)}1${'}'.repeat(2_000)}`);
  assert.ok(performance.now() - startMs < 1_000);
});
