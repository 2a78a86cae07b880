import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FeedRouteMatch } from '../wire/feed-routing.ts';
import { compileRouteMatch, queryParameter } from './route-match.ts';

interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly query?: string;
  readonly headers?: Readonly<Record<string, readonly string[]>>;
}
const matches = (match: FeedRouteMatch | undefined, asked: Asked): boolean => {
  const { method = 'GET', path = '/', query = '', headers = {} } = asked;
  return compileRouteMatch(match)({ method, path, query, headerValues: (name) => headers[name] ?? [] });
};

const cases: [match: FeedRouteMatch | undefined, asked: Asked, expected: boolean][] = [
  [undefined, { path: '*', method: 'OPTIONS' }, true],
  [{ pathExact: '/a' }, { path: '/a', query: '?x' }, true],
  [{ pathExact: '/a' }, { path: '/a/' }, false],
  [{ pathExact: '/a' }, { path: '/A' }, false],
  [{ pathExact: '/a', caseInsensitive: true }, { path: '/A' }, true],
  [{ pathPrefix: '/v1' }, { path: '/v1/x' }, true],
  [{ pathPrefix: '/v1' }, { path: '/v1x' }, true],
  [{ pathPrefix: '/v1/' }, { path: '/v1' }, false],
  [{ pathPrefix: '/V1', caseInsensitive: true }, { path: '/v1/x' }, true],
  [{ pathRegex: '/v[0-9]+/.*' }, { path: '/v12/x' }, true],
  [{ pathRegex: '/v[0-9]+' }, { path: '/v12/x' }, false],
  [{ pathRegex: '/v[0-9]+', caseInsensitive: true }, { path: '/V1' }, true],
  [{ methods: ['GET', 'PUT'] }, { method: 'PUT' }, true],
  [{ methods: ['GET'] }, { method: 'get' }, false],
  [{ headers: [{ name: 'X-Debug', present: true }] }, { headers: { 'x-debug': [''] } }, true],
  [{ headers: [{ name: 'X-Debug', present: true }] }, {}, false],
  [{ headers: [{ name: 'X-Debug', present: true, invert: true }] }, {}, true],
  [{ headers: [{ name: 'v', exact: '1' }] }, { headers: { v: ['1'] } }, true],
  [{ headers: [{ name: 'v', exact: '1' }] }, { headers: { v: ['1', '2'] } }, false],
  [{ headers: [{ name: 'v', exact: '1,2' }] }, { headers: { v: ['1', '2'] } }, true],
  [{ headers: [{ name: 'v', exact: '1', invert: true }] }, { headers: { v: ['2'] } }, true],
  [{ headers: [{ name: 'v', exact: '1', invert: true }] }, {}, false],
  [{ headers: [{ name: 'v', prefix: '1', invert: true }] }, { headers: { v: ['1'] } }, false],
  [{ headers: [{ name: 'V-Name', present: true, invert: true }] }, { headers: { 'v-name': ['1'] } }, false],
  [{ headers: [{ name: 'v-name', present: true }] }, { headers: { v_name: ['1'] } }, false],
  [{ headers: [{ name: 'v', prefix: 'be' }] }, { headers: { v: ['beta'] } }, true],
  [{ headers: [{ name: 'v', suffix: 'ta' }] }, { headers: { v: ['beta'] } }, true],
  [{ headers: [{ name: 'v', regex: '[a-z]+' }] }, { headers: { v: ['beta1'] } }, false],
  [{ queryParameters: [{ name: 'v', exact: '2' }] }, { query: '?a=1&v=2' }, true],
  [{ queryParameters: [{ name: 'v', exact: '2' }] }, { query: '?v=1&v=2' }, false],
  [{ queryParameters: [{ name: 'v', present: true }] }, { query: '?v' }, true],
  [{ queryParameters: [{ name: 'v', present: true }] }, { query: '?vv' }, false],
  [{ queryParameters: [{ name: 'v', regex: '[0-9]+' }] }, { query: '?v=12' }, true],
  [{ pathPrefix: '/v1', methods: ['GET'] }, { path: '/v1', method: 'POST' }, false],
  [{ pathPrefix: '/v1', methods: ['GET'] }, { path: '/v1' }, true],
];
for (const [match, asked, expected] of cases) {
  test(`${JSON.stringify(match)} ${expected ? 'is for' : 'is not for'} ${JSON.stringify(asked)}`, () => {
    assert.equal(matches(match, asked), expected);
  });
}

test('a query parameter is read as applications read it', () => {
  assert.equal(queryParameter('?a=%41+b', 'a'), 'A b');
  assert.equal(queryParameter('?%61=1', 'a'), '1');
  assert.equal(queryParameter('?a=%zz', 'a'), '%zz');
  assert.equal(queryParameter('?a=b=c&', 'a'), 'b=c');
  assert.equal(queryParameter('', 'a'), undefined);
});

test('a pattern that is none is refused', () => {
  assert.throws(() => compileRouteMatch({ pathRegex: '(' }), SyntaxError);
  assert.throws(() => compileRouteMatch({ headers: [{ name: 'a', regex: '(?=x)' }] }), SyntaxError);
});
