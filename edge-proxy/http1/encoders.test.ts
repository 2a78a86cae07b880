import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { BodyEncoder } from './body-encoder.ts';
import { encodeError } from './error-response.ts';
import { forwardableHeaders, headerValues, onwardHeaders } from './forwardable-headers.ts';
import {
  connectionTowards,
  encodeAnswer,
  encodeRequestHead,
  encodeResponseHead,
  framingTowards,
  pushHeader,
} from './head-encoder.ts';
import type { Framing } from './message.ts';
import { cut, recordRequests, recordResponses } from './recorder.ts';

function encoded(framing: Framing, chunks: readonly Buffer[]): string {
  const pieces: Buffer[] = [];
  const encoder = new BodyEncoder(framing, (piece) => pieces.push(piece));
  for (const chunk of chunks) encoder.push(chunk);
  encoder.finish();
  return Buffer.concat(pieces).toString('latin1');
}

describe('forwardableHeaders', () => {
  const forwarded = (headers: string, strip?: readonly string[]) => {
    const { messages, refusal } = recordRequests(cut(`GET / HTTP/1.1\r\nHost: a\r\n${headers}\r\n`, []));
    assert.equal(refusal, undefined);
    return forwardableHeaders(messages[0]?.head ?? { headers: [], connectionOptions: [] }, strip);
  };

  it('drops hop-by-hop headers', () => {
    const hop = [
      'Connection: X-A, keep-alive',
      'Keep-Alive: 1',
      'Proxy-Connection: x',
      'TE: trailers',
      'Trailer: x',
      'Transfer-Encoding: chunked',
    ];
    const more = [
      'Upgrade: x',
      'HTTP2-Settings: x',
      'Proxy-Authorization: x',
      'Proxy-Authenticate: x',
      'Expect: 100-continue',
      'x-a: 1',
      'X-B: 2',
    ];
    assert.deepEqual(forwarded(`${[...hop, ...more].join('\r\n')}\r\n`), ['Host', 'a', 'X-B', '2']);
    assert.deepEqual(forwarded('Content-Length: 0\r\n'), ['Host', 'a']);
  });

  it('drops claims of identity in any case', () => {
    const claims = [
      'X-Forwarded-Client-Cert: By=x',
      'Selvedge-Caller: web',
      'SELVEDGE-REACHED: no',
      'x-Selvedge-Id: x',
      'selvedge-: x',
    ];
    assert.deepEqual(forwarded(`${claims.join('\r\n')}\r\nSelvedge: kept\r\nx-selvedge: kept\r\n`), [
      'Host',
      'a',
      'Selvedge',
      'kept',
      'x-selvedge',
      'kept',
    ]);
  });

  it('drops what it is told to', () => {
    assert.deepEqual(forwarded('Cookie: 1\r\ncOOkie: 2\r\nCookie2: 3\r\n', ['cookie']), ['Host', 'a', 'Cookie2', '3']);
  });

  it('headerValues finds every line of a header', () => {
    assert.deepEqual(headerValues(['A', '1', 'b', '2', 'a', '3'], 'a'), ['1', '3']);
  });
});

describe('heads', () => {
  it('say length and connection once', () => {
    assert.equal(
      encodeRequestHead('POST', '/x', ['Host', 'a'], { kind: 'length', bytes: 3 }, 'close'),
      'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\n',
    );
    assert.equal(encodeRequestHead('GET', '/', ['Host', 'a'], { kind: 'none' }), 'GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    assert.equal(
      encodeRequestHead('GET', '/', ['Host', 'a'], { kind: 'none' }, { upgrade: 'websocket' }),
      'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    );
    assert.equal(
      encodeResponseHead(200, 'OK', [], { kind: 'chunked' }),
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
    );
    assert.equal(
      encodeResponseHead(200, '', [], { kind: 'none' }, undefined, 7),
      'HTTP/1.1 200 \r\nContent-Length: 7\r\n\r\n',
    );
  });

  it('suit the caller', () => {
    const old = { minorVersion: 0, keepAlive: true } as const;
    const current = { minorVersion: 1, keepAlive: true } as const;
    assert.equal(framingTowards(old, { framing: { kind: 'chunked' } }).kind, 'until-close');
    assert.equal(framingTowards(current, { framing: { kind: 'until-close' } }).kind, 'chunked');
    assert.equal(framingTowards(old, { framing: { kind: 'length', bytes: 1 } }).kind, 'length');
    assert.equal(connectionTowards(old, { kind: 'none' }, true), 'keep-alive');
    assert.equal(connectionTowards(old, { kind: 'until-close' }, true), 'close');
    assert.equal(connectionTowards(current, { kind: 'none' }, true), undefined);
    assert.equal(connectionTowards(current, { kind: 'none' }, false), 'close');
    assert.equal(connectionTowards({ ...current, keepAlive: false }, { kind: 'none' }, true), 'close');
  });

  it('take no header of ours that would be two', () => {
    const headers: string[] = [];
    pushHeader(headers, 'x-a', 'b c');
    pushHeader(headers, 'x-e', '');
    assert.deepEqual(headers, ['x-a', 'b c', 'x-e', '']);
    for (const [name, value] of [
      ['x', 'a\r\nb: c'],
      ['x', 'a\nb'],
      ['x', ' a'],
      ['x', 'a\t'],
      ['x', '\0'],
      ['x', '\u0100'],
      ['x y', 'a'],
      ['', 'a'],
      ['x:', 'a'],
    ] as const)
      assert.throws(
        () => pushHeader(headers, name, value),
        (error) => isMeshError(error, 'SLV-1007'),
        `${name}: ${value}`,
      );
  });
});

describe('BodyEncoder', () => {
  const large = Buffer.alloc(20_000, 0x61);

  it('frames in chunks, small ones in one piece', () => {
    assert.equal(
      encoded({ kind: 'chunked' }, [Buffer.from('abc'), Buffer.alloc(0), Buffer.from('d')]),
      '3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n',
    );
    assert.equal(encoded({ kind: 'chunked' }, [large]), `4e20\r\n${large.toString()}\r\n0\r\n\r\n`);
  });

  it('passes other bodies on as they are', () => {
    const pieces: Buffer[] = [];
    const encoder = new BodyEncoder({ kind: 'length', bytes: large.length }, (piece) => pieces.push(piece));
    encoder.push(large);
    encoder.finish();
    assert.equal(pieces[0], large);
    assert.equal(encoded({ kind: 'until-close' }, [large]), large.toString());
  });

  it('never sends another length than announced', () => {
    const length = { kind: 'length', bytes: 2 } as const;
    assert.throws(
      () => encoded(length, [Buffer.from('abc')]),
      (error) => isMeshError(error, 'SLV-4221'),
    );
    assert.throws(
      () => encoded(length, [Buffer.from('a')]),
      (error) => isMeshError(error, 'SLV-4221'),
    );
    assert.throws(
      () => encoded({ kind: 'none' }, [Buffer.from('a')]),
      (error) => isMeshError(error, 'SLV-4221'),
    );
  });
});

describe('encodeAnswer', () => {
  const bytes = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: x\r\n\r\nab');

  it('encodes a head that repeats once, where nothing is added to it', () => {
    const { head } = recordResponses([bytes, bytes], ['GET', 'GET']).messages[1] ?? assert.fail('refused');
    const headers = onwardHeaders(head);
    assert.equal(onwardHeaders(head), headers);
    const plain = 'HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\n\r\n';
    assert.equal(
      encodeAnswer(head, headers, head.framing, 'close'),
      plain.replace(/\r\n$/, 'Connection: close\r\n\r\n'),
    );
    assert.equal(
      encodeAnswer(head, [...headers, 'a', 'b'], head.framing, undefined),
      plain.replace('x\r', 'x\r\na: b\r'),
    );
    assert.equal(head.onward?.text, undefined);
    assert.equal(encodeAnswer(head, headers, head.framing, undefined), plain);
    assert.equal(head.onward?.text, plain);
    assert.equal(
      encodeAnswer(head, headers, { kind: 'chunked' }, undefined),
      plain.replace('Content-Length: 2', 'Transfer-Encoding: chunked'),
    );
    assert.equal(encodeAnswer(head, headers, head.framing, undefined), plain);
  });

  it('keeps nothing of one that comes for the first time', () => {
    const { head } = recordResponses([bytes], ['GET']).messages[0] ?? assert.fail('refused');
    encodeAnswer(head, onwardHeaders(head), head.framing, undefined);
    assert.equal(head.onward, undefined);
  });
});

describe('encodeError', () => {
  const refusal = { status: 403, code: 'SLV-4201', reason: 'because' } as const;

  it('is a whole answer that closes', () => {
    const { messages, refusal: broken } = recordResponses([encodeError(refusal, 'd-1')], ['GET']);
    assert.equal(broken, undefined);
    const [message] = messages;
    assert.deepEqual([message?.head.status, message?.head.reason, message?.head.keepAlive], [403, 'Forbidden', false]);
    assert.deepEqual(headerValues(message?.head.headers ?? [], 'selvedge-decision'), ['d-1']);
    const problem = JSON.parse(message?.body ?? '');
    assert.deepEqual(
      [problem.status, problem.code, problem.detail, problem.context],
      [403, 'SLV-4201', 'because', { decision: 'd-1' }],
    );
  });

  it('has no body for HEAD, and can keep the connection', () => {
    const bytes = encodeError(refusal, undefined, {
      headRequest: true,
      keepAlive: true,
      headers: ['selvedge-reached', 'no'],
    });
    const { messages, refusal: broken } = recordResponses([bytes], ['HEAD']);
    assert.equal(broken, undefined);
    assert.equal(messages[0]?.head.keepAlive, true);
    assert.deepEqual(headerValues(messages[0]?.head.headers ?? [], 'selvedge-reached'), ['no']);
  });
});
