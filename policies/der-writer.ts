import { contextTag, derTag } from './der.ts';
import { MeshError } from './errors/mesh-error.ts';

/**
 * Writer of DER (X.690 10): each function returns one encoded value; values nest by passing them on. For CSRs and leaf templates.
 */

/** One value: tag, minimal definite length, the parts one after the other. */
export function derValue(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const header = derHeader(tag, length);
  const out = new Uint8Array(header.length + length);
  out.set(header);
  let at = header.length;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** SEQUENCE of values. */
export function derSequence(...values: readonly Uint8Array[]): Uint8Array {
  return derValue(derTag.sequence, ...values);
}

/** SET OF values, in DER's order (X.690 11.6). */
export function derSet(...values: readonly Uint8Array[]): Uint8Array {
  return derValue(derTag.set, ...[...values].sort((a, b) => Buffer.compare(a, b)));
}

/** `[number]` constructed around values (EXPLICIT). */
export function derExplicit(number: number, ...values: readonly Uint8Array[]): Uint8Array {
  return derValue(contextTag(number, true), ...values);
}

/** BOOLEAN. */
export function derBoolean(value: boolean): Uint8Array {
  return derValue(derTag.boolean, Uint8Array.of(value ? 0xff : 0));
}

/** INTEGER, not negative, from big-endian octets of any length (leading zeros are dropped, a sign octet is added where needed). */
export function derUnsigned(octets: Uint8Array): Uint8Array {
  let start = 0;
  while (start < octets.length - 1 && octets[start] === 0) start += 1;
  const magnitude = octets.subarray(start);
  const first = magnitude[0] ?? 0;
  if (magnitude.length === 0) return derValue(derTag.integer, Uint8Array.of(0));
  return first >= 0x80 ? derValue(derTag.integer, Uint8Array.of(0), magnitude) : derValue(derTag.integer, magnitude);
}

/** OBJECT IDENTIFIER from dotted form. @throws MeshError SLV-5007 when it is none */
export function derOid(dotted: string): Uint8Array {
  const [root, second, ...rest] = dotted.split('.').map((arc) => (/^(?:0|[1-9]\d{0,9})$/.test(arc) ? Number(arc) : -1));
  if (
    root === undefined ||
    second === undefined ||
    root > 2 ||
    (root < 2 && second > 39) ||
    [root, second, ...rest].some((arc) => arc < 0 || arc > 0x7fff_ff00)
  ) {
    throw new MeshError('SLV-5007', `"${dotted.slice(0, 64)}" is not an object identifier.`);
  }
  return derValue(derTag.oid, Uint8Array.from([root * 40 + second, ...rest].flatMap(base128)));
}

/** BIT STRING of whole bytes, or with `unusedBits` (0..7) zero bits at its end. */
export function derBitString(bytes: Uint8Array, unusedBits = 0): Uint8Array {
  return derValue(derTag.bitString, Uint8Array.of(unusedBits), bytes);
}

/** BIT STRING of named bits (KeyUsage): numbers from 0, the most significant first; trailing zero bits are dropped (X.690 11.2.2). */
export function derNamedBits(...numbers: readonly number[]): Uint8Array {
  if (numbers.length === 0) return derBitString(new Uint8Array(0));
  const highest = Math.max(...numbers);
  const bytes = new Uint8Array((highest >> 3) + 1);
  for (const number of numbers) bytes[number >> 3] = (bytes[number >> 3] ?? 0) | (0x80 >> (number & 7));
  return derBitString(bytes, 7 - (highest & 7));
}

/** OCTET STRING around bytes. */
export function derOctetString(...parts: readonly Uint8Array[]): Uint8Array {
  return derValue(derTag.octetString, ...parts);
}

/** NULL. */
export function derNull(): Uint8Array {
  return derValue(derTag.null);
}

/** UTF8String. */
export function derUtf8(text: string): Uint8Array {
  return derValue(derTag.utf8String, new TextEncoder().encode(text));
}

/**
 * Time as RFC 5280 4.1.2.5 asks: UTCTime through 2049, GeneralizedTime from 2050; whole seconds.
 * @param timeMs milliseconds since the epoch; the part below a second is cut off
 */
export function derTime(timeMs: number): Uint8Array {
  const digits = new Date(timeMs).toISOString().replace(/[-:T]|\.\d{3}/g, '');
  const year = Number(digits.slice(0, 4));
  const short = year >= 1950 && year < 2050;
  return derValue(
    short ? derTag.utcTime : derTag.generalizedTime,
    Buffer.from(short ? digits.slice(2) : digits, 'latin1'),
  );
}

/** PEM (RFC 7468), lines of 64. */
export function toPem(label: string, der: Uint8Array): string {
  const base64 = Buffer.from(der.buffer, der.byteOffset, der.length).toString('base64');
  let lines = '';
  for (let at = 0; at < base64.length; at += 64) lines += `${base64.slice(at, at + 64)}\n`;
  return `-----BEGIN ${label}-----\n${lines}-----END ${label}-----\n`;
}

function derHeader(tag: number, length: number): readonly number[] {
  if (length < 0x80) return [tag, length];
  if (length < 0x100) return [tag, 0x81, length];
  if (length < 0x1_0000) return [tag, 0x82, length >> 8, length & 0xff];
  return [tag, 0x83, length >> 16, (length >> 8) & 0xff, length & 0xff];
}

function base128(arc: number): number[] {
  const octets = [arc % 128];
  for (let rest = Math.floor(arc / 128); rest > 0; rest = Math.floor(rest / 128)) octets.unshift(128 + (rest % 128));
  return octets;
}
