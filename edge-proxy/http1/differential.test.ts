import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { BodyEncoder } from './body-encoder.ts';
import { forwardableHeaders } from './forwardable-headers.ts';
import { mutated, requests, requestText } from './generated-requests.ts';
import { encodeRequestHead } from './head-encoder.ts';
import { noBody, type RequestHead } from './message.ts';
import { cut, type Recorded, recordRequests } from './recorder.ts';

/** What the other parser (node:http, llhttp) saw of one request. */
interface Seen {
  readonly method: string | undefined;
  readonly target: string | undefined;
  readonly headers: readonly string[];
  readonly body: string;
}

/** What it has to see: what we saw, as forwarded. */
function expected({ head, body }: Recorded<RequestHead>): Seen {
  return { method: head.method, target: head.target, headers: forwardableHeaders(head), body };
}

function encode({ head, body }: Recorded<RequestHead>): Buffer[] {
  const pieces: Buffer[] = [
    Buffer.from(encodeRequestHead(head.method, head.target, forwardableHeaders(head), head.framing), 'latin1'),
  ];
  const encoder = new BodyEncoder(head.framing, (piece) => pieces.push(piece));
  encoder.push(Buffer.from(body, 'latin1'));
  encoder.finish();
  return pieces;
}

/** Methods that llhttp knows: of others it can say nothing. */
const knownMethods = /^(GET|POST|PUT|DELETE|PATCH|OPTIONS|PROPFIND|HEAD)$/;

describe('node:http reads what we accept and encode as we read it', () => {
  const seen: Seen[] = [];
  let server: Server;

  before(async () => {
    server = createServer({ joinDuplicateHeaders: false }, (request, response) => {
      let body = '';
      request.setEncoding('latin1');
      request.on('data', (chunk: string) => {
        body += chunk;
      });
      request.on('end', () => {
        const headers = request.rawHeaders.filter(
          (_, index) => !isFraming(request.rawHeaders[index - (index % 2)] ?? ''),
        );
        seen.push({ method: request.method, target: request.url, headers, body });
        response.end();
      });
    });
    server.maxRequestsPerSocket = 0;
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });

  after(() => {
    server.closeAllConnections();
    server.close();
  });

  /** Sends all on one connection and waits until the last was seen. */
  async function compare(accepted: readonly Recorded<RequestHead>[]): Promise<void> {
    seen.length = 0;
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    let answers = '';
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      answers = answers.slice(-2_000) + chunk;
    });
    for (const request of accepted) for (const piece of encode(request)) socket.write(piece);
    const last = Buffer.from(encodeRequestHead('GET', '/last', ['Host', 'a'], noBody, 'close'), 'latin1');
    socket.end(last);
    await once(socket, 'close');
    assert.equal(seen.pop()?.target, '/last', `node:http stopped after ${seen.length}: ${answers}`);
    assert.deepEqual(seen, accepted.map(expected));
  }

  const runs = 1_500;

  it('for well-formed requests', async () => {
    const texts = fc.sample(requests.map(requestText), runs);
    const accepted = texts.flatMap((text) => recordRequests(cut(text, [])).messages);
    assert.equal(accepted.length, runs);
    await compare(accepted);
  });

  it('for mutated ones, as far as we accept them', async () => {
    const texts = fc.sample(mutated(requests.map(requestText)), 4 * runs);
    const accepted = texts
      .flatMap((text) => recordRequests(cut(text, [])).messages)
      .filter(({ head, complete }) => complete && knownMethods.test(head.method) && head.host !== undefined);
    assert.ok(accepted.length > runs / 4, `only ${accepted.length} accepted`);
    await compare(accepted);
  });
});

function isFraming(name: string): boolean {
  return /^(content-length|transfer-encoding)$/i.test(name);
}
