/** Which bytes may stand where in an HTTP/1.1 head, as one table of bit flags: a lookup a byte, no regular expression. */

/** RFC 9110 5.6.2 `tchar`, without the underscore. */
export const TOKEN_NO_UNDERSCORE = 1;
/** RFC 9110 5.6.2 `tchar`. */
export const TOKEN = 2;
/** RFC 9110 5.5 field values: HTAB, SP, VCHAR and obs-text. */
export const FIELD = 4;
/** Bytes of a request target: VCHAR. Nothing raw from 0x80 up, no blank, no control. */
export const TARGET = 8;
/** Bytes of a host name. Narrower than RFC 3986's reg-name: no percent-encoding and no sub-delims, which parsers treat differently. */
export const HOST_NAME = 16;
/** Bytes inside the brackets of an IPv6 literal. */
export const HOST_IPV6 = 32;
/** `0` to `9`. */
export const DIGIT = 64;

export const HTAB = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SP = 0x20;
export const COLON = 0x3a;
export const SEMICOLON = 0x3b;
export const UNDERSCORE = 0x5f;
export const DEL = 0x7f;

const table = new Uint8Array(256);
for (let byte = 0; byte < 256; byte++) {
  const text = String.fromCharCode(byte);
  const digit = byte >= 0x30 && byte <= 0x39;
  const alphanumeric = digit || (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a);
  const visible = byte > SP && byte < DEL;
  let flags = 0;
  if (alphanumeric || "!#$%&'*+-.^`|~".includes(text)) flags |= TOKEN | TOKEN_NO_UNDERSCORE;
  if (text === '_') flags |= TOKEN;
  if (visible || byte === SP || byte === HTAB || byte >= 0x80) flags |= FIELD;
  if (visible) flags |= TARGET;
  if (alphanumeric || '.-_'.includes(text)) flags |= HOST_NAME;
  if (digit || (byte >= 0x41 && byte <= 0x46) || (byte >= 0x61 && byte <= 0x66) || ':.'.includes(text))
    flags |= HOST_IPV6;
  if (digit) flags |= DIGIT;
  table[byte] = flags;
}

/** The flags of a byte, or of a latin1 character code. 0 for NaN, so that running off the end of a string is no match. */
export function byteClass(code: number): number {
  // Never beyond the table: V8 takes the slow way for all look-ups here once one was.
  return code < 256 ? (table[code] ?? 0) : 0;
}

/** True when every character of `text` from `start` to before `end` has one of the flags. */
export function allOf(flags: number, text: string, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if ((byteClass(text.charCodeAt(at)) & flags) === 0) return false;
  return true;
}

/** Value of a hexadecimal digit, or -1. */
export function hexValue(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
