import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseRequestHead } from '../tunnel/request-head.ts';
import type { TunnelRequest } from '../tunnel/tunnel.ts';
import type { HeaderFields } from '../tunnel/tunnel-stream.ts';
import { grpcMessage, grpcStatusOf, grpcTimeout, grpcTimeoutMs, httpStatusOf, isGrpc } from './grpc.ts';
import { readRequest } from './request-rules.ts';
import { passedTrailers, requestFields } from './wire-fields.ts';

const request = (headers: HeaderFields, change: Partial<TunnelRequest> = {}): TunnelRequest => ({
  method: 'GET',
  authority: 'db',
  path: '/',
  protocol: undefined,
  whole: true,
  over: false,
  headers,
  ...change,
});

for (const [what, headers, change, kind] of [
  ['Host and no :authority', [['host', 'db:80']], { authority: '' }, 'taken'],
  ['Host that is :authority', [['host', 'db']], {}, 'taken'],
  ['Host that is not', [['host', 'DB']], {}, 'host'],
  [
    'two Hosts',
    [
      ['host', 'db'],
      ['host', 'other'],
    ],
    { authority: '' },
    'host',
  ],
  ['neither', [], { authority: '' }, 'host'],
  ['user information', [], { authority: 'me@db' }, 'host'],
  ['an underscore', [['x_role', 'a']], {}, 'taken'],
  ['a path that is none', [], { path: 'orders' }, 'start-line'],
  ['an absolute path', [], { path: 'http://db/' }, 'start-line'],
  ['* and GET', [], { path: '*' }, 'start-line'],
  ['* and OPTIONS', [], { path: '*', method: 'OPTIONS' }, 'taken'],
  ['a long path', [], { path: `/${'a'.repeat(9_000)}` }, 'target-size'],
  ['a long method', [], { method: 'A'.repeat(33) }, 'method'],
  ['a head over the bounds', [], { over: true }, 'head-size'],
  ['CONNECT', [], { method: 'CONNECT', path: '' }, 'method'],
  ['a WebSocket', [], { method: 'CONNECT', protocol: 'WebSocket', whole: false }, 'taken'],
  ['a WebSocket of all', [], { method: 'CONNECT', protocol: 'websocket', path: '*' }, 'start-line'],
  ['a WebSocket with a length', [['content-length', '0']], { method: 'CONNECT', protocol: 'websocket' }, 'framing'],
  ['another protocol', [], { method: 'CONNECT', protocol: 'connect-udp' }, 'protocol'],
  ['TRACE', [], { method: 'TRACE' }, 'method'],
  [
    'two lengths',
    [
      ['content-length', '1'],
      ['content-length', '1'],
    ],
    { whole: false },
    'framing',
  ],
  ['a length with a sign', [['content-length', '+1']], { whole: false }, 'framing'],
  ['a length and no body', [['content-length', '1']], {}, 'framing'],
  ['an expectation', [['expect', 'miracles']], {}, 'expect'],
  ['100-continue', [['expect', '100-continue']], { whole: false }, 'taken'],
] as const) {
  test(`${what}: ${kind}`, () => {
    const read = readRequest(request(headers, change));
    assert.equal('kind' in read ? read.kind : 'taken', kind);
  });
}

for (const [authority, headers, kind] of [
  ['db:80', [['x_role', 'a']], 'taken'],
  ['db:80', [['host', 'db:80']], 'taken'],
  ['db', [], 'start-line'],
  ['me@db:80', [], 'start-line'],
  ['db:80', [['host', 'other:80']], 'host'],
  ['db:80', [['content-length', '0']], 'framing'],
] as const) {
  test(`CONNECT to ${authority} with ${JSON.stringify(headers)}, where it is taken: ${kind}`, () => {
    const read = readRequest(request(headers, { method: 'CONNECT', authority, path: '', whole: false }), true);
    assert.equal('kind' in read ? read.kind : 'taken', kind);
  });
}

test('what is taken has one Host and one cookie, tells of underscores, and reads the same at the next proxy', () => {
  const name = fc.constantFrom(
    'host',
    'cookie',
    'x-a',
    'x_a',
    'te',
    'content-length',
    'content-type',
    'expect',
    'trailer',
    'selvedge-source',
  );
  const value = fc.constantFrom(
    'db',
    'a=1',
    'b',
    'trailers',
    '3',
    '0',
    'application/grpc+proto',
    '100-continue',
    'caf\u00e9',
    '',
  );
  const authority = fc.constantFrom('db', 'db:80', '', 'other', 'a@b');
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 8 }), authority, fc.boolean(), (headers, host, whole) => {
      const read = readRequest(request(headers, { authority: host, whole }));
      if ('kind' in read) return;
      const names = read.headers.filter((_, at) => at % 2 === 0);
      assert.equal(names[0], 'host');
      assert.equal(names.filter((each) => each === 'host').length, 1);
      assert.ok(names.filter((each) => each === 'cookie').length <= 1);
      assert.equal(
        read.underscored,
        names.some((each) => each.includes('_')),
      );
      const lengths = headers.filter(([each]) => each === 'content-length');
      assert.ok(lengths.length <= 1);
      const bare = read.headers.filter(
        (_, at) => read.headers[at - (at % 2)] !== 'content-length' && read.headers[at - (at % 2)] !== 'te',
      );
      const sent = parseRequestHead(requestFields({ ...read, headers: bare, http2: read.http2 }));
      assert.ok(sent !== undefined, 'what we send is well-formed');
      const again = readRequest({ ...sent, whole, over: false });
      assert.ok(!('kind' in again));
      assert.equal(again.host, read.host);
      assert.deepEqual(again.framing, read.framing);
      assert.deepEqual(again.http2, read.http2);
    }),
    { numRuns: 500 },
  );
});

test('crumbs of cookies become one, those that are empty nothing', () => {
  const cookieOf = (...crumbs: string[]) => {
    const read = readRequest(
      request(
        crumbs.map((crumb) => ['cookie', crumb] as const),
        {},
      ),
    );
    assert.ok(!('kind' in read));
    const at = read.headers.indexOf('cookie');
    return at < 0 ? undefined : read.headers[at + 1];
  };
  assert.equal(cookieOf('a=1', 'b'), 'a=1; b');
  assert.equal(cookieOf('a=1', ''), 'a=1');
  assert.equal(cookieOf('', 'a=1'), 'a=1');
  assert.equal(cookieOf('', ''), undefined);
});

test('trailers carry nothing that frames, routes or says who calls', () => {
  const passed = passedTrailers([
    ['grpc-status', '0'],
    ['content-length', '1'],
    ['host', 'x'],
    ['selvedge-decision', 'x'],
    ['x-forwarded-client-cert', 'x'],
  ]);
  assert.deepEqual(passed, [['grpc-status', '0']]);
});

test('gRPC: content types, statuses, messages, time-outs', () => {
  for (const type of ['application/grpc', 'application/grpc+proto', 'application/grpc;charset=utf-8'])
    assert.ok(isGrpc(type));
  for (const type of ['application/grpc-web', 'application/json', '']) assert.ok(!isGrpc(type));
  assert.deepEqual(['0', '7', '14', '99', 'x', ''].map(httpStatusOf), [200, 403, 503, 500, 500, 500]);
  const codes = [
    'SLV-4001',
    'SLV-4003',
    'SLV-4004',
    'SLV-4005',
    'SLV-4006',
    'SLV-4011',
    'SLV-4206',
    'SLV-4208',
    'SLV-4015',
  ] as const;
  assert.deepEqual(codes.map(grpcStatusOf), [7, 14, 4, 14, 14, 13, 2, 2, 8]);
  assert.equal(grpcMessage('50 % off\nfür \ud800'), '50 %25 off%0Af%C3%BCr %EF%BF%BD');
  assert.deepEqual(['1S', '20m', '1H', '500u', '123456789S', '1', '', undefined].map(grpcTimeoutMs), [
    1_000,
    20,
    3_600_000,
    0.5,
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
  assert.deepEqual([0, 0.4, 1.9, 99_999_999, 100_000_999, 1e15].map(grpcTimeout), [
    '1m',
    '1m',
    '1m',
    '99999999m',
    '100000S',
    '99999999S',
  ]);
  for (const ms of [1, 250, 3_600_000, 1e10]) assert.ok((grpcTimeoutMs(grpcTimeout(ms)) ?? Infinity) <= ms);
});
