import assert from 'node:assert/strict';
import { test } from 'node:test';
import { strictNormalization } from '#policies/request-normalization.ts';
import { recordRequests } from './http1/recorder.ts';
import { encodeRequest, OnwardRequest, outgoingRequest } from './onward-request.ts';

const bytes = Buffer.from('GET /a HTTP/1.1\r\nHost: db.mesh\r\nx_y: 1\r\n\r\n');
const [first, second] = recordRequests([bytes, bytes], false, { allowUnderscores: true }).messages;
const http2 = { takesTrailers: false, grpc: false };

test('a request that repeats is made and encoded once, for as long as its service says the same of it', () => {
  assert.ok(first !== undefined && second !== undefined);
  const allowing = { ...strictNormalization, underscores: 'DROP_HEADER' } as const;
  const onward = new OnwardRequest();
  const pass = (words: typeof strictNormalization) => {
    const target = onward.normalise(second.head, words);
    return target.ok ? target : assert.fail(target.reason);
  };

  const target = pass(allowing);
  assert.equal(onward.again(undefined), undefined);
  const request = onward.keep(outgoingRequest(target.head, target.path, target.head.headers, undefined));
  assert.equal(onward.normalise(first.head, allowing), target);
  const repeated = onward.again(undefined);
  assert.deepEqual(repeated, { ...request, text: encodeRequest(request) });
  assert.equal(pass(allowing), target);
  assert.equal(onward.again(undefined), repeated);

  // Over HTTP/2 it is another one, whose head is encoded by its connection.
  assert.equal(onward.again(http2), undefined);
  const other = onward.keep(outgoingRequest(target.head, target.path, target.head.headers, http2));
  assert.equal(onward.again(http2), other);
  assert.equal(other.text, undefined);

  assert.equal(onward.normalise(second.head, strictNormalization).ok, false);
  assert.equal(onward.again(http2), undefined);
  pass({ ...allowing });
  assert.equal(onward.again(http2), undefined);
});

test('of a long request nothing is kept, nor of one of HTTP/2, which never repeats', () => {
  const long = Buffer.from(`GET /a HTTP/1.1\r\nHost: db.mesh\r\nx: ${'1'.repeat(5_000)}\r\n\r\n`);
  const [one, again] = recordRequests([long, long]).messages;
  assert.ok(one !== undefined && again !== undefined && first !== undefined);
  assert.notEqual(one.head, again.head);
  assert.deepEqual(one.head, again.head);
  for (const head of [one.head, { ...first.head, underscored: false, http2 }]) {
    const onward = new OnwardRequest();
    const target = onward.normalise(head, strictNormalization);
    assert.ok(target.ok);
    onward.keep(outgoingRequest(target.head, target.path, target.head.headers, undefined));
    assert.equal(onward.again(undefined), undefined);
  }
});
