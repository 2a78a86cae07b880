import type { ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Logger } from './logging.ts';
import { problemAnswer } from './problem.ts';

/** What Node's HTTP server reports as `clientError`: by its parser (`HPE_*`, with llhttp's reason), by its own deadlines, by the socket, by TLS. */
export interface ClientError extends Error {
  readonly code?: string;
  readonly reason?: string;
}

/**
 * Answers what Node's server could not read as a request, as a problem where Node itself would send an empty body, and closes the connection: where one request ends
 * and the next begins is not known any more. Nothing is said where an answer has begun, which it would garble, nor to what does not speak HTTP.
 *
 * @param open answers under way on this connection
 */
export function refuseUnreadable(
  error: ClientError,
  socket: Duplex,
  open: Iterable<ServerResponse>,
  log: Logger,
): void {
  const refusal = refusalOf(error);
  const hasBegun = [...open].some((outgoing) => outgoing.headersSent);
  if (refusal === undefined || hasBegun || !socket.writable) {
    socket.destroy();
    return;
  }
  const { status, headers, body } = problemAnswer(refusal, log);
  const head = { ...headers, 'content-length': Buffer.byteLength(body), connection: 'close' };
  const lines = Object.entries(head).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${status} ${refusal.entry.title}\r\n${lines.join('')}\r\n${body}`, () => socket.destroy());
}

function refusalOf({ code = '', reason }: ClientError): MeshError | undefined {
  if (code === 'HPE_HEADER_OVERFLOW') return new MeshError('SLV-1012', 'The head of the request is too large.');
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new MeshError('SLV-1013', 'The request did not come in time.');
  if (!code.startsWith('HPE_')) return undefined;
  return new MeshError('SLV-1009', `The request is not HTTP/1.1 as it is read here: ${reason ?? code}.`);
}
