import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { cut, recordResponses } from './recorder.ts';
import { ResponseDecoder } from './response-decoder.ts';

const ok = (headers: string, body = '') => `HTTP/1.1 200 OK\r\n${headers}\r\n${body}`;

interface Case {
  readonly name: string;
  readonly text: string;
  readonly code: string;
  readonly methods?: readonly string[];
  readonly end?: boolean;
}

const refused: readonly Case[] = [
  { name: 'no status line', text: 'hello\r\n\r\n', code: 'SLV-4220' },
  { name: 'HTTP/2.0', text: 'HTTP/2.0 200 OK\r\n\r\n', code: 'SLV-4220' },
  { name: 'lower-case version', text: 'http/1.1 200 OK\r\n\r\n', code: 'SLV-4220' },
  { name: 'two digits', text: 'HTTP/1.1 20 OK\r\n\r\n', code: 'SLV-4220' },
  { name: 'four digits', text: 'HTTP/1.1 2000 OK\r\n\r\n', code: 'SLV-4220' },
  { name: 'status 099', text: 'HTTP/1.1 099 X\r\n\r\n', code: 'SLV-4220' },
  { name: 'status 600', text: 'HTTP/1.1 600 X\r\n\r\n', code: 'SLV-4220' },
  { name: 'bare LF', text: 'HTTP/1.1 200 OK\nx: y\n\n', code: 'SLV-4220' },
  { name: 'a control in the reason', text: 'HTTP/1.1 200 O\x01K\r\n\r\n', code: 'SLV-4220' },
  { name: 'an empty line before', text: `\r\n${ok('Content-Length: 0\r\n')}`, code: 'SLV-4220' },
  { name: 'space before a colon', text: ok('x : y\r\n'), code: 'SLV-4220' },
  { name: 'obs-fold', text: ok('x: y\r\n z\r\n'), code: 'SLV-4220' },
  { name: 'a head over the limit', text: ok(`x: ${'a'.repeat(65_536)}\r\n`), code: 'SLV-4220' },
  { name: '1,001 headers', text: ok('x: \r\n'.repeat(1_001)), code: 'SLV-4220' },
  { name: 'CL and TE', text: ok('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n'), code: 'SLV-4221' },
  { name: 'two lengths', text: ok('Content-Length: 5\r\nContent-Length: 6\r\n'), code: 'SLV-4221' },
  { name: 'gzip, chunked', text: ok('Transfer-Encoding: gzip, chunked\r\n'), code: 'SLV-4221' },
  { name: 'chunked in 1.0', text: 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', code: 'SLV-4221' },
  { name: 'a bad chunk', text: ok('Transfer-Encoding: chunked\r\n', '0x1\r\na\r\n'), code: 'SLV-4221' },
  { name: '204 with a length', text: 'HTTP/1.1 204 X\r\nContent-Length: 3\r\n\r\n', code: 'SLV-4221' },
  { name: '204 in chunks', text: 'HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n', code: 'SLV-4221' },
  { name: '100 with a length', text: 'HTTP/1.1 100 X\r\nContent-Length: 3\r\n\r\n', code: 'SLV-4221' },
  { name: '101 not asked for', text: 'HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n', code: 'SLV-4220' },
  { name: '17 interim answers', text: 'HTTP/1.1 103 X\r\n\r\n'.repeat(17), code: 'SLV-4220' },
  { name: 'a body behind HEAD', text: ok('Content-Length: 1\r\n', 'a'), methods: ['HEAD'], code: 'SLV-4220' },
  { name: 'an answer more', text: ok('Content-Length: 0\r\n').repeat(2), code: 'SLV-4220' },
  { name: 'bytes without a request', text: 'x', methods: [], code: 'SLV-4220' },
  { name: 'end before the head', text: '', end: true, code: 'SLV-4222' },
  { name: 'end in the head', text: 'HTTP/1.1 2', end: true, code: 'SLV-4222' },
  { name: 'end in the body', text: ok('Content-Length: 2\r\n', 'a'), end: true, code: 'SLV-4222' },
  { name: 'end in chunks', text: ok('Transfer-Encoding: chunked\r\n', '1\r\na\r\n'), end: true, code: 'SLV-4222' },
];

describe('ResponseDecoder refuses', () => {
  for (const { name, text, code, methods = ['GET'], end = false } of refused) {
    it(name, () => {
      const whole = recordResponses(cut(text, []), methods, { end });
      assert.equal(whole.refusal?.code, code, JSON.stringify(whole.refusal));
      assert.equal(whole.refusal?.status, 502);
      const everywhere = Array.from({ length: text.length }, (_, index) => index);
      assert.deepEqual(recordResponses(cut(text, everywhere), methods, { end }), whole);
    });
  }
});

describe('ResponseDecoder takes', () => {
  const all = (text: string, methods: readonly string[], options = {}) => {
    const record = recordResponses(cut(text, []), methods, options);
    assert.equal(record.refusal, undefined, JSON.stringify(record.refusal));
    assert.ok(record.messages.every((message) => message.complete));
    return record;
  };

  it('lengths, chunks and bodies that end with the connection', () => {
    const text =
      ok('Content-Length: 2\r\n', 'ab') + ok('Transfer-Encoding: chunked\r\n', '1\r\nc\r\n0\r\n\r\n') + ok('', 'def');
    const { messages } = all(text, ['GET', 'GET', 'GET'], { end: true });
    assert.deepEqual(
      messages.map(({ body }) => body),
      ['ab', 'c', 'def'],
    );
    assert.deepEqual(
      messages.map(({ head }) => head.keepAlive),
      [true, true, false],
    );
    assert.deepEqual(messages[2]?.head.framing, { kind: 'until-close' });
  });

  it('answers without a body', () => {
    const text = `${ok('Content-Length: 5\r\n')}HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\nHTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n`;
    const { messages } = all(text, ['HEAD', 'GET', 'DELETE']);
    assert.deepEqual(
      messages.map(({ head }) => [head.framing.kind, head.contentLength]),
      [
        ['none', 5],
        ['none', 7],
        ['none', 0],
      ],
    );
  });

  it('a head that repeats, by the method that it answers', () => {
    const head = ok('Content-Length: 2\r\n');
    const { messages } = all(`${head}ab${head}${head}${head}cd${head}ef`, ['GET', 'HEAD', 'HEAD', 'GET', 'GET']);
    assert.deepEqual(
      messages.map(({ body }) => body),
      ['ab', '', '', 'cd', 'ef'],
    );
    assert.deepEqual(
      messages.map(({ head: { onward } }) => onward),
      [undefined, {}, {}, {}, {}],
    );
  });

  it('interim answers, then the final one', () => {
    const record = all(
      `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\n\r\n${ok('Content-Length: 0\r\n')}`,
      ['GET'],
    );
    assert.deepEqual(record.informational, [100, 103]);
    assert.equal(record.messages.length, 1);
  });

  it('101, and everything behind it as it is', () => {
    const text = 'HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00HTTP/1.1';
    assert.equal(all(text, ['GET'], { upgrade: true, end: true }).upgraded, '\x81\x00HTTP/1.1');
  });

  it('1,000 headers, and many bytes of them', () => {
    const { messages } = all(ok(`${`x: ${'a'.repeat(50)}\r\n`.repeat(999)}Content-Length: 0\r\n`), ['GET']);
    assert.equal(messages[0]?.head.headers.length, 2_000);
  });

  it('status lines without a reason, names with underscores', () => {
    for (const line of ['HTTP/1.1 200', 'HTTP/1.1 200 ', 'HTTP/1.0 200 \xe9\tx']) {
      const { messages } = all(`${line}\r\nx_y: 1\r\nContent-Length: 0\r\n\r\n`, ['GET']);
      assert.equal(messages[0]?.head.status, 200);
    }
  });

  it('HTTP/1.0 connections for what they are', () => {
    const keep = (headers: string) =>
      all(`HTTP/1.0 200 OK\r\n${headers}\r\n`, ['GET'], { end: true }).messages[0]?.head.keepAlive;
    assert.equal(keep('Content-Length: 0\r\n'), false);
    assert.equal(keep('Content-Length: 0\r\nConnection: keep-alive\r\n'), true);
    assert.equal(keep('Connection: keep-alive\r\n'), false);
  });
});

describe('ResponseDecoder in time', () => {
  const silent = { onHead() {}, onBody() {}, onComplete() {}, onRefusal() {}, onInformational() {}, onUpgraded() {} };

  it('tells a stale connection from a broken answer', () => {
    const decoder = new ResponseDecoder(silent);
    decoder.startResponse('GET');
    assert.equal(decoder.untouched, true);
    decoder.execute(Buffer.from('H'));
    assert.equal(decoder.untouched, false);
  });

  it('awaits one answer at a time', () => {
    const decoder = new ResponseDecoder(silent);
    decoder.startResponse('GET');
    assert.throws(
      () => decoder.startResponse('GET'),
      (error) => isMeshError(error, 'SLV-1007'),
    );
    decoder.execute(Buffer.from(ok('Content-Length: 0\r\n')));
    assert.equal(decoder.idle, true);
    decoder.startResponse('GET');
    decoder.end();
    assert.equal(decoder.idle, false);
  });

  it('holds while paused', () => {
    const bodies: string[] = [];
    const decoder = new ResponseDecoder({
      ...silent,
      onHead: () => decoder.pause(),
      onBody: (chunk) => void bodies.push(chunk.toString()),
    });
    decoder.startResponse('GET');
    decoder.execute(Buffer.from(ok('Content-Length: 4\r\n', 'ab')));
    decoder.execute(Buffer.from('cd'));
    assert.deepEqual(bodies, []);
    decoder.resume();
    assert.deepEqual(bodies.join(''), 'abcd');
    assert.ok(decoder.idle);
  });
});
