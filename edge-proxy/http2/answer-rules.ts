import { CONTENT_LENGTH, headerKind } from '../http1/header-kind.ts';
import { type Framing, noBody, type ResponseHead, untilClose } from '../http1/message.ts';
import type { HeaderFields } from '../tunnel/tunnel-stream.ts';
import { isLength } from './request-rules.ts';

const noOptions: readonly string[] = [];

/**
 * Reads the head of an answer of HTTP/2 into the form that HTTP/1.1's has; undefined where its length is not to be understood.
 *
 * @param ends it has no content
 */
export function readAnswer(status: number, fields: HeaderFields, ends: boolean): ResponseHead | undefined {
  const headers: string[] = [];
  let contentLength: number | undefined;
  for (const [name, value] of fields) {
    if (headerKind(name) === CONTENT_LENGTH) {
      if (contentLength !== undefined || !isLength(value)) return undefined;
      contentLength = Number(value);
    }
    headers.push(name, value);
  }
  return {
    minorVersion: 1,
    status,
    reason: '',
    headers,
    framing: framingOf(ends, contentLength),
    keepAlive: true,
    contentLength,
    upgrade: undefined,
    connectionOptions: noOptions,
  };
}

function framingOf(ends: boolean, contentLength: number | undefined): Framing {
  if (ends) return noBody;
  return contentLength === undefined ? untilClose : { kind: 'length', bytes: contentLength };
}
