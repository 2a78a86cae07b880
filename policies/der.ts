import { MeshError } from './errors/mesh-error.ts';

/** Identifier octets (X.690 8.1.2) of the types that X.509 needs. */
export const derTag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Identifier octet of a context-specific tag, `[number]`, primitive or constructed. `number` 0..30. */
export function contextTag(number: number, constructed = false): number {
  return 0x80 | (constructed ? 0x20 : 0) | number;
}

/** Largest input in bytes. A certificate with a RSA-4096 key and a 2 KiB ID is below 4 KiB. */
const maxInputBytes = 65_536;
/** Deepest nesting. X.509 with extensions uses about ten levels. */
const maxDepth = 24;

/**
 * Strict, bounded reader of DER (X.690 10): one-byte tags, definite minimal lengths, nothing beyond the end of the enclosing value.
 * A cursor over one level; `enter` gives a cursor over the next. Reads without copying.
 * Every flaw is a MeshError SLV-5007; no other error is thrown, and no input makes it read a byte twice without advancing.
 */
export class DerReader {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  readonly #depth: number;
  #at: number;

  /** @param bytes DER; the whole of it, at most 64 KiB */
  constructor(bytes: Uint8Array, start = 0, end = bytes.length, depth = 0) {
    if (bytes.length > maxInputBytes)
      throw malformed(0, `${bytes.length} bytes are over the limit of ${maxInputBytes}`);
    if (depth > maxDepth) throw malformed(start, `nested deeper than ${maxDepth} levels`);
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
    this.#depth = depth;
  }

  /** True when nothing is left on this level. */
  get atEnd(): boolean {
    return this.#at === this.#end;
  }

  /** The identifier octet of the next value, undefined at the end. */
  get nextTag(): number | undefined {
    return this.atEnd ? undefined : this.#bytes[this.#at];
  }

  /** Requires that nothing is left on this level. */
  finish(): void {
    if (!this.atEnd) throw malformed(this.#at, 'unexpected bytes after the value');
  }

  /** Reads one value of the given tag. @returns its content octets, a view */
  read(tag: number): Uint8Array {
    const { contentAt, contentEnd } = this.#header(tag);
    this.#at = contentEnd;
    return this.#bytes.subarray(contentAt, contentEnd);
  }

  /** Reads one value of the given tag. @returns the whole of it, header included, a view */
  readWhole(tag: number): Uint8Array {
    const start = this.#at;
    const { contentEnd } = this.#header(tag);
    this.#at = contentEnd;
    return this.#bytes.subarray(start, contentEnd);
  }

  /** Reads one value of any tag. @returns tag, content octets and the whole, views */
  readAny(): { readonly tag: number; readonly content: Uint8Array; readonly whole: Uint8Array } {
    const tag = this.nextTag;
    if (tag === undefined) throw malformed(this.#at, 'a value is missing');
    const start = this.#at;
    const { contentAt, contentEnd } = this.#header(tag);
    this.#at = contentEnd;
    return {
      tag,
      content: this.#bytes.subarray(contentAt, contentEnd),
      whole: this.#bytes.subarray(start, contentEnd),
    };
  }

  /** Steps over one value. @returns a reader of its content; the caller calls `finish` on it */
  enter(tag: number): DerReader {
    const { contentAt, contentEnd } = this.#header(tag);
    this.#at = contentEnd;
    return new DerReader(this.#bytes, contentAt, contentEnd, this.#depth + 1);
  }

  /** `enter`, or undefined when the next value has another tag (an OPTIONAL). */
  enterOptional(tag: number): DerReader | undefined {
    return this.nextTag === tag ? this.enter(tag) : undefined;
  }

  /** BOOLEAN: DER allows 00 and FF only. */
  boolean(): boolean {
    const at = this.#at;
    const content = this.read(derTag.boolean);
    if (content.length !== 1 || (content[0] !== 0 && content[0] !== 0xff)) throw malformed(at, 'bad BOOLEAN');
    return content[0] === 0xff;
  }

  /** INTEGER of any size. @returns minimal two's complement octets, a view */
  integerBytes(): Uint8Array {
    const at = this.#at;
    const content = this.read(derTag.integer);
    const [first, second] = content;
    if (first === undefined) throw malformed(at, 'empty INTEGER');
    if (second !== undefined && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80))) {
      throw malformed(at, 'INTEGER is not minimal');
    }
    return content;
  }

  /** INTEGER that is 0..2^31-1 (versions, path lengths). */
  smallInteger(): number {
    const at = this.#at;
    const content = this.integerBytes();
    if (content.length > 4 || (content[0] ?? 0) >= 0x80) throw malformed(at, 'INTEGER out of range');
    let value = 0;
    for (const octet of content) value = value * 256 + octet;
    return value;
  }

  /** OBJECT IDENTIFIER in dotted form: `2.5.29.17`. At most 32 arcs of at most 2^31-1. */
  oid(): string {
    const at = this.#at;
    return decodeOid(this.read(derTag.oid), at);
  }

  /** BIT STRING. @returns octets and the count of unused bits, which must be zero bits (X.690 11.2.1) */
  bitString(tag: number = derTag.bitString): { readonly bytes: Uint8Array; readonly unusedBits: number } {
    const at = this.#at;
    const content = this.read(tag);
    const unusedBits = content[0];
    const last = content[content.length - 1];
    if (unusedBits === undefined || last === undefined || unusedBits > 7) throw malformed(at, 'bad BIT STRING');
    if (content.length === 1 ? unusedBits !== 0 : (last & ((1 << unusedBits) - 1)) !== 0) {
      throw malformed(at, 'BIT STRING has bits set in its padding');
    }
    return { bytes: content.subarray(1), unusedBits };
  }

  /** UTCTime or GeneralizedTime in the one form that RFC 5280 4.1.2.5 allows (`Z`, seconds, no fraction). @returns ms since the epoch */
  timeMs(): number {
    const at = this.#at;
    const { tag, content } = this.readAny();
    const text = latin1(content);
    const shape =
      tag === derTag.utcTime
        ? /^(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/
        : tag === derTag.generalizedTime
          ? /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/
          : undefined;
    const parts = shape?.exec(text)?.slice(1).map(Number);
    if (parts === undefined) throw malformed(at, 'bad time');
    const [yearDigits = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts;
    const year = tag === derTag.utcTime ? (yearDigits < 50 ? 2000 : 1900) + yearDigits : yearDigits;
    const time = new Date(0);
    time.setUTCFullYear(year, month - 1, day);
    time.setUTCHours(hour, minute, second);
    // A Date rolls 31 February over into March; what does not read back the same was no time.
    const sameDay = time.getUTCFullYear() === year && time.getUTCMonth() === month - 1 && time.getUTCDate() === day;
    if (!sameDay || hour > 23 || minute > 59 || second > 59) throw malformed(at, 'bad time');
    return time.getTime();
  }

  /** Reads tag and length at the cursor; checks that the content fits. */
  #header(tag: number): { contentAt: number; contentEnd: number } {
    const start = this.#at;
    const found = this.nextTag;
    if (found === undefined) throw malformed(start, `a value of tag ${hex(tag)} is missing`);
    if ((found & 0x1f) === 0x1f) throw malformed(start, 'tags of several bytes are not used here');
    if (found !== tag) throw malformed(start, `tag ${hex(found)} where ${hex(tag)} belongs`);
    let at = start + 1;
    const first = this.#octet(at++);
    let length = first;
    if (first >= 0x80) {
      const count = first & 0x7f;
      if (count === 0) throw malformed(start, 'indefinite length');
      if (count > 3) throw malformed(start, 'length over the limit');
      length = 0;
      for (let read = 0; read < count; read++) length = length * 256 + this.#octet(at++);
      if (length < 0x80 || length < 256 ** (count - 1)) throw malformed(start, 'length is not minimal');
    }
    if (length > this.#end - at) throw malformed(start, 'value runs beyond its end');
    return { contentAt: at, contentEnd: at + length };
  }

  #octet(at: number): number {
    const octet = at < this.#end ? this.#bytes[at] : undefined;
    if (octet === undefined) throw malformed(at, 'truncated');
    return octet;
  }
}

/** Opens a DER document that is one value and nothing after it. @returns a reader of its content */
export function openDer(bytes: Uint8Array, tag: number = derTag.sequence): DerReader {
  const outer = new DerReader(bytes);
  const inner = outer.enter(tag);
  outer.finish();
  return inner;
}

/** Content octets as text, one character a byte. */
export function latin1(bytes: Uint8Array): string {
  let text = '';
  for (const octet of bytes) text += String.fromCharCode(octet);
  return text;
}

function decodeOid(content: Uint8Array, at: number): string {
  const arcs: number[] = [];
  let value = 0;
  let fresh = true;
  for (const octet of content) {
    if (fresh && octet === 0x80) throw malformed(at, 'OBJECT IDENTIFIER is not minimal');
    value = value * 128 + (octet & 0x7f);
    if (value > 0x7fff_ffff) throw malformed(at, 'OBJECT IDENTIFIER arc out of range');
    fresh = octet < 0x80;
    if (!fresh) continue;
    if (arcs.length === 0) {
      const root = value < 40 ? 0 : value < 80 ? 1 : 2;
      arcs.push(root, value - root * 40);
    } else {
      arcs.push(value);
    }
    if (arcs.length > 32) throw malformed(at, 'OBJECT IDENTIFIER is too long');
    value = 0;
  }
  if (!fresh || arcs.length === 0) throw malformed(at, 'truncated OBJECT IDENTIFIER');
  return arcs.join('.');
}

function hex(octet: number): string {
  return `0x${octet.toString(16).padStart(2, '0')}`;
}

function malformed(at: number, flaw: string): MeshError {
  return new MeshError('SLV-5007', `Malformed DER at byte ${at}: ${flaw}.`, { detail: { byte: at } });
}
