import type { HeaderFields } from './tunnel-stream.ts';

/** Heads as HTTP/2 wants them (RFC 9113 8.2, 8.3, 8.5): what is malformed is undefined, and the stream ends with PROTOCOL_ERROR. */

/** A request's head. */
export interface RequestHead {
  readonly method: string;
  /** Empty when a method other than CONNECT left it out. */
  readonly authority: string;
  /** As sent; empty for CONNECT. */
  readonly path: string;
  /** The regular fields. */
  readonly headers: HeaderFields;
}

/** An answer's head. */
export interface AnswerHead {
  readonly status: number;
  readonly headers: HeaderFields;
}

/** Longest `:authority`: a host name of 255, and generous room. */
const maxAuthorityLength = 512;
/** RFC 9113 8.2.2. */
const connectionSpecific: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
]);

/** RFC 9113 8.3.1 and 8.5. */
export function parseRequestHead(fields: HeaderFields): RequestHead | undefined {
  const parts = separate(fields, requestPseudoFields);
  const method = parts?.pseudo.get(':method');
  if (parts === undefined || method === undefined || !isToken(method, true)) return undefined;
  const authority = parts.pseudo.get(':authority') ?? '';
  if (authority.length > maxAuthorityLength || !isVisible(authority)) return undefined;
  const path = parts.pseudo.get(':path') ?? '';
  if (method === 'CONNECT') {
    if (authority === '' || parts.pseudo.size !== 2) return undefined;
  } else if (!parts.pseudo.get(':scheme') || path === '') {
    return undefined;
  }
  return { method, authority, path, headers: parts.regular };
}

/** RFC 9113 8.3.2. */
export function parseAnswerHead(fields: HeaderFields): AnswerHead | undefined {
  const parts = separate(fields, answerPseudoFields);
  const status = Number(parts?.pseudo.get(':status'));
  // 101 does not exist in HTTP/2 (RFC 9113 8.6).
  if (parts === undefined || !Number.isInteger(status) || status < 100 || status > 599 || status === 101)
    return undefined;
  return { status, headers: parts.regular };
}

/** Whether these may stand behind the content (RFC 9113 8.1). */
export function areTrailers(fields: HeaderFields): boolean {
  return separate(fields, noPseudoFields) !== undefined;
}

const noPseudoFields: ReadonlySet<string> = new Set();
const requestPseudoFields: ReadonlySet<string> = new Set([':method', ':scheme', ':path', ':authority']);
const answerPseudoFields: ReadonlySet<string> = new Set([':status']);

/** Pseudo-header fields, which come first and once each, from regular ones. */
function separate(
  fields: HeaderFields,
  allowed: ReadonlySet<string>,
): { pseudo: ReadonlyMap<string, string>; regular: HeaderFields } | undefined {
  const pseudo = new Map<string, string>();
  let at = 0;
  for (const [name, value] of fields) {
    if (!name.startsWith(':')) break;
    if (!allowed.has(name) || pseudo.has(name) || !isFieldValue(value)) return undefined;
    pseudo.set(name, value);
    at += 1;
  }
  const regular = fields.slice(at);
  for (const [name, value] of regular) {
    if (!isToken(name, false) || !isFieldValue(value) || connectionSpecific.has(name)) return undefined;
    if (name === 'te' && value !== 'trailers') return undefined;
  }
  return { pseudo, regular };
}

/** RFC 9110 5.6.2; field names without capitals (RFC 9113 8.2.1). */
function isToken(text: string, capitals: boolean): boolean {
  return (capitals ? /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/ : /^[!#$%&'*+\-.^_`|~0-9a-z]+$/).test(text);
}

function isVisible(text: string): boolean {
  return /^[\x21-\x7e]*$/.test(text);
}

/** RFC 9113 8.2.1, and RFC 9110 5.5: no control characters, no blanks at the ends. */
function isFieldValue(text: string): boolean {
  return /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/.test(text);
}
