import { parseStrictJson } from './strict-json.ts';

/** The parts of a compact JWS (RFC 7515 7.1), as they came. */
export interface CompactJws {
  readonly header: string;
  readonly payload: string;
  readonly signature: string;
}

const part = /^[A-Za-z0-9_-]+$/;
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** @returns undefined for what is not three parts of canonical base64url */
export function splitCompactJws(token: string): CompactJws | undefined {
  const parts = token.split('.', 4);
  const [header, payload, signature] = parts;
  if (parts.length !== 3 || header === undefined || payload === undefined || signature === undefined) return undefined;
  return parts.every(isCanonical) ? { header, payload, signature } : undefined;
}

/** The JSON in a part. @throws Error when it is not JSON in UTF-8 that has one meaning */
export function decodeJwsPart(encoded: string): unknown {
  return parseStrictJson(utf8.decode(Buffer.from(encoded, 'base64url')));
}

/** Base64url without padding and without stray bits: one token has one spelling. */
function isCanonical(text: string): boolean {
  return part.test(text) && Buffer.from(text, 'base64url').toString('base64url') === text;
}
