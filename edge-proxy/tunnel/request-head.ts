import type { HeaderFields } from './tunnel-stream.ts';

/** Heads as HTTP/2 wants them (RFC 9113 8.2, 8.3, 8.5, RFC 8441 4): what is malformed is undefined, and the stream ends with PROTOCOL_ERROR. */

/** A request's head. */
export interface RequestHead {
  readonly method: string;
  /** Empty when a method other than CONNECT left it out. */
  readonly authority: string;
  /** As sent; empty for CONNECT without a protocol. */
  readonly path: string;
  /** What an extended CONNECT asks for (RFC 8441), a token; undefined: it is none. */
  readonly protocol: string | undefined;
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

/**
 * RFC 9113 8.3.1 and 8.5, RFC 8441 4.
 *
 * @param wellFormed whether each field by itself is, where that is known
 */
export function parseRequestHead(fields: HeaderFields, wellFormed = areWellFormed(fields)): RequestHead | undefined {
  if (!wellFormed) return undefined;
  let method: string | undefined;
  let scheme: string | undefined;
  let authority: string | undefined;
  let path: string | undefined;
  let protocol: string | undefined;
  let count = 0;
  for (const [name, value] of fields) {
    if (!isPseudo(name)) break;
    count += 1;
    // Once each.
    if (name === ':method' && method === undefined) method = value;
    else if (name === ':path' && path === undefined) path = value;
    else if (name === ':scheme' && scheme === undefined) scheme = value;
    else if (name === ':authority' && authority === undefined) authority = value;
    else if (name === ':protocol' && protocol === undefined) protocol = value;
    else return undefined;
  }
  if (method === undefined || method === '' || !allOf(token, method)) return undefined;
  if (authority !== undefined && (authority.length > maxAuthorityLength || !allOf(visible, authority)))
    return undefined;
  if (method === 'CONNECT' && (authority === undefined || authority === '')) return undefined;
  if (protocol !== undefined && (method !== 'CONNECT' || protocol === '' || !allOf(token, protocol))) return undefined;
  if (method === 'CONNECT' && protocol === undefined) {
    if (count !== 2) return undefined;
  } else if (scheme === undefined || scheme === '' || path === undefined || path === '') {
    return undefined;
  }
  if (!areRegular(fields, count)) return undefined;
  return { method, authority: authority ?? '', path: path ?? '', protocol, headers: fields.slice(count) };
}

/** RFC 9113 8.3.2. */
export function parseAnswerHead(fields: HeaderFields, wellFormed = areWellFormed(fields)): AnswerHead | undefined {
  const [first] = fields;
  if (!wellFormed || first === undefined || first[0] !== ':status') return undefined;
  const status = Number(first[1]);
  // 101 does not exist in HTTP/2 (RFC 9113 8.6).
  if (!Number.isInteger(status) || status < 100 || status > 599 || status === 101) return undefined;
  return areRegular(fields, 1) ? { status, headers: fields.slice(1) } : undefined;
}

/** Whether these may stand behind the content (RFC 9113 8.1). */
export function areTrailers(fields: HeaderFields, wellFormed = areWellFormed(fields)): boolean {
  return wellFormed && areRegular(fields, 0);
}

/** Whether a field by itself may go over HTTP/2 (RFC 9113 8.2): which pseudo-header fields may stand where is another question. */
export function isWellFormed(name: string, value: string): boolean {
  if (!isFieldValue(value)) return false;
  if (isPseudo(name)) return true;
  if (name === '' || !allOf(lowerToken, name) || isConnectionSpecific(name)) return false;
  return name !== 'te' || value === 'trailers';
}

function areWellFormed(fields: HeaderFields): boolean {
  return fields.every(([name, value]) => isWellFormed(name, value));
}

/** Whether none from `start` on is a pseudo-header field. */
function areRegular(fields: HeaderFields, start: number): boolean {
  for (let at = start; at < fields.length; at++) if (isPseudo((fields[at] as HeaderFields[number])[0])) return false;
  return true;
}

function isPseudo(name: string): boolean {
  return name.charCodeAt(0) === colon;
}

/** RFC 9113 8.2.2. */
function isConnectionSpecific(name: string): boolean {
  switch (name.length) {
    case 7:
      return name === 'upgrade';
    case 10:
      return name === 'connection' || name === 'keep-alive';
    case 16:
      return name === 'proxy-connection';
    case 17:
      return name === 'transfer-encoding';
    default:
      return false;
  }
}

const colon = 0x3a;

/** Which characters may stand where, as flags: a look-up each, no regular expression. */
const token = 1;
/** A field name: no capitals (RFC 9113 8.2.1). */
const lowerToken = 2;
const visible = 4;
/** Within a field value, and at its ends (RFC 9113 8.2.1, RFC 9110 5.5): no control characters, no blanks at the ends. */
const inside = 8;
const end = 16;

const table = new Uint8Array(256);
for (let code = 0; code < 256; code++) {
  const character = String.fromCharCode(code);
  let flags = 0;
  if (/[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(character)) flags |= token;
  if (/[!#$%&'*+\-.^_`|~0-9a-z]/.test(character)) flags |= lowerToken;
  if (code > 0x20 && code < 0x7f) flags |= visible | inside | end;
  if (code >= 0x80) flags |= inside | end;
  if (code === 0x20 || code === 0x09) flags |= inside;
  table[code] = flags;
}

function allOf(flags: number, text: string): boolean {
  for (let at = 0; at < text.length; at++) if (((table[text.charCodeAt(at)] ?? 0) & flags) === 0) return false;
  return true;
}

function isFieldValue(text: string): boolean {
  if (text === '') return true;
  const ends = (table[text.charCodeAt(0)] ?? 0) & (table[text.charCodeAt(text.length - 1)] ?? 0) & end;
  return ends !== 0 && allOf(inside, text);
}
