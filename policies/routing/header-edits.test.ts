import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FeedHeaderEdits } from '../wire/feed-routing.ts';
import { compileHeaderEdits } from './header-edits.ts';

const edited = (headers: readonly string[], ...lists: (FeedHeaderEdits | undefined)[]): string[] => {
  const copy = [...headers];
  compileHeaderEdits(...lists)?.(copy);
  return copy;
};

test('headers are removed, then set, then added, list by list', () => {
  const sent = ['Accept', '*/*', 'X-A', '1', 'x-a', '2', 'X-B', '3'];
  assert.deepEqual(edited(sent, { remove: ['x-A'] }), ['Accept', '*/*', 'X-B', '3']);
  assert.deepEqual(edited(sent, { set: { 'X-a': '9' } }), ['Accept', '*/*', 'X-B', '3', 'X-a', '9']);
  assert.deepEqual(edited(sent, { add: { 'X-B': '4' } }), [...sent, 'X-B', '4']);
  assert.deepEqual(edited([], { add: { a: '1' }, set: { a: '2' }, remove: ['a'] }), ['a', '2', 'a', '1']);
  assert.deepEqual(edited([], { set: { a: 'split' } }, { set: { a: 'route' } }), ['a', 'route']);
  assert.equal(compileHeaderEdits(undefined, undefined), undefined);
});

test('nobody edits who calls, nor the connection, nor anything into two headers', () => {
  const names = [
    'Selvedge-Source',
    'x-selvedge-any',
    'X-Forwarded-Client-Cert',
    'Host',
    'Connection',
    'Content-Length',
  ];
  for (const name of [
    ...names,
    'Transfer-Encoding',
    'TE',
    'Upgrade',
    'Keep-Alive',
    'Proxy-Authorization',
    'a b',
    '',
    'a_b',
    ':path',
  ]) {
    for (const edits of [{ add: { [name]: 'x' } }, { set: { [name]: 'x' } }, { remove: [name] }]) {
      assert.throws(() => compileHeaderEdits(edits), SyntaxError, name);
    }
  }
  for (const value of ['a\r\nb: c', 'a\n', ' a', 'a ', '\0', '\u0100']) {
    assert.throws(() => compileHeaderEdits({ set: { a: value } }), SyntaxError, JSON.stringify(value));
  }
  for (const value of ['', 'a', 'a b\tc', '\xe4']) compileHeaderEdits({ set: { a: value } });
});
