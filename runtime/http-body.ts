import type { IncomingMessage, ServerResponse } from 'node:http';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { HttpAnswer } from './http-answer.ts';

/** How much of a body that is too large is still taken in, so that a sender that is busy sending reads the answer instead of a reset. */
const lingerBytes = 4 * 1024 * 1024;
const lingerMs = 1_000;

/**
 * Takes in a request's body, whole, so that nothing behind this ever sees an unbounded one.
 *
 * @returns the body; undefined when the request has none. Rejects with SLV-1008 when it is larger than `maxBytes`, SLV-1009 when it breaks off
 */
export function readRequestBody(incoming: IncomingMessage, maxBytes: number): Promise<Buffer | undefined> {
  const { 'content-length': announced, 'transfer-encoding': encoding } = incoming.headers;
  if (encoding === undefined && (announced === undefined || announced === '0')) return Promise.resolve(undefined);
  if (Number(announced ?? 0) > maxBytes) return Promise.reject(tooLarge(maxBytes));
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let length = 0;
  const onData = (chunk: Buffer) => {
    length += chunk.length;
    chunks.push(chunk);
    if (length <= maxBytes) return;
    incoming.off('data', onData);
    chunks.length = 0;
    reject(tooLarge(maxBytes));
  };
  incoming.on('data', onData);
  let isWhole = false;
  incoming.once('end', () => {
    isWhole = true;
    resolve(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks, length));
  });
  // Of each request: an error is made of those only that broke off.
  incoming.once('close', () => {
    if (!isWhole) reject(new MeshError('SLV-1009', 'The request broke off within its body.'));
  });
  incoming.once('error', () => undefined); // 'close' follows and says it
  return promise;
}

/**
 * Answers a request whose body has not been read and ends the connection: the whole answer first, then what is still arriving is thrown away for a
 * short while. Closing with unread bytes would reset the connection, and the reset can overtake the answer.
 */
export function refuseUnread(incoming: IncomingMessage, outgoing: ServerResponse, answer: HttpAnswer): void {
  if (outgoing.destroyed) return;
  const body = Buffer.from(answer.body);
  outgoing.writeHead(answer.status, { ...answer.headers, 'content-length': body.length, connection: 'close' });
  outgoing.write(body);
  let discarded = 0;
  const timer = setTimeout(() => outgoing.end(), lingerMs);
  const finish = () => {
    clearTimeout(timer);
    outgoing.end();
  };
  incoming.on('data', (chunk: Buffer) => {
    discarded += chunk.length;
    if (discarded > lingerBytes) finish();
  });
  incoming.once('end', finish);
  incoming.once('close', finish);
  incoming.resume();
}

function tooLarge(maxBytes: number): MeshError {
  return new MeshError('SLV-1008', `The request's body is larger than ${maxBytes} bytes.`, { detail: { maxBytes } });
}
