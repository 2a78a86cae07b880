import { MeshError } from '#policies/errors/mesh-error.ts';
import { allOf, FIELD, TOKEN } from './byte-classes.ts';
import { HOST, headerKind } from './header-kind.ts';
import { chunkedBody, type Framing, type RequestHead, type ResponseHead, untilClose } from './message.ts';

/** What a head says about its connection. */
export type ConnectionChoice = 'close' | 'keep-alive' | { readonly upgrade: string };

/** The answer to `Expect: 100-continue`. */
export const continueResponse = 'HTTP/1.1 100 Continue\r\n\r\n';

/**
 * A request head in latin1, always HTTP/1.1. Parts that come from a decoder are fit as they are; own ones go through `pushHeader`.
 *
 * @param headers flat, without what framing and connection write here (see forwardableHeaders)
 */
export function encodeRequestHead(
  method: string,
  target: string,
  headers: readonly string[],
  framing: Framing,
  connection?: ConnectionChoice,
): string {
  return finish(`${method} ${target} HTTP/1.1\r\n`, headers, framing, connection);
}

/**
 * An answer head in latin1, always HTTP/1.1.
 *
 * @param contentLength of a HEAD or 304 answer (framing `none`): what the body would have, in bytes
 */
export function encodeResponseHead(
  status: number,
  reason: string,
  headers: readonly string[],
  framing: Framing,
  connection?: ConnectionChoice,
  contentLength?: number,
): string {
  let start = `HTTP/1.1 ${status} ${reason}\r\n`;
  if (framing.kind === 'none' && contentLength !== undefined) start += `Content-Length: ${contentLength}\r\n`;
  return finish(start, headers, framing, connection);
}

/**
 * As `encodeResponseHead`, of an answer that came with that head. One that repeats, with headers that were kept with it, is encoded once.
 *
 * @param headers that go on
 */
export function encodeAnswer(
  head: ResponseHead,
  headers: readonly string[],
  framing: Framing,
  connection: ConnectionChoice | undefined,
): string {
  const { status, reason, contentLength, onward } = head;
  const kept = onward?.headers === headers && connection === undefined && framing === head.framing ? onward : undefined;
  if (kept?.text !== undefined) return kept.text;
  const text = encodeResponseHead(status, reason, headers, framing, connection, contentLength);
  if (kept !== undefined) kept.text = inOnePiece(text);
  return text;
}

/** The same text. What was put together of others is copied piece by piece each time that it is written; what is kept is better kept whole. */
export function inOnePiece(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}

function finish(
  start: string,
  headers: readonly string[],
  framing: Framing,
  connection: ConnectionChoice | undefined,
): string {
  let text = start;
  for (let at = 0; at < headers.length; at += 2) text += `${headers[at]}: ${headers[at + 1]}\r\n`;
  if (framing.kind === 'length') text += `Content-Length: ${framing.bytes}\r\n`;
  else if (framing.kind === 'chunked') text += 'Transfer-Encoding: chunked\r\n';
  if (connection === undefined) return `${text}\r\n`;
  if (typeof connection === 'string') return `${text}Connection: ${connection}\r\n\r\n`;
  return `${text}Connection: Upgrade\r\nUpgrade: ${connection.upgrade}\r\n\r\n`;
}

/**
 * Adds a header of our own making, after seeing that it is one header and no more.
 *
 * @throws MeshError SLV-1007 when the name is no token or the value holds a control character or a blank at its ends
 */
export function pushHeader(headers: string[], name: string, value: string): void {
  const sound = name.length > 0 && allOf(TOKEN, name, 0, name.length) && allOf(FIELD, value, 0, value.length);
  if (!sound || /^[ \t]|[ \t]$/.test(value))
    throw new MeshError('SLV-1007', 'A header of our own making is malformed.');
  headers.push(name, value);
}

/**
 * Adds the Host that HTTP/1.1 wants (RFC 9112 3.2) where the request came without one: the authority of an absolute target, or `name`. Only HTTP/1.0 requests
 * lack it.
 */
export function pushHost(
  headers: string[],
  head: Pick<RequestHead, 'minorVersion' | 'headers' | 'host'>,
  name: string,
): void {
  if (head.minorVersion === 1) return;
  for (let at = 0; at < head.headers.length; at += 2) if (headerKind(head.headers[at] as string) === HOST) return;
  pushHeader(headers, 'Host', head.host ?? name);
}

/** How the body of an answer goes down to the caller of `request`: chunks only to HTTP/1.1, and no body that ends with the connection there. */
export function framingTowards(
  request: Pick<RequestHead, 'minorVersion'>,
  answer: Pick<ResponseHead, 'framing'>,
): Framing {
  const { kind } = answer.framing;
  if (kind !== 'chunked' && kind !== 'until-close') return answer.framing;
  return request.minorVersion === 1 ? chunkedBody : untilClose;
}

/** What to tell the caller about its connection. HTTP/1.0 has to be told to keep it. */
export function connectionTowards(
  request: Pick<RequestHead, 'minorVersion' | 'keepAlive'>,
  framing: Framing,
  keep: boolean,
): ConnectionChoice | undefined {
  if (!keep || !request.keepAlive || framing.kind === 'until-close') return 'close';
  return request.minorVersion === 0 ? 'keep-alive' : undefined;
}
