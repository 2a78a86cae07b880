import { allOf, byteClass, DIGIT, FIELD } from './byte-classes.ts';
import type { Fault } from './fault.ts';
import type { HeaderBlock } from './header-block.ts';
import type { Http1Limits } from './limits.ts';
import { chunkedBody, type Framing, noBody, type ResponseHead, untilClose } from './message.ts';

/**
 * Reads a whole answer head (RFC 9112 4) from latin1 text. `requestMethod` decides with the status whether a body follows (RFC 9112 6.3).
 * `block.end` is then where it ends.
 */
export function readResponseHead(
  text: string,
  start: number,
  block: HeaderBlock,
  limits: Http1Limits,
  requestMethod: string,
): ResponseHead | Fault {
  const minorVersion = text.startsWith('HTTP/1.1 ', start) ? 1 : text.startsWith('HTTP/1.0 ', start) ? 0 : undefined;
  if (minorVersion === undefined) return badStatusLine;
  const statusAt = start + 9;
  if (!allOf(DIGIT, text, statusAt, statusAt + 3)) return badStatusLine;
  const status = Number(text.slice(statusAt, statusAt + 3));
  if (status < 100 || status > 599) return badStatus;
  // The space behind the status may be missing with the reason: no parser reads that in two ways, and applications send it.
  const reasonStart = text.startsWith(' ', statusAt + 3) ? statusAt + 4 : statusAt + 3;
  let at = reasonStart;
  if (reasonStart === statusAt + 4) while ((byteClass(text.charCodeAt(at)) & FIELD) !== 0) at++;
  if (!text.startsWith('\r\n', at)) return badStatusLine;
  const fault = block.read(text, at + 2, limits);
  if (fault !== undefined) return fault;
  if (block.chunked && minorVersion === 0) return chunkedInOld;
  const framing = framingOf(block, status, requestMethod);
  if ('reason' in framing) return framing;
  return {
    minorVersion,
    status,
    reason: text.slice(reasonStart, at),
    headers: block.headers,
    framing,
    keepAlive: framing.kind !== 'until-close' && !block.close && (minorVersion === 1 || block.keepAlive),
    contentLength: block.contentLength >= 0 ? block.contentLength : undefined,
    upgrade: status === 101 && block.upgradeListed ? block.upgrade : undefined,
    connectionOptions: block.connectionOptions,
    onward: undefined,
  };
}

/** RFC 9112 6.3. 1xx and 204 never have a body: one that announces a body would be read as one by some. */
function framingOf(block: HeaderBlock, status: number, requestMethod: string): Framing | Fault {
  if (status < 200 || status === 204) return block.chunked || block.contentLength > 0 ? bodyWithoutBody : noBody;
  if (status === 304 || requestMethod === 'HEAD') return noBody;
  if (block.chunked) return chunkedBody;
  return block.contentLength >= 0 ? { kind: 'length', bytes: block.contentLength } : untilClose;
}

const badStatusLine: Fault = { kind: 'start-line', reason: 'the status line is not `HTTP/1.x 200 reason`' };
const badStatus: Fault = { kind: 'start-line', reason: 'the status is not between 100 and 599' };
const chunkedInOld: Fault = { kind: 'framing', reason: 'Transfer-Encoding in an HTTP/1.0 message' };
const bodyWithoutBody: Fault = { kind: 'framing', reason: 'a 1xx or 204 that announces a body' };
