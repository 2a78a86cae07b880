import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cut, recordRequests } from './recorder.ts';

const get = (headers: string, target = '/') => `GET ${target} HTTP/1.1\r\nHost: a\r\n${headers}\r\n`;
const post = (headers: string, body: string) => `POST / HTTP/1.1\r\nHost: a\r\n${headers}\r\n${body}`;
const chunked = (body: string) => post('Transfer-Encoding: chunked\r\n', body);
const raw = (line: string) => `${line}\r\nHost: a\r\n\r\n`;
const padded = (count: number) => Array.from({ length: count }, (_, index) => `x-${index}: 1\r\n`).join('');

/** What is refused, with which status and code. Smuggling cases after reference/reliability.md 7, Http11Probe and llhttp's vectors. */
const refused: readonly (readonly [name: string, text: string, status: number, code: string])[] = [
  // Request line
  ['no version', raw('GET /'), 400, 'SLV-4200'],
  ['HTTP/0.9', 'GET /\r\n\r\n', 400, 'SLV-4200'],
  ['two spaces behind the method', raw('GET  / HTTP/1.1'), 400, 'SLV-4200'],
  ['two spaces behind the target', raw('GET /  HTTP/1.1'), 400, 'SLV-4200'],
  ['a tab as separator', raw('GET\t/ HTTP/1.1'), 400, 'SLV-4200'],
  ['a space at the line end', raw('GET / HTTP/1.1 '), 400, 'SLV-4200'],
  ['a space in the target', raw('GET /a b HTTP/1.1'), 400, 'SLV-4200'],
  ['a leading space', raw(' GET / HTTP/1.1'), 400, 'SLV-4200'],
  ['raw bytes in the target', raw('GET /\xe9 HTTP/1.1'), 400, 'SLV-4200'],
  ['DEL in the target', raw('GET /\x7f HTTP/1.1'), 400, 'SLV-4201'],
  ['NUL in the target', raw('GET /\0 HTTP/1.1'), 400, 'SLV-4201'],
  ['a method that is no token', raw('GE(T / HTTP/1.1'), 400, 'SLV-4200'],
  ['a method of 33 letters', raw(`${'A'.repeat(33)} / HTTP/1.1`), 501, 'SLV-4208'],
  ['CONNECT', raw('CONNECT a:443 HTTP/1.1'), 501, 'SLV-4208'],
  ['TRACE', raw('TRACE / HTTP/1.1'), 501, 'SLV-4208'],
  ['HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505, 'SLV-4205'],
  ['HTTP/1.2', raw('GET / HTTP/1.2'), 505, 'SLV-4205'],
  ['HTTP/0.9 by name', raw('GET / HTTP/0.9'), 505, 'SLV-4205'],
  ['HTTP/1.10', raw('GET / HTTP/1.10'), 400, 'SLV-4200'],
  ['lower-case version', raw('GET / http/1.1'), 400, 'SLV-4200'],
  ['another protocol', raw('GET / RTSP/1.0'), 400, 'SLV-4200'],
  ['a target without slash', raw('GET a HTTP/1.1'), 400, 'SLV-4200'],
  ['asterisk with GET', raw('GET * HTTP/1.1'), 400, 'SLV-4200'],
  ['a https target', raw('GET https://a/ HTTP/1.1'), 400, 'SLV-4200'],
  ['a target over the limit', raw(`GET /${'a'.repeat(8_192)} HTTP/1.1`), 414, 'SLV-4207'],
  ['two empty lines before', `\r\n\r\n${get('')}`, 400, 'SLV-4200'],
  ['TLS on a plain port', '\x16\x03\x01\x02\x00\x01', 400, 'SLV-4201'],
  // Line ends
  ['bare LF everywhere', 'GET / HTTP/1.1\nHost: a\n\n', 400, 'SLV-4201'],
  ['bare LF behind a header', 'GET / HTTP/1.1\r\nHost: a\nx: y\r\n\r\n', 400, 'SLV-4201'],
  ['bare LF as the empty line', 'GET / HTTP/1.1\r\nHost: a\r\n\n', 400, 'SLV-4201'],
  ['bare CR in a value', get('x: a\rb\r\n'), 400, 'SLV-4201'],
  ['CR CR LF', get('x: a\r\r\n'), 400, 'SLV-4201'],
  ['CRLF CR X ends nothing', 'GET / HTTP/1.1\r\nHost: a\r\n\rX', 400, 'SLV-4201'],
  ['LF before a request', `\n${get('')}`, 400, 'SLV-4201'],
  // Headers
  ['obs-fold', get('x: a\r\n b\r\n'), 400, 'SLV-4201'],
  ['obs-fold with tab', get('x: a\r\n\tb\r\n'), 400, 'SLV-4201'],
  ['blank before the first header', 'GET / HTTP/1.1\r\n Host: a\r\n\r\n', 400, 'SLV-4201'],
  ['space before the colon', get('x : a\r\n'), 400, 'SLV-4201'],
  ['tab before the colon', get('x\t: a\r\n'), 400, 'SLV-4201'],
  [
    'space before the colon of Transfer-Encoding',
    post('Transfer-Encoding : chunked\r\n', '0\r\n\r\n'),
    400,
    'SLV-4201',
  ],
  ['empty name', get(': a\r\n'), 400, 'SLV-4201'],
  ['no colon', get('xyz\r\n'), 400, 'SLV-4201'],
  ['space in a name', get('x y: a\r\n'), 400, 'SLV-4201'],
  ['parenthesis in a name', get('x(: a\r\n'), 400, 'SLV-4201'],
  ['obs-text in a name', get('x\xe9: a\r\n'), 400, 'SLV-4201'],
  ['underscore in a name', get('content_length: 5\r\n'), 400, 'SLV-4201'],
  ['NUL in a value', get('x: a\0b\r\n'), 400, 'SLV-4201'],
  ['VT in a value', get('x: a\x0bb\r\n'), 400, 'SLV-4201'],
  ['DEL in a value', get('x: a\x7f\r\n'), 400, 'SLV-4201'],
  ['101 headers', get(padded(100)), 431, 'SLV-4206'],
  ['a head over the limit', get(`x: ${'a'.repeat(32_768)}\r\n`), 431, 'SLV-4206'],
  ['a head without end', `GET / HTTP/1.1\r\nx: ${'a'.repeat(40_000)}`, 431, 'SLV-4206'],
  // Host
  ['no Host', 'GET / HTTP/1.1\r\n\r\n', 400, 'SLV-4204'],
  ['two Hosts', get('host: b\r\n'), 400, 'SLV-4204'],
  ['two equal Hosts', get('HOST: a\r\n'), 400, 'SLV-4204'],
  ...[
    '',
    'a b',
    'a,b',
    'a@b',
    'a/b',
    'a:',
    'a:x',
    'a:65536',
    'a:123456',
    'a:000080',
    ':80',
    '[::1',
    '[]',
    '[::1]x',
    '[g::1]',
    'a:1:2',
    'a%41',
    "a'",
    'a?b',
    'a#b',
    '\xe9',
    'a'.repeat(300),
  ].map((host) => [`Host ${host.slice(0, 9)}`, `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`, 400, 'SLV-4204'] as const),
  ['absolute target of another host', get('', 'http://b/'), 400, 'SLV-4204'],
  ['absolute target of another port', get('', 'http://a:81/'), 400, 'SLV-4204'],
  ['user in the target', get('', 'http://u@a/'), 400, 'SLV-4204'],
  ['fragment as authority end', get('', 'http://a#/'), 400, 'SLV-4204'],
  ['absolute target without authority', get('', 'http:///'), 400, 'SLV-4204'],
  ['absolute target without Host', 'GET http://a/ HTTP/1.1\r\n\r\n', 400, 'SLV-4204'],
  // Framing
  ['CL and TE', post('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'), 400, 'SLV-4202'],
  ['TE and CL', post('Transfer-Encoding: chunked\r\nContent-Length: 0\r\n', '0\r\n\r\n'), 400, 'SLV-4202'],
  ['two lengths', post('Content-Length: 1\r\nContent-Length: 2\r\n', 'ab'), 400, 'SLV-4202'],
  ['two equal lengths', post('Content-Length: 1\r\ncontent-length: 1\r\n', 'a'), 400, 'SLV-4202'],
  ...[
    '1, 1',
    '1,2',
    '+1',
    '-1',
    '0x1',
    '1 1',
    '1.0',
    '1e1',
    '',
    '٣',
    '1;',
    '99999999999999999',
    '9007199254740992',
    `${'0'.repeat(16)}1`,
  ].map((length) => [`Content-Length ${length}`, post(`Content-Length: ${length}\r\n`, 'a'), 400, 'SLV-4202'] as const),
  ...[
    'identity',
    'gzip',
    'gzip, chunked',
    'chunked, identity',
    'chunked, chunked',
    'xchunked',
    'chunked;q=1',
    '"chunked"',
    'chunke',
    '',
    '\x85chunked',
    'chunked\xa0',
  ].map(
    (coding) =>
      [`Transfer-Encoding ${coding}`, post(`Transfer-Encoding: ${coding}\r\n`, '0\r\n\r\n'), 400, 'SLV-4202'] as const,
  ),
  [
    'two Transfer-Encodings',
    post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
    400,
    'SLV-4202',
  ],
  ['Transfer-Encoding, VT before the value', post('Transfer-Encoding: \x0bchunked\r\n', '0\r\n\r\n'), 400, 'SLV-4201'],
  ['chunked in 1.0', 'POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400, 'SLV-4202'],
  // Chunks
  ...[
    '5\r\nabcde\r\n\r\n',
    '0x5\r\nabcde',
    '+5\r\nabcde',
    '-1\r\n',
    ' 5\r\nabcde',
    '5 \r\nabcde',
    '5\t\r\nabcde',
    '5\nabcde',
    '5\rXabcde',
    'g\r\n',
    '\r\n',
    ';a\r\n',
    '00000000000000005\r\nabcde',
    'ffffffffffffffff\r\n',
    '20000000000000\r\n',
    '5\r\nabcdeX\r\n',
    '5\r\nabcde\n0\r\n\r\n',
    '5\r\nabcde\rX',
    '5\r\nabcdef\r\n',
    '5;a\nb\r\nabcde',
    '5;\0\r\nabcde',
    '0\r\n\n',
    '0\r\n\rX',
    '0\nX',
    '0\r\n x: y\r\n\r\n',
    '0\r\nx : y\r\n\r\n',
    '0\r\nxy\r\n\r\n',
    '0\r\n: y\r\n\r\n',
    '0\r\nx: y\n\r\n',
    '0\r\nx: \0\r\n\r\n',
    `5;${'a'.repeat(4_100)}\r\nabcde`,
    `0\r\nx: ${'a'.repeat(8_200)}\r\n\r\n`,
  ].map((body) => [`chunks ${JSON.stringify(body.slice(0, 20))}`, chunked(body), 400, 'SLV-4203'] as const),
  // Connection, Upgrade, Expect
  ...[
    'host',
    'Content-Length',
    'transfer-encoding',
    'X-Forwarded-Client-Cert',
    'x-forwarded-for',
    'selvedge-caller',
    'x-selvedge-id',
    'authorization',
    'close, cookie',
    'connection',
    'a b',
    'a;b',
    '\xa0close',
    'a,'.repeat(20),
  ].map(
    (options) => [`Connection: ${options.slice(0, 24)}`, get(`Connection: ${options}\r\n`), 400, 'SLV-4201'] as const,
  ),
  ['two Upgrades', get('Upgrade: a\r\nUpgrade: b\r\n'), 400, 'SLV-4209'],
  [
    'an upgrade with a body',
    post('Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n', 'a'),
    400,
    'SLV-4209',
  ],
  ['another expectation', get('Expect: 200-ok\r\n'), 417, 'SLV-4210'],
  ['two expectations', get('Expect: 100-continue\r\nExpect: 100-continue\r\n'), 400, 'SLV-4201'],
];

describe('RequestDecoder refuses', () => {
  for (const [name, text, status, code] of refused) {
    it(name, () => {
      const whole = recordRequests(cut(text, []));
      assert.equal(whole.refusal?.status, status, JSON.stringify(whole.refusal));
      assert.equal(whole.refusal?.code, code, JSON.stringify(whole.refusal));
      assert.ok(!whole.messages.some((message) => message.complete));
      const bytewise = recordRequests(
        cut(
          text,
          Array.from({ length: text.length }, (_, index) => index),
        ),
      );
      assert.deepEqual(bytewise, whole);
    });
  }

  it('what ends early', () => {
    for (const text of [
      'G',
      get('').slice(0, -1),
      '\r',
      post('Content-Length: 2\r\n', 'a'),
      chunked('5\r\nab'),
      chunked('0\r\n'),
    ]) {
      assert.equal(recordRequests(cut(text, []), true).refusal?.code, 'SLV-4211', text);
    }
    for (const text of ['', '\r\n', get(''), `${get('')}\r\n`])
      assert.equal(recordRequests(cut(text, []), true).refusal, undefined);
  });

  it('everything behind a refusal', () => {
    const record = recordRequests(cut(`${get('x : y\r\n')}${get('')}`, []));
    assert.equal(record.messages.length, 0);
    assert.equal(record.refusal?.code, 'SLV-4201');
  });

  it('no byte of the message in its reason', () => {
    const record = recordRequests(cut(get('evil\x1b[31m : y\r\n'), []));
    assert.doesNotMatch(record.refusal?.reason ?? '', /evil|\x1b/);
  });
});
