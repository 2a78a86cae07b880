import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { dial, type RawPeer } from './raw-client.ts';
import { listening, Mesh } from './sidecars.ts';

/**
 * Whatever the requests of a pipeline and whatever the pieces in which their bytes come: through both proxies the application sees what it would see directly, and
 * the caller gets the same answers. node:http is the application and the oracle.
 */

interface Asked {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string;
  readonly framing: 'length' | 'chunked';
  /** How the application answers. */
  readonly answer: 'length' | 'chunked' | '204' | '304';
}

const token = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/);
const asked: fc.Arbitrary<Asked> = fc.record({
  method: fc.constantFrom('GET', 'HEAD', 'POST', 'PUT', 'DELETE'),
  path: fc.array(token, { maxLength: 4 }).map((segments) => `/${segments.join('/')}`),
  headers: fc.array(
    fc.tuple(
      token.map((name) => `x-t-${name}`),
      fc.stringMatching(/^[!-~]([ -~]{0,20}[!-~])?$/),
    ),
    { maxLength: 4 },
  ),
  body: fc.oneof(
    fc.string({ unit: 'binary-ascii', maxLength: 40 }),
    fc.integer({ min: 1, max: 90_000 }).map((size) => 'b'.repeat(size)),
  ),
  framing: fc.constantFrom('length', 'chunked'),
  answer: fc.constantFrom('length', 'chunked', '204', '304'),
});

function encode(request: Asked, last: boolean): string {
  const { method, path, headers, body, framing, answer } = request;
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  const head = `${method} ${path}?${answer} HTTP/1.1\r\nHost: db\r\n${last ? 'Connection: close\r\n' : ''}${lines}`;
  if (method === 'GET' || method === 'HEAD' || method === 'DELETE') return `${head}\r\n`;
  if (framing === 'length') return `${head}Content-Length: ${body.length}\r\n\r\n${body}`;
  const half = Math.floor(body.length / 2);
  const chunks = [body.slice(0, half), body.slice(half)].filter((chunk) => chunk !== '');
  return `${head}Transfer-Encoding: chunked\r\n\r\n${chunks.map((chunk) => `${chunk.length.toString(16)};x=1\r\n${chunk}\r\n`).join('')}0\r\nT: t\r\n\r\n`;
}

/** What the caller read, with chunks joined and without what the connection itself adds. */
function answersIn(text: string): string[] {
  const answers: string[] = [];
  let rest = text;
  while (rest !== '') {
    const end = rest.indexOf('\r\n\r\n');
    if (end < 0) return [...answers, `half: ${rest}`];
    const lines = rest.slice(0, end).split('\r\n');
    rest = rest.slice(end + 4);
    const length = Number(/content-length: (\d+)/i.exec(lines.join('\n'))?.[1] ?? 0);
    const isHead = lines.includes('X-Method: HEAD');
    let body = '';
    if (lines.some((line) => /^transfer-encoding: chunked$/i.test(line)) && !isHead) {
      for (;;) {
        const size = Number.parseInt(rest, 16);
        rest = rest.slice(rest.indexOf('\r\n') + 2);
        body += rest.slice(0, size);
        rest = rest.slice(size + 2);
        if (size === 0) break;
      }
    } else if (!isHead && !/ 304 /.test(lines[0] ?? '')) {
      body = rest.slice(0, length);
      rest = rest.slice(length);
    }
    const kept = lines.filter((line) => !/^(date|connection|keep-alive|transfer-encoding):/i.test(line)).sort();
    answers.push(`${kept.join('|')}|${body}`);
  }
  return answers;
}

describe('pipelines', () => {
  let mesh: Mesh;
  let direct = 0;
  const seen: string[] = [];

  const application = () =>
    createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const body = Buffer.concat(chunks).toString('latin1');
        const own = Object.entries(request.headers).filter(([name]) => name.startsWith('x-t-') || name === 'host');
        seen.push(JSON.stringify([request.method, request.url, own.sort(), body]));
        response.setHeader('X-Method', request.method ?? '');
        const answer = request.url?.split('?')[1];
        if (answer === '204' || answer === '304') {
          response.statusCode = Number(answer);
          response.end();
        } else if (answer === 'chunked') {
          response.write(`you said ${body.length}: `);
          response.end(body);
        } else {
          response.end(Buffer.from(body, 'latin1'));
        }
      });
    });

  before(async () => {
    mesh = new Mesh({ applications: [application()] });
    await mesh.start();
    const server = application();
    direct = await listening(server);
    mesh.defer(() => {
      server.close();
      server.closeAllConnections();
    });
  });
  after(() => mesh.close());

  /** Sends the pieces a turn of the event loop apart. @returns what the application saw, and what came back */
  async function run(port: number, pieces: readonly Buffer[]): Promise<{ requests: string[]; answers: string[] }> {
    seen.length = 0;
    const client: RawPeer = mesh.keep(dial(port));
    for (const piece of pieces) {
      client.send(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await client.untilEnded();
    client.end();
    return { requests: [...seen], answers: answersIn(client.text) };
  }

  test('through both proxies are what they are directly, in any pieces', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(asked, { minLength: 1, maxLength: 5 }),
        fc.array(fc.nat(), { maxLength: 12 }),
        async (requests, places) => {
          const bytes = Buffer.from(
            requests.map((request, index) => encode(request, index === requests.length - 1)).join(''),
            'latin1',
          );
          const cuts = [0, ...places.map((place) => place % bytes.length).sort((a, b) => a - b), bytes.length];
          const pieces = cuts.slice(1).map((end, index) => bytes.subarray(cuts[index], end));
          const expected = await run(direct, [bytes]);
          const actual = await run(mesh.port, pieces);
          assert.equal(expected.answers.length, requests.length);
          assert.deepEqual(actual, expected);
        },
      ),
      { numRuns: 60, timeout: 10_000 },
    );
    assert.ok(mesh.settled);
  });
});
