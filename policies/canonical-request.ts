import type { EscapedSlashesAction } from './request-normalization.ts';

/**
 * The one canonicaliser of request targets (invariant 3). What it returns is what rules are compared with *and* what is forwarded, so nobody behind
 * a proxy reads another path than the one that was judged. What two servers could read differently is refused, never repaired.
 */

/** A canonical target, or why there is none. `query` is '' or begins with `?`, as it came. `unescaped`: encoded slashes were decoded. */
export type CanonicalTarget =
  | { readonly ok: true; readonly path: string; readonly query: string; readonly unescaped?: true }
  | { readonly ok: false; readonly reason: string };

/** Longest target in bytes. */
export const maxTargetBytes = 8_192;

/** What a character of a path asks for. */
const plain = 0;
const refused = 1;
const escaped = 2;
const question = 3;
const separator = 4;
const dot = 5;

const kinds = new Uint8Array(128).fill(plain);
kinds.fill(refused, 0x00, 0x21);
for (const [character, kind] of [
  ['\x7f', refused],
  ['\\', refused],
  ['#', refused],
  ['%', escaped],
  ['?', question],
  ['/', separator],
  ['.', dot],
] as const) {
  kinds[character.charCodeAt(0)] = kind;
}

/**
 * Brings an origin-form target (or the path of an absolute-form one, RFC 9112 3.2) to its canonical form: escapes of unreserved characters decoded
 * and all others in upper case (RFC 3986 6.2.2), dot segments removed, runs of `/` merged. Refuses bad escapes, encoded or raw controls, raw bytes from
 * 0x80, encoded `/` and `\`, `\`, `#`, doubly encoded escapes, invalid UTF-8, dot segments above the root or with parameters, and what is over 8 KiB.
 *
 * Idempotent. `;` parameters stay; how rules see them: path-readings.ts. A target that is already canonical comes back as the same string.
 * @param target         one character a byte, as the codec read it
 * @param escapedSlashes what a service says of encoded `/` and `\`. Both become `/` where they are decoded, before dot segments are removed. Where they stay, what would
 *                       be read differently by those who decode before and behind other steps is refused.
 */
export function canonicaliseTarget(
  target: string,
  escapedSlashes: EscapedSlashesAction = 'REJECT_REQUEST',
): CanonicalTarget {
  if (target.length > maxTargetBytes) return refuse(`the target is longer than ${maxTargetBytes} bytes`);
  if (target.charCodeAt(0) !== 0x2f) return absoluteForm(target, escapedSlashes);
  let kindBefore = plain;
  for (let at = 0; at < target.length; at++) {
    const kind = kinds[target.charCodeAt(at)] ?? refused;
    if (kind === plain) {
      kindBefore = plain;
      continue;
    }
    if (kind === refused) return refuse(rawFlaw(target.charCodeAt(at)));
    if (kind === question) return withQuery(target.slice(0, at), target, at);
    if (kind === escaped || (kindBefore === separator && (kind === separator || mayBeDotSegment(target, at)))) {
      return rewrite(target, escapedSlashes);
    }
    kindBefore = kind;
  }
  return { ok: true, path: target, query: '' };
}

/** True where the segment that begins at `at` could be `.` or `..`, perhaps in disguise; `.well-known` is told apart here, cheaply. */
function mayBeDotSegment(target: string, at: number): boolean {
  if (target.charCodeAt(at) !== 0x2e) return false;
  const next = target[at + 1];
  return next === undefined || next === '/' || next === '.' || next === '?' || next === ';' || next === '%';
}

/** `http://authority/path`: who the authority is, is the caller's to compare with Host. */
function absoluteForm(target: string, escapedSlashes: EscapedSlashesAction): CanonicalTarget {
  const authority = /^https?:\/\/[^/?#\\@\s]+(?=[/?]|$)/i.exec(target)?.[0];
  if (authority === undefined) return refuse('the target does not begin with /');
  const rest = target.slice(authority.length);
  return canonicaliseTarget(rest.startsWith('/') ? rest : `/${rest}`, escapedSlashes);
}

function rewrite(target: string, escapedSlashes: EscapedSlashesAction): CanonicalTarget {
  const questionAt = target.indexOf('?');
  const end = questionAt < 0 ? target.length : questionAt;
  const decoded = decodeUnreserved(target, end, escapedSlashes);
  if (!decoded.ok) return decoded;
  const resolved = resolveSegments(decoded.path);
  if (!resolved.ok) return resolved;
  const flaw = hasEncodedSlash(resolved.path) ? flawBesideSlash(resolved.path) : undefined;
  if (flaw !== undefined) return refuse(flaw);
  const whole = questionAt < 0 ? resolved : withQuery(resolved.path, target, questionAt);
  return decoded.unescaped === true && whole.ok ? { ...whole, unescaped: true } : whole;
}

/** Whether a path, its escapes in upper case, holds an encoded `/` or `\`. */
export function hasEncodedSlash(path: string): boolean {
  return path.includes('%2F') || path.includes('%5C');
}

/** What of a path with encoded slashes that stay would be another path to those who decode first than to those who decode last. */
function flawBesideSlash(path: string): string | undefined {
  if (/^\/(?:%2F|%5C)/.test(path)) return 'it begins with an encoded slash'; // decoded, a host (CVE-2026-26205)
  if (path.includes('%2F') && path.includes('%5C')) return 'it has an encoded / and an encoded \\';
  if (path.includes(';') || path.includes('%3B')) return 'it has parameters beside an encoded slash';
  for (const segment of path.split('/')) {
    if (hasEncodedSlash(segment) && segment.split(/%2F|%5C/).some(isDotSegment)) return dotBesideSlash;
  }
  for (const character of decodeURIComponent(path)) {
    if (character > '\x7f' && /[/\\;?#%.]/.test(character.normalize('NFKC')))
      return 'it has a character that may be taken for a separator beside an encoded slash';
  }
  return undefined;
}

const dotBesideSlash = 'it has a dot segment beside an encoded slash';

function isDotSegment(segment: string): boolean {
  return segment === '.' || segment === '..';
}

/** Judges the query, which is passed on as it is: no rule looks at it. */
function withQuery(path: string, target: string, at: number): CanonicalTarget {
  for (let index = at; index < target.length; index++) {
    const code = target.charCodeAt(index);
    if (code <= 0x20 || code >= 0x7f || code === 0x23) return refuse(rawFlaw(code));
  }
  return { ok: true, path, query: target.slice(at) };
}

/** One pass over the path: judges raw characters and escapes, decodes what is unreserved, and slashes where that is said. */
function decodeUnreserved(target: string, end: number, escapedSlashes: EscapedSlashesAction): CanonicalTarget {
  let out = '';
  let unescaped = false;
  let at = 0;
  while (at < end) {
    const code = target.charCodeAt(at);
    const kind = kinds[code] ?? refused;
    if (kind === refused) return refuse(rawFlaw(code));
    if (kind !== escaped) {
      out += target[at];
      at += 1;
      continue;
    }
    const octet = escapedOctet(target, at, end);
    if (octet < 0) return refuse('it has a % that begins no escape');
    if (octet < 0x20 || octet === 0x7f) return refuse('it has an encoded control character');
    if (octet === 0x2f || octet === 0x5c) {
      if (escapedSlashes === 'REJECT_REQUEST') return refuse(`it has an encoded ${octet === 0x2f ? '/' : '\\'}`);
      unescaped = escapedSlashes !== 'KEEP_UNCHANGED';
      out += unescaped ? '/' : target.slice(at, at + 3).toUpperCase();
      at += 3;
      continue;
    }
    if (octet >= 0x80) {
      const length = utf8Length(target, at, end);
      if (length === 0) return refuse('it has escapes that are not UTF-8');
      out += target.slice(at, at + 3 * length).toUpperCase();
      at += 3 * length;
    } else {
      out += isUnreserved(octet) ? String.fromCharCode(octet) : target.slice(at, at + 3).toUpperCase();
      at += 3;
    }
  }
  // After decoding, because %25%32%66 is %252f is an encoded slash to whoever decodes twice.
  if (/%25[0-9A-Fa-f]{2}/.test(out)) return refuse('it is encoded twice');
  return unescaped ? { ok: true, path: out, query: '', unescaped } : { ok: true, path: out, query: '' };
}

/** Octet of the escape at `at`, or -1. */
function escapedOctet(target: string, at: number, end: number): number {
  if (at + 3 > end || target.charCodeAt(at) !== 0x25) return -1;
  const high = hexDigit(target.charCodeAt(at + 1));
  const low = hexDigit(target.charCodeAt(at + 2));
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/**
 * Length in octets (2..4) of the UTF-8 character whose escapes begin at `at`, or 0 where it is invalid: overlong, a surrogate, above U+10FFFF, cut
 * short (RFC 3629 4), or a C1 control.
 */
function utf8Length(target: string, at: number, end: number): number {
  const first = escapedOctet(target, at, end);
  const length =
    first >= 0xc2 && first <= 0xdf ? 2 : first >= 0xe0 && first <= 0xef ? 3 : first >= 0xf0 && first <= 0xf4 ? 4 : 0;
  for (let index = 1; index < length; index++) {
    const octet = escapedOctet(target, at + 3 * index, end);
    let lowest = 0x80;
    let highest = 0xbf;
    if (index === 1) {
      if (first === 0xc2 || first === 0xe0) lowest = 0xa0;
      else if (first === 0xf0) lowest = 0x90;
      else if (first === 0xed) highest = 0x9f;
      else if (first === 0xf4) highest = 0x8f;
    }
    if (octet < lowest || octet > highest) return 0;
  }
  return length;
}

/** RFC 3986 2.3: letters, digits, `- . _ ~`. */
function isUnreserved(octet: number): boolean {
  const lower = octet | 0x20;
  return (
    (lower >= 0x61 && lower <= 0x7a) ||
    (octet >= 0x30 && octet <= 0x39) ||
    octet === 0x2d ||
    octet === 0x2e ||
    octet === 0x5f ||
    octet === 0x7e
  );
}

/** Merges slashes and removes dot segments (RFC 3986 5.2.4) where that has one meaning only. */
function resolveSegments(path: string): CanonicalTarget {
  const segments = path.split('/');
  const last = segments.length - 1;
  const kept: string[] = [];
  for (let at = 1; at <= last; at++) {
    const segment = segments[at] ?? '';
    if (/^\.\.?(?:;|%3B)/.test(segment)) return refuse('it has a dot segment with parameters');
    if (segment === '..') {
      if (at > 1 && segments[at - 1] === '') return refuse('it has a dot segment after an empty segment');
      const left = kept.pop();
      if (left === undefined) return refuse('its dot segments climb above the root');
      if (hasEncodedSlash(left)) return refuse(dotBesideSlash);
    } else if (segment !== '.' && segment !== '') {
      kept.push(segment);
    }
  }
  const tail = segments[last] ?? '';
  const isDirectory = tail === '' || tail === '.' || tail === '..';
  return { ok: true, path: `/${kept.join('/')}${isDirectory && kept.length > 0 ? '/' : ''}`, query: '' };
}

function rawFlaw(code: number): string {
  if (code === 0x5c) return 'it has a \\';
  if (code === 0x23) return 'it has a #';
  if (code >= 0x80) return 'it has a raw byte above 0x7f';
  return code === 0x20 ? 'it has a space' : 'it has a control character';
}

function refuse(reason: string): CanonicalTarget {
  return { ok: false, reason };
}
