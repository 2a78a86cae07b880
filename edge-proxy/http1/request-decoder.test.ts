import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cut, recordRequests } from './recorder.ts';
import { RequestDecoder } from './request-decoder.ts';

const get = (headers: string, target = '/') => `GET ${target} HTTP/1.1\r\nHost: a\r\n${headers}\r\n`;
const post = (headers: string, body: string) => `POST / HTTP/1.1\r\nHost: a\r\n${headers}\r\n${body}`;
const chunked = (body: string) => post('Transfer-Encoding: chunked\r\n', body);
const raw = (line: string) => `${line}\r\nHost: a\r\n\r\n`;
const padded = (count: number) => Array.from({ length: count }, (_, index) => `x-${index}: 1\r\n`).join('');

describe('RequestDecoder takes', () => {
  const only = (text: string, limits = {}) => {
    const record = recordRequests(cut(text, []), false, limits);
    assert.equal(record.refusal, undefined, JSON.stringify(record.refusal));
    assert.equal(record.messages.length, 1);
    const [message] = record.messages;
    assert.ok(message?.complete);
    return message;
  };

  it('a plain request, names and order kept, values trimmed', () => {
    const { head } = only('GET /a?b HTTP/1.1\r\nhOsT:  a:80\t\r\nX-Y:\r\nx-y: \xe9 "q" \r\n\r\n');
    assert.deepEqual(head.headers, ['hOsT', 'a:80', 'X-Y', '', 'x-y', '\xe9 "q"']);
    assert.deepEqual([head.method, head.target, head.host, head.minorVersion], ['GET', '/a?b', 'a:80', 1]);
    assert.deepEqual(head.framing, { kind: 'none' });
    assert.equal(head.keepAlive, true);
  });

  it('one empty line before it', () => assert.equal(only(`\r\n${get('')}`).head.target, '/'));
  it('100 headers', () => assert.equal(only(get(padded(99))).head.headers.length, 200));
  it('other methods', () => assert.equal(only(raw('my-Method! / HTTP/1.1')).head.method, 'my-Method!'));
  it('TRACE where allowed', () =>
    assert.equal(only(raw('TRACE / HTTP/1.1'), { allowTrace: true }).head.method, 'TRACE'));
  it('underscores where allowed', () => assert.ok(only(get('a_b: 1\r\n'), { allowUnderscores: true })));
  it('OPTIONS *', () => assert.equal(only(raw('OPTIONS * HTTP/1.1')).head.target, '*'));

  it('names of Object.prototype', () => {
    const { head } = only(get('__proto__: 1\r\nconstructor: 2\r\ntoString: 3\r\n'), { allowUnderscores: true });
    assert.deepEqual(head.headers.slice(2), ['__proto__', '1', 'constructor', '2', 'toString', '3']);
    assert.equal(only(get('constructor: 2\r\n')).head.headers[2], 'constructor');
  });

  it('hosts', () => {
    for (const host of ['a', 'A.b-c_d', 'db.mesh:8080', '10.0.0.1', '[::1]', '[2001:db8::1]:443', 'a:0'])
      assert.equal(only(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`).head.host, host);
    assert.equal(only('GET / HTTP/1.0\r\n\r\n').head.host, undefined);
    assert.equal(only('GET http://b:1/x HTTP/1.0\r\n\r\n').head.host, 'b:1');
  });

  it('absolute targets that agree with Host', () => {
    for (const target of ['http://a/x', 'HTTP://A:80/x', 'http://a', 'http://a?q'])
      assert.equal(only(get('', target)).head.target, target);
  });

  it('a body of small chunks that came together in few pieces', () => {
    const pieces: string[] = [];
    const decoder = new RequestDecoder({
      onHead() {},
      onBody: (piece) => pieces.push(piece.toString()),
      onComplete: () => pieces.push('whole'),
      onRefusal: ({ reason }) => pieces.push(reason),
    });
    const letters = (count: number) => '1\r\nx\r\n'.repeat(count);
    decoder.execute(Buffer.from(chunked(`${letters(20_000)}800\r\n${'y'.repeat(2_048)}\r\n${letters(2)}0\r\n\r\n`)));
    assert.deepEqual(
      pieces.map((piece) => (piece.length > 5 ? piece.length : piece)),
      [16_384, 20_000 - 16_384 + 2_048 + 2, 'whole'],
    );
    decoder.execute(Buffer.from(chunked(`${letters(3)}z`)));
    assert.deepEqual(pieces.slice(-2), ['xxx', 'a chunk size is not 1 to 16 hexadecimal digits, or too large']);
  });

  it('bodies by length', () => {
    assert.equal(only(post('Content-Length: 3\r\n', 'abc')).body, 'abc');
    assert.deepEqual(only(post('Content-Length: 0\r\n', '')).head.framing, { kind: 'length', bytes: 0 });
    assert.equal(only('POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\na').body, 'a');
  });

  it('chunks, without extensions and trailers', () => {
    assert.equal(
      only(chunked('5\r\nabcde\r\nA;x="y"\r\n0123456789\r\n0000;z\r\nX-T: 1\r\nY:\r\n\r\n')).body,
      'abcde0123456789',
    );
    assert.equal(only(chunked(`${'1\r\na\r\n'.repeat(40)}0\r\n\r\n`)).body, 'a'.repeat(40));
    assert.deepEqual(only(post('transfer-encoding: CHUNKED\r\n', '0\r\n\r\n')).head.framing, { kind: 'chunked' });
  });

  it('connection handling', () => {
    const keep = (version: string, connection: string) =>
      only(`GET / HTTP/${version}\r\nHost: a\r\n${connection}\r\n`).head.keepAlive;
    assert.equal(keep('1.1', ''), true);
    assert.equal(keep('1.1', 'Connection: close\r\n'), false);
    assert.equal(keep('1.1', 'Connection: Keep-Alive, CLOSE\r\n'), false);
    assert.equal(keep('1.0', ''), false);
    assert.equal(keep('1.0', 'Connection: keep-alive\r\n'), true);
    assert.deepEqual(only(get('Connection: ,X-A , close\r\nConnection: te\r\n')).head.connectionOptions, ['x-a', 'te']);
  });

  it('upgrades and expectations', () => {
    const websocket = only(get('Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n')).head;
    assert.equal(websocket.upgrade, 'websocket');
    assert.equal(only(get('Upgrade: websocket\r\n')).head.upgrade, undefined);
    // h2c is declined: as Java's client offers it, in a list, in any case, and with a body.
    const offered = (upgrade: string) =>
      only(get(`Connection: upgrade, http2-settings\r\nUpgrade: ${upgrade}\r\n`)).head.upgrade;
    for (const h2c of ['h2c', 'H2C', ' h2c ,h2c']) assert.equal(offered(h2c), undefined);
    for (const list of ['websocket, h2c', 'h2c, websocket', ' H2c,websocket,\th2c'])
      assert.equal(offered(list), 'websocket');
    assert.equal(offered('h2c2'), 'h2c2');
    const withBody = 'POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\na';
    assert.equal(only(withBody).head.upgrade, undefined);
    assert.equal(only(post('Expect: 100-Continue\r\nContent-Length: 1\r\n', 'a')).head.expectContinue, true);
    assert.equal(only('POST / HTTP/1.0\r\nExpect: x\r\nContent-Length: 0\r\n\r\n').head.expectContinue, false);
  });
});

describe('RequestDecoder in time', () => {
  const recording = () => {
    const events: string[] = [];
    const handlers = {
      onHead: (head: { target: string }) => void events.push(head.target),
      onBody: (chunk: Buffer) => void events.push(chunk.toString('latin1')),
      onComplete: () => void events.push('complete'),
      onRefusal: (refusal: { code: string }) => void events.push(refusal.code),
    };
    return { events, handlers };
  };

  it('holds a pipelined request until the first is answered', () => {
    const { events, handlers } = recording();
    const decoder = new RequestDecoder({
      ...handlers,
      onComplete: () => {
        handlers.onComplete();
        decoder.pause();
      },
    });
    decoder.execute(Buffer.from(get('', '/1') + get('', '/2') + get('', '/3').slice(0, 10)));
    assert.deepEqual(events, ['/1', 'complete']);
    assert.ok(decoder.heldBytes > 0);
    decoder.execute(Buffer.from(get('', '/3').slice(10)));
    assert.deepEqual(events, ['/1', 'complete']);
    decoder.resume();
    assert.deepEqual(events, ['/1', 'complete', '/2', 'complete']);
    decoder.end();
    decoder.resume();
    assert.deepEqual(events, ['/1', 'complete', '/2', 'complete', '/3', 'complete']);
    assert.equal(decoder.heldBytes, 0);
  });

  it('resumes inside a handler without recursion', () => {
    const { events, handlers } = recording();
    let depth = 0;
    const decoder = new RequestDecoder({
      ...handlers,
      onComplete: () => {
        assert.equal(++depth, 1);
        decoder.pause();
        decoder.resume();
        depth--;
        handlers.onComplete();
      },
    });
    decoder.execute(Buffer.from(get('').repeat(1_000)));
    assert.equal(events.length, 2_000);
    assert.ok(decoder.idle);
  });

  it('gives the rest away after an upgrade', () => {
    const { events, handlers } = recording();
    const decoder = new RequestDecoder({
      ...handlers,
      onComplete: () => {
        handlers.onComplete();
        decoder.pause();
      },
    });
    decoder.execute(Buffer.from(`${get('Connection: upgrade\r\nUpgrade: websocket\r\n', '/ws')}\x81\x05`, 'latin1'));
    assert.equal(decoder.takeRest().toString('latin1'), '\x81\x05');
    decoder.resume();
    decoder.execute(Buffer.from('GET'));
    decoder.end();
    assert.deepEqual(events, ['/ws', 'complete']);
  });
});
