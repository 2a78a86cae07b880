import {
  allOf,
  byteClass,
  COLON,
  CR,
  DIGIT,
  FIELD,
  HTAB,
  LF,
  SP,
  TOKEN,
  TOKEN_NO_UNDERSCORE,
  UNDERSCORE,
} from './byte-classes.ts';
import type { Fault } from './fault.ts';
import {
  CONNECTION,
  CONTENT_LENGTH,
  EXPECT,
  HOST,
  headerKind,
  IDENTITY,
  OTHER,
  sameName,
  TRANSFER_ENCODING,
  UPGRADE,
} from './header-kind.ts';
import type { Http1Limits } from './limits.ts';

const noOptions: readonly string[] = [];
/** Names in Connection headers. */
const maxConnectionOptions = 16;

/**
 * Reads the header lines of one head and gathers what framing and connection handling need, in one pass over a latin1 string.
 * One object per decoder, filled anew by each `read`.
 */
export class HeaderBlock {
  /** name, value, … as sent. A fresh array for each head. */
  headers: string[] = [];
  /** A name holds an underscore. */
  underscored = false;
  /** Where the head ends in the text: behind the empty line. */
  end = 0;
  host: string | undefined;
  /** -1: none. */
  contentLength = -1;
  chunked = false;
  /** Connection says `close`. */
  close = false;
  /** Connection says `keep-alive`. */
  keepAlive = false;
  /** Connection says `upgrade`. */
  upgradeListed = false;
  upgrade: string | undefined;
  expect: string | undefined;
  /** Other names in Connection, lower case. */
  connectionOptions: readonly string[] = noOptions;

  /** Reads from `at` (behind the start line) to the empty line. Returns what is wrong, or nothing. */
  read(text: string, start: number, limits: Http1Limits): Fault | undefined {
    this.#reset();
    const maxEntries = limits.maxHeaders * 2;
    const headers = this.headers;
    let at = start;
    for (;;) {
      let code = text.charCodeAt(at);
      if (code === CR) {
        if (text.charCodeAt(at + 1) !== LF) return bareCarriageReturn;
        this.end = at + 2;
        return undefined;
      }
      const nameStart = at;
      while ((byteClass(code) & TOKEN_NO_UNDERSCORE) !== 0) code = text.charCodeAt(++at);
      if (code === UNDERSCORE && limits.allowUnderscores) {
        this.underscored = true;
        while ((byteClass(code) & TOKEN) !== 0) code = text.charCodeAt(++at);
      }
      if (code !== COLON || at === nameStart) return nameFault(code, at === nameStart);
      const name = text.slice(nameStart, at);
      code = text.charCodeAt(++at);
      while (code === SP || code === HTAB) code = text.charCodeAt(++at);
      const valueStart = at;
      while ((byteClass(code) & FIELD) !== 0) code = text.charCodeAt(++at);
      if (code !== CR || text.charCodeAt(at + 1) !== LF) return badValue;
      let valueEnd = at;
      while (valueEnd > valueStart && isBlank(text.charCodeAt(valueEnd - 1))) valueEnd--;
      at += 2;
      if (headers.length >= maxEntries) return tooMany;
      const value = text.slice(valueStart, valueEnd);
      headers.push(name, value);
      const kind = headerKind(name);
      if (kind !== OTHER) {
        const fault = this.#note(kind, value);
        if (fault !== undefined) return fault;
      }
    }
  }

  #reset(): void {
    this.headers = [];
    this.underscored = false;
    this.host = undefined;
    this.contentLength = -1;
    this.chunked = false;
    this.close = false;
    this.keepAlive = false;
    this.upgradeListed = false;
    this.upgrade = undefined;
    this.expect = undefined;
    this.connectionOptions = noOptions;
  }

  #note(kind: number, value: string): Fault | undefined {
    switch (kind) {
      case HOST:
        if (this.host !== undefined) return repeatedHost;
        this.host = value;
        return undefined;
      case CONTENT_LENGTH:
        return this.#noteLength(value);
      case TRANSFER_ENCODING:
        if (this.chunked) return repeatedCoding;
        if (value.length !== 7 || !sameName(value, 'chunked')) return otherCoding;
        this.chunked = true;
        return this.contentLength >= 0 ? bothFramings : undefined;
      case CONNECTION:
        return this.#noteConnection(value);
      case UPGRADE:
        if (this.upgrade !== undefined) return repeatedUpgrade;
        this.upgrade = value;
        return undefined;
      case EXPECT:
        if (this.expect !== undefined) return repeatedExpect;
        this.expect = value;
        return undefined;
      default:
        return undefined;
    }
  }

  #noteLength(value: string): Fault | undefined {
    if (this.contentLength >= 0) return repeatedLength;
    if (value.length === 0 || value.length > 16 || !allOf(DIGIT, value, 0, value.length)) return badLength;
    const length = Number(value);
    if (length > Number.MAX_SAFE_INTEGER) return badLength;
    this.contentLength = length;
    return this.chunked ? bothFramings : undefined;
  }

  /** RFC 9110 7.6.1. Naming a header that framing, routing or identity rest on is an attempt to have it dropped (CVE-2024-45410). */
  #noteConnection(value: string): Fault | undefined {
    if (value.length === 10 && sameName(value, 'keep-alive')) {
      this.keepAlive = true;
      return undefined;
    }
    let count = 0;
    for (const element of value.split(',', maxConnectionOptions + 1)) {
      const option = withoutBlanks(element);
      if (option.length === 0) continue;
      if (++count > maxConnectionOptions) return badConnection;
      if (!allOf(TOKEN, option, 0, option.length)) return badConnection;
      if (option.length === 5 && sameName(option, 'close')) this.close = true;
      else if (option.length === 10 && sameName(option, 'keep-alive')) this.keepAlive = true;
      else if (option.length === 7 && sameName(option, 'upgrade')) this.upgradeListed = true;
      else {
        const lower = option.toLowerCase();
        if (isProtected(lower)) return protectedConnection;
        if (this.connectionOptions.length >= maxConnectionOptions) return badConnection;
        this.connectionOptions = [...this.connectionOptions, lower];
      }
    }
    return undefined;
  }
}

function isBlank(code: number): boolean {
  return code === SP || code === HTAB;
}

/** Only SP and HTAB: String.trim would also take U+00A0 off. */
function withoutBlanks(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

/** Headers that no Connection header may name. */
function isProtected(lower: string): boolean {
  const kind = headerKind(lower);
  if (kind === HOST || kind === CONTENT_LENGTH || kind === TRANSFER_ENCODING || kind === CONNECTION) return true;
  if (kind === EXPECT || kind === IDENTITY) return true;
  return lower === 'authorization' || lower === 'cookie' || lower.startsWith('x-forwarded-') || lower === 'forwarded';
}

function nameFault(code: number, atStart: boolean): Fault {
  if (atStart && isBlank(code)) return folded;
  if (atStart && code === COLON) return emptyName;
  return isBlank(code) ? blankBeforeColon : badName;
}

const header = (reason: string): Fault => ({ kind: 'header', reason });
const framing = (reason: string): Fault => ({ kind: 'framing', reason });

const bareCarriageReturn = header('a carriage return without a line feed');
const folded = header('a header line begins with a blank (obsolete line folding)');
const emptyName = header('a header has no name');
const blankBeforeColon = header('a blank inside or behind a header name');
const badName = header('a header name holds a character that is not allowed in names');
const badValue = header('a header value holds a control character, or its line does not end with CRLF');
const badConnection = header('Connection is not a list of names, or names too many');
const protectedConnection = header('Connection names a header that must reach the other side');
const repeatedExpect = header('more than one Expect header');
const tooMany: Fault = { kind: 'head-size', reason: 'too many headers' };
const repeatedHost: Fault = { kind: 'host', reason: 'more than one Host header' };
const repeatedUpgrade: Fault = { kind: 'upgrade', reason: 'more than one Upgrade header' };
const repeatedLength = framing('more than one Content-Length');
const badLength = framing('Content-Length is not a number of bytes in digits, or too large');
const repeatedCoding = framing('more than one Transfer-Encoding');
const otherCoding = framing('Transfer-Encoding is not exactly `chunked`');
const bothFramings = framing('both Content-Length and Transfer-Encoding');
