import fc from 'fast-check';

/** A well-formed request for tests, before it is text. */
export interface GeneratedRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Latin1. */
  readonly body: string;
  readonly framing: 'none' | 'length' | 'chunked';
}

const nameUnit = fc.constantFrom(..."abcXYZ019-!#$%&'*+.^`|~");
const valueUnit = fc.constantFrom(...'abc XYZ,;="\t:\xe9\xff()/');
const targetUnit = fc.constantFrom(..."abc/XYZ.;=&?%2f@:~-_!$'()*+,");
const reserved =
  /^(te|host|expect|upgrade|trailer|connection|keep-alive|content-length|transfer-encoding|http2-settings|proxy-.*)$/i;

const header = fc
  .tuple(
    fc.string({ unit: nameUnit, minLength: 1, maxLength: 16 }).filter((name) => !reserved.test(name)),
    fc.string({ unit: valueUnit, maxLength: 40 }),
  )
  .map(([name, value]) => [`x${name}`, value.replace(/^[ \t]+|[ \t]+$/g, '')] as const);

/** Well-formed requests, with methods that node:http knows. */
export const requests: fc.Arbitrary<GeneratedRequest> = fc
  .record({
    method: fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'PROPFIND'),
    target: fc.string({ unit: targetUnit, maxLength: 30 }).map((rest) => `/${rest}`),
    headers: fc.array(header, { maxLength: 6 }),
    body: fc.oneof(
      fc.string({ maxLength: 60, unit: 'binary-ascii' }),
      fc.constant('GET / HTTP/1.1\r\nHost: evil\r\n\r\n'),
    ),
    framing: fc.constantFrom('none' as const, 'length' as const, 'chunked' as const),
  })
  .map((request) => (request.framing === 'none' ? { ...request, body: '' } : request));

/** A body in pieces of some different sizes. */
export function chunksOf(body: string): string[] {
  const chunks: string[] = [];
  for (let at = 0, size = 1; at < body.length; at += size, size = (size * 3) % 17 || 1)
    chunks.push(body.slice(at, at + size));
  return chunks;
}

/** The bytes on the wire as latin1 text, chunked bodies with extensions and trailers now and then. */
export function requestText({ method, target, headers, body, framing }: GeneratedRequest): string {
  let text = `${method} ${target} HTTP/1.1\r\nHost: a.b:1\r\n`;
  for (const [name, value] of headers) text += `${name}:${value.length % 2 === 0 ? ' ' : ''}${value}\r\n`;
  if (framing === 'none') return `${text}\r\n`;
  if (framing === 'length') return `${text}Content-Length: ${body.length}\r\n\r\n${body}`;
  text += 'Transfer-Encoding: chunked\r\n\r\n';
  for (const chunk of chunksOf(body))
    text += `${chunk.length.toString(16)}${chunk.length === 3 ? ';a="b"' : ''}\r\n${chunk}\r\n`;
  return `${text}0\r\n${body.length % 3 === 0 ? 'X-Trailer: 1\r\n' : ''}\r\n`;
}

const snippets = [
  '\r',
  '\n',
  '\r\n',
  '\r\n\r\n',
  '\0',
  ' ',
  '\t',
  ':',
  ',',
  ';',
  '_',
  '0',
  '1',
  'f',
  '\x0b',
  '\x7f',
  '\x80',
  '\xa0',
  '\xff',
  'Content-Length: 5\r\n',
  'Content-Length: 0\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Transfer-Encoding: identity\r\n',
  'transfer-encoding:\tchunked\r\n',
  'Host: b\r\n',
  'Connection: close\r\n',
  'Connection: content-length\r\n',
  'Expect: 100-continue\r\n',
  'Upgrade: h2c\r\n',
  '0\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
  'HTTP/1.0',
];

/** Text with a few insertions, deletions, repetitions and changed bytes, at line ends more often than elsewhere. */
export function mutated(texts: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const change = fc.record({
    place: fc.nat(4_000),
    atLineEnd: fc.boolean(),
    kind: fc.constantFrom('insert' as const, 'delete' as const, 'replace' as const, 'repeat' as const),
    snippet: fc.constantFrom(...snippets),
    length: fc.integer({ min: 1, max: 12 }),
  });
  return fc.tuple(texts, fc.array(change, { minLength: 1, maxLength: 4 })).map(([text, changes]) => {
    let result = text;
    for (const { place, atLineEnd, kind, snippet, length } of changes) {
      let at = place % (result.length + 1);
      if (atLineEnd) at = Math.max(0, result.indexOf('\r\n', at)) + 2;
      const tail = result.slice(at);
      if (kind === 'insert') result = result.slice(0, at) + snippet + tail;
      else if (kind === 'delete') result = result.slice(0, at) + tail.slice(length);
      else if (kind === 'replace') result = result.slice(0, at) + snippet + tail.slice(snippet.length);
      else result = result.slice(0, at) + tail.slice(0, length) + tail;
    }
    return result;
  });
}
