import { allOf, byteClass, COLON, DIGIT, HOST_IPV6, HOST_NAME } from './byte-classes.ts';

const maxHostBytes = 262; // 255 for a name, a colon, five digits, one to spare

/**
 * True for `name`, `name:port`, `1.2.3.4:port`, `[v6]:port` (RFC 9110 7.2). Refused beyond the RFC: user information, percent-encoding,
 * sub-delims, an empty name and an empty port, since proxies and applications disagree on them.
 */
export function isHost(text: string): boolean {
  if (text.length === 0 || text.length > maxHostBytes) return false;
  let nameEnd: number;
  if (text.charCodeAt(0) === 0x5b) {
    const bracket = text.indexOf(']');
    if (bracket < 3 || !allOf(HOST_IPV6, text, 1, bracket)) return false;
    nameEnd = bracket + 1;
  } else {
    nameEnd = 0;
    while ((byteClass(text.charCodeAt(nameEnd)) & HOST_NAME) !== 0) nameEnd++;
    if (nameEnd === 0) return false;
  }
  if (nameEnd === text.length) return true;
  const digits = text.length - nameEnd - 1;
  if (text.charCodeAt(nameEnd) !== COLON || digits < 1 || digits > 5) return false;
  return allOf(DIGIT, text, nameEnd + 1, text.length) && Number(text.slice(nameEnd + 1)) <= 65_535;
}

/** True when both name the same host and port of scheme http: case-blind, port 80 may be left out. */
export function sameHttpAuthority(left: string, right: string): boolean {
  return left === right || withoutDefaultPort(left) === withoutDefaultPort(right);
}

function withoutDefaultPort(host: string): string {
  const lower = host.toLowerCase();
  return lower.endsWith(':80') ? lower.slice(0, -3) : lower;
}
