import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { BodyEncoder } from './body-encoder.ts';
import { forwardableHeaders } from './forwardable-headers.ts';
import { chunksOf, type GeneratedRequest, mutated, requests, requestText } from './generated-requests.ts';
import { encodeRequestHead, encodeResponseHead } from './head-encoder.ts';
import type { Framing } from './message.ts';
import { cut, recordRequests, recordResponses } from './recorder.ts';

const places = fc.array(fc.nat(4_000), { maxLength: 12 });
const pipeline = fc.array(requests, { minLength: 1, maxLength: 4 });
const textOf = (list: readonly GeneratedRequest[]) => list.map(requestText).join('');

function encodeBody(framing: Framing, body: string): string {
  const pieces: Buffer[] = [];
  const encoder = new BodyEncoder(framing, (piece) => pieces.push(piece));
  for (const chunk of chunksOf(body)) encoder.push(Buffer.from(chunk, 'latin1'));
  encoder.finish();
  return Buffer.concat(pieces).toString('latin1');
}

describe('the codec, for any request', () => {
  it('takes what is well formed', () => {
    fc.assert(
      fc.property(pipeline, (list) => {
        const { messages, refusal } = recordRequests(cut(textOf(list), []), true);
        assert.equal(refusal, undefined, JSON.stringify(refusal));
        assert.deepEqual(
          messages.map(({ head, body, complete }) => [head.method, head.target, body, complete]),
          list.map((request) => [request.method, request.target, request.body, true]),
        );
      }),
      { numRuns: 300 },
    );
  });

  it('tells the same whatever the pieces', () => {
    fc.assert(
      fc.property(pipeline, places, fc.boolean(), (list, cuts, end) => {
        const text = textOf(list);
        assert.deepEqual(recordRequests(cut(text, cuts), end), recordRequests(cut(text, []), end));
      }),
      { numRuns: 500 },
    );
  });

  it('tells the same whatever the pieces, of mutated bytes too, and never throws', () => {
    fc.assert(
      fc.property(mutated(pipeline.map(textOf)), places, fc.boolean(), (text, cuts, end) => {
        assert.deepEqual(recordRequests(cut(text, cuts), end), recordRequests(cut(text, []), end));
      }),
      { numRuns: 3_000 },
    );
  });

  it('tells of a head that repeats, or nearly does, what a new connection would tell', () => {
    const pairs = requests.map(requestText).chain((text) => fc.tuple(fc.constant(text), mutated(fc.constant(text))));
    fc.assert(
      fc.property(pairs, places, ([text, other], cuts) => {
        const alone = recordRequests([Buffer.from(text, 'latin1')]);
        const otherAlone = recordRequests([Buffer.from(other, 'latin1')]);
        const { messages, refusal } = recordRequests(cut(text + text + other, cuts));
        assert.deepEqual(messages, [...alone.messages, ...alone.messages, ...otherAlone.messages]);
        assert.deepEqual(refusal, otherAlone.refusal);
        assert.equal(messages[0]?.head, messages[1]?.head, 'it was not read again');
      }),
      { numRuns: 1_000 },
    );
  });

  it('reads again what it encodes, and encodes the same', () => {
    fc.assert(
      fc.property(requests, (request) => {
        const encode = (text: string) => {
          const { head, body } = recordRequests(cut(text, [])).messages[0] ?? assert.fail('refused');
          const encoded = encodeRequestHead(head.method, head.target, forwardableHeaders(head), head.framing);
          return encoded + encodeBody(head.framing, body);
        };
        const once = encode(requestText(request));
        assert.equal(encode(once), once);
      }),
      { numRuns: 500 },
    );
  });
});

describe('the codec, for any bytes', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.string({ maxLength: 300 }).map((text) => Buffer.from(text)),
  );

  it('never throws', () => {
    fc.assert(
      fc.property(bytes, places, (input, cuts) => {
        const text = Buffer.from(input).toString('latin1');
        recordRequests(cut(text, cuts), true);
        recordResponses(cut(text, cuts), ['GET', 'HEAD'], { end: true });
      }),
      { numRuns: 2_000 },
    );
  });

  it('reads mutated answers the same whatever the pieces', () => {
    const answers = fc
      .record({
        status: fc.constantFrom(100, 101, 200, 204, 304, 404, 500),
        body: fc.string({ maxLength: 40, unit: 'binary-ascii' }),
        kind: fc.constantFrom('length' as const, 'chunked' as const, 'until-close' as const),
      })
      .map(({ status, body, kind }) => {
        const framing: Framing = kind === 'length' ? { kind, bytes: body.length } : { kind };
        return encodeResponseHead(status, 'Text', ['x-a', 'b', 'Server', 'x'], framing) + encodeBody(framing, body);
      });
    fc.assert(
      fc.property(mutated(answers), places, fc.constantFrom('GET', 'HEAD'), (text, cuts, method) => {
        const options = { end: true, upgrade: true };
        const methods = [method, 'GET'];
        assert.deepEqual(
          recordResponses(cut(text, cuts), methods, options),
          recordResponses(cut(text, []), methods, options),
        );
      }),
      { numRuns: 2_000 },
    );
  });
});
