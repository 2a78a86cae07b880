import { STATUS_CODES } from '#runtime/node-http.ts';
import { CONTENT_LENGTH, headerKind } from '../http1/header-kind.ts';
import { type Framing, noBody, type ResponseHead, untilClose } from '../http1/message.ts';
import type { HeaderFields } from '../tunnel/tunnel-stream.ts';
import { isLength } from './request-rules.ts';

const noOptions: readonly string[] = [];
const emptyBody: Framing = { kind: 'length', bytes: 0 };

/**
 * Reads the head of an answer of HTTP/2 into the form that HTTP/1.1's has; undefined where its length is not to be understood.
 *
 * @param bodiless by its status or its request it can't have content, whatever its length says
 * @param ends     none comes
 */
export function readAnswer(
  status: number,
  fields: HeaderFields,
  bodiless: boolean,
  ends: boolean,
): ResponseHead | undefined {
  const headers: string[] = [];
  let contentLength: number | undefined;
  for (const [name, value] of fields) {
    if (headerKind(name) === CONTENT_LENGTH) {
      if (contentLength !== undefined || !isLength(value)) return undefined;
      contentLength = Number(value);
    }
    headers.push(name, value);
  }
  if (ends && !bodiless && (contentLength ?? 0) > 0) return undefined;
  return {
    minorVersion: 1,
    status,
    // HTTP/2 has none, and not every client of HTTP/1.1 takes an empty one.
    reason: STATUS_CODES[status] ?? '',
    headers,
    framing: bodiless ? noBody : framingOf(ends, contentLength),
    keepAlive: true,
    // Where 204 announces content, readers of HTTP/1.1 differ in whether it comes (RFC 9110 8.6).
    contentLength: status === 204 ? undefined : contentLength,
    upgrade: undefined,
    connectionOptions: noOptions,
  };
}

/** HTTP/1.1 would wait for an end that is not told. */
function framingOf(ends: boolean, contentLength: number | undefined): Framing {
  if (ends) return emptyBody;
  return contentLength === undefined ? untilClose : { kind: 'length', bytes: contentLength };
}
