/** Headers that the codec itself understands, found by length and a case-blind compare: no lower-cased copy, no object keyed by names. */

/** Any header without meaning to the codec. */
export const OTHER = 0;
export const HOST = 1;
export const CONTENT_LENGTH = 2;
export const TRANSFER_ENCODING = 3;
export const CONNECTION = 4;
export const EXPECT = 5;
export const UPGRADE = 6;
/** Meant for the next hop only, or replaced by it: Keep-Alive, TE, Trailer, Proxy-*, HTTP2-Settings (RFC 9110 7.6.1). */
export const HOP_BY_HOP = 7;
/** Says who calls or what the mesh decided. From outside it is a claim, and dropped: x-forwarded-client-cert, selvedge-*, x-selvedge-*. */
export const IDENTITY = 8;

/**
 * True when `text` reads `lower` from `start` on, letters compared without case. Both must be of token characters: up to `z`, `|0x20` maps
 * nothing but A-Z onto a-z there.
 */
export function sameName(text: string, lower: string, start = 0): boolean {
  for (let at = 0; at < lower.length; at++) {
    const code = text.charCodeAt(start + at);
    const wanted = lower.charCodeAt(at);
    if (code !== wanted && ((code | 0x20) !== wanted || wanted > 0x7a)) return false;
  }
  return true;
}

/** Which kind of header `name` (a token) is. */
export function headerKind(name: string): number {
  switch (name.length) {
    case 2:
      return sameName(name, 'te') ? HOP_BY_HOP : OTHER;
    case 4:
      return sameName(name, 'host') ? HOST : OTHER;
    case 6:
      return sameName(name, 'expect') ? EXPECT : OTHER;
    case 7:
      if (sameName(name, 'upgrade')) return UPGRADE;
      return sameName(name, 'trailer') ? HOP_BY_HOP : OTHER;
    case 10:
      if (sameName(name, 'connection')) return CONNECTION;
      if (sameName(name, 'keep-alive')) return HOP_BY_HOP;
      break;
    case 14:
      if (sameName(name, 'content-length')) return CONTENT_LENGTH;
      if (sameName(name, 'http2-settings')) return HOP_BY_HOP;
      break;
    case 16:
      if (sameName(name, 'proxy-connection')) return HOP_BY_HOP;
      break;
    case 17:
      if (sameName(name, 'transfer-encoding')) return TRANSFER_ENCODING;
      break;
    case 18:
      if (sameName(name, 'proxy-authenticate')) return HOP_BY_HOP;
      break;
    case 19:
      if (sameName(name, 'proxy-authorization')) return HOP_BY_HOP;
      break;
    case 23:
      if (sameName(name, 'x-forwarded-client-cert')) return IDENTITY;
      break;
  }
  return isIdentityPrefix(name) ? IDENTITY : OTHER;
}

/** `selvedge-…` or `x-selvedge-…`. */
function isIdentityPrefix(name: string): boolean {
  if (name.length < 9) return false;
  const first = name.charCodeAt(0) | 0x20;
  if (first === 0x73) return sameName(name, 'selvedge-');
  return first === 0x78 && sameName(name, 'x-selvedge-');
}
