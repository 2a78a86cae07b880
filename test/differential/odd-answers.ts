import fc from 'fast-check';
import { cut, recordResponses } from '#edge-proxy/http1/recorder.ts';

/**
 * What an application answers that readers disagree about: where the answer ends, and whether there is another behind it (response splitting, desync). Few may be forwarded;
 * those that are must be read in one way, by whoever asked.
 */

/** The answer to one request. */
export interface OddAnswer {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'DELETE';
  /** Latin1. */
  readonly text: string;
  readonly cuts: readonly number[];
  /** Where the answer begins, behind its 1xx. */
  readonly behind: number;
  /** The application ends the connection behind it. */
  readonly ends: boolean;
}

/** As the application sends it. */
export function piecesOf({ text, cuts }: OddAnswer): Buffer[] {
  return cut(text, cuts);
}

/** What must never be read as an answer: it stands where a body, or nothing, is. */
export const poison = 'HTTP/1.1 200 OK\r\nX-Poison: 1\r\nContent-Length: 6\r\n\r\npoison';

const statusLines = [
  'HTTP/1.1 200 OK',
  'HTTP/1.1 200',
  'HTTP/1.1 200 ',
  'HTTP/1.0 200 OK',
  'HTTP/1.1 204 No Content',
  'HTTP/1.1 205 Reset Content',
  'HTTP/1.1 206 Partial Content',
  'HTTP/1.1 304 Not Modified',
  'HTTP/1.1 301 Moved',
  'HTTP/1.1 401 Unauthorized',
  'HTTP/1.1 404 \xe9\t\xff',
  'HTTP/1.1 413 Too Large',
  'HTTP/1.1 500 No',
  'HTTP/1.1 599 Odd',
  'HTTP/1.1 600 Odd',
  'HTTP/1.1 99 Odd',
  'HTTP/1.1 2000 OK',
  'HTTP/1.1 +200 OK',
  'HTTP/1.1  200 OK',
  'HTTP/1.1\t200 OK',
  'HTTP/2.0 200 OK',
  'HTTP/1.2 200 OK',
  'http/1.1 200 OK',
  ' HTTP/1.1 200 OK',
  '\r\nHTTP/1.1 200 OK',
  'HTTP/1.1 200 O\rK',
  'HTTP/1.1 200 O\0K',
  'ICY 200 OK',
  'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket',
  'HTTP/1.1 100 Continue',
] as const;

/** What comes before the answer. */
const interims = [
  'HTTP/1.1 100 Continue\r\n\r\n',
  'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n',
  'HTTP/1.1 102 Processing\r\nContent-Length: 0\r\n\r\n',
  'HTTP/1.1 103 Hints\r\nContent-Length: 6\r\n\r\n',
  'HTTP/1.1 103 Hints\r\nTransfer-Encoding: chunked\r\n\r\n',
  'HTTP/1.0 100 Continue\r\n\r\n',
  'HTTP/1.1 199 \r\n\r\n',
  'HTTP/1.1 100\r\n\r\n',
  'HTTP/1.1 103 Hints\n\n',
] as const;

const framingLines = [
  'Content-Length: 5',
  'Content-Length: 0',
  'Content-Length: 05',
  'Content-Length: 5\r\nContent-Length: 5',
  'Content-Length: 5\r\nContent-Length: 6',
  'Content-Length: 5, 5',
  'Content-Length: +5',
  'Content-Length: -5',
  'Content-Length: 5.0',
  'Content-Length: 0x5',
  'Content-Length: ',
  'Content-Length: 18446744073709551621',
  'Content-Length : 5',
  ' Content-Length: 5',
  'Content_Length: 5',
  'Content-Length: 5\0',
  'X: y\n Content-Length: 5',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: Chunked',
  'Transfer-Encoding: identity',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding: chunked, chunked',
  'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked',
  'Transfer-Encoding:\r\n chunked',
  'Transfer-Encoding:\x0bchunked',
  'Transfer-Encoding : chunked',
  'Transfer_Encoding: chunked',
  'Transfer-Encoding: xchunked',
  'Transfer-Encoding: ',
] as const;

const otherLines = [
  'Connection: close',
  'Connection: keep-alive',
  'Connection: x-a',
  'Connection: content-length',
  'Connection: transfer-encoding',
  'Keep-Alive: timeout=5',
  'Upgrade: h2c',
  'Connection: upgrade\r\nUpgrade: websocket',
  'Trailer: X-T',
  'Set-Cookie: a=b\r\nSet-Cookie: c=d',
  'X-A: 1\r\nx-a: 2',
  'X-A:',
  'X_A: 1',
  'X-A : 1',
  'X-A: 1\r\n folded',
  'X-A: 1\r\n\tfolded',
  ': empty',
  'no colon',
  'X-A: a\0b',
  'X-A: a\rb',
  'X-A: a\nX-Poison: 1',
  'X-A: a\r\n\rX-Poison: 1',
  'X-A: \xe9\xff',
  'X-A: a\r\r\nX-B: b',
  'Selvedge-Decision: made up',
  'selvedge-reached: no',
  'X-Forwarded-Client-Cert: By=a;URI=b',
  'Proxy-Connection: keep-alive',
  'Content-Type: text/plain',
  'Content-Encoding: gzip',
  'Vary: *',
  'Date: yesterday',
] as const;

const bodies = [
  '',
  'abcde',
  'abcdef',
  'abc',
  '5\r\nabcde\r\n0\r\n\r\n',
  '5;x=y\r\nabcde\r\n0\r\n\r\n',
  '5;x="\r\n"\r\nabcde\r\n0\r\n\r\n',
  '5 \r\nabcde\r\n0\r\n\r\n',
  '5\t;x\r\nabcde\r\n0\r\n\r\n',
  '0x5\r\nabcde\r\n0\r\n\r\n',
  '05\r\nabcde\r\n000\r\n\r\n',
  '+5\r\nabcde\r\n0\r\n\r\n',
  '5\nabcde\n0\n\n',
  '5\r\nabcde\n0\r\n\r\n',
  '5\r\nabcdeXX0\r\n\r\n',
  '5\r\nabcde0\r\n\r\n',
  '4\r\nabcde\r\n0\r\n\r\n',
  '5\r\nabcde\r\n0\r\nX-T: 1\r\n\r\n',
  '5\r\nabcde\r\n0\r\nContent-Length: 6\r\nX-Poison: 1\r\n\r\n',
  '5\r\nabcde\r\n0\r\n bad: 1\r\n\r\n',
  '5\r\nabcde\r\n0\r\n',
  '5\r\nabcde\r\n0\n\n',
  '5\r\nabcde\r\n',
  '10000000000000005\r\nabcde\r\n0\r\n\r\n',
  'fffffffffffffffff\r\nabcde',
  `${poison.length.toString(16)}\r\n${poison}\r\n0\r\n\r\n`,
] as const;

/** Behind what should be its end. */
const rests = ['x', '\r\n', '\n', '\r\n\r\n', '\0', poison, `\r\n${poison}`, `0\r\n\r\n${poison}`] as const;

/** Mostly what is in order: of answers with an oddity everywhere nothing is ever forwarded. */
const mostly = <T>(usual: T, odd: fc.Arbitrary<T>) =>
  fc.oneof({ arbitrary: fc.constant(usual), weight: 4 }, { arbitrary: odd, weight: 1 });

const bases = [
  { framing: 'Content-Length: 5', body: 'abcde' },
  { framing: 'Transfer-Encoding: chunked', body: '5\r\nabcde\r\n0\r\n\r\n' },
  { framing: `Content-Length: ${poison.length}`, body: poison },
  { framing: 'Content-Length: 0', body: '' },
  { framing: '', body: 'abcde' },
] as const;

export const oddAnswers: fc.Arbitrary<OddAnswer> = fc
  .record({
    method: fc.oneof({ arbitrary: fc.constant('GET' as const), weight: 3 }, fc.constantFrom('HEAD', 'POST', 'DELETE')),
    base: fc.constantFrom(...bases),
    interim: mostly<readonly string[]>([], fc.array(fc.constantFrom(...interims), { maxLength: 20 })),
    statusLine: mostly<string>('HTTP/1.1 200 OK', fc.constantFrom(...statusLines)),
    framing: mostly<string | undefined>(undefined, fc.constantFrom(...framingLines)),
    both: fc.boolean(),
    others: fc.uniqueArray(fc.constantFrom(...otherLines), { maxLength: 2 }),
    body: mostly<string | undefined>(undefined, fc.constantFrom(...bodies)),
    rest: mostly('', fc.constantFrom(...rests)),
    lineEnd: mostly('\r\n', fc.constantFrom('\n', '\r', '\r\r\n', '\n\r\n')),
    oddEndAt: fc.nat(6),
    cuts: fc.array(fc.nat(400), { maxLength: 4 }),
    ends: fc.boolean(),
  })
  .map(({ method, base, interim, statusLine, framing, both, others, body, rest, lineEnd, oddEndAt, cuts, ends }) => {
    const framings = framing === undefined ? [base.framing] : both ? [base.framing, framing] : [framing];
    const lines = [statusLine, ...others, ...framings.filter((line) => line !== '')];
    const head = lines.map((line, at) => line + (at === oddEndAt ? lineEnd : '\r\n')).join('');
    const withBody = method === 'HEAD' && body === undefined ? '' : (body ?? base.body);
    const text = `${interim.join('')}${head}\r\n${withBody}${rest}`;
    // Where more is awaited, nothing would ever happen.
    const whole = recordResponses(cut(text, []), [method]).messages[0]?.complete === true;
    return { method, text, cuts, behind: interim.join('').length, ends: ends || !whole };
  });
