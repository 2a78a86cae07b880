import { decodeHuffman } from './hpack-huffman.ts';
import { staticTable } from './hpack-static-table.ts';
import { errorCode, Http2ConnectionError } from './http2.ts';
import { isWellFormed } from './request-head.ts';

/** Most fields of one section, counted after decoding: of what callers send, and of what is answered to us (edge-proxy/http1/limits.ts). */
export const maxRequestFields = 100;
export const maxAnswerFields = 1_000;
/** Most octets of one section as RFC 9113 6.5.2 counts them: name + value + 32 a field. */
export const maxFieldSectionSize = 65_536;
/** From here on nobody means it well, and to read on would only cost (CVE-2016-1544): the connection ends. Octets, counted in the same way. */
const bombSize = 4 * maxFieldSectionSize;

/** Size of the dynamic table before SETTINGS say otherwise (RFC 9113 6.5.2). */
const initialTableSize = 4_096;
/** RFC 7541 4.1: what a field costs beyond its text. */
const fieldOverhead = 32;

type Field = readonly [name: string, value: string];

/** An entry of a table: what comes out again and again is looked at once. */
interface Entry {
  readonly field: Field;
  readonly wellFormed: boolean;
}

const staticEntries = staticTable.map((field): Entry => ({ field, wellFormed: isWellFormed(...field) }));

/**
 * HPACK decoding (RFC 7541) of one direction of a connection, with the dynamic table that our SETTINGS allow. Any fault throws Http2ConnectionError COMPRESSION_ERROR. The bounds
 * count what comes out, so that a small block can't grow large: past them fields are read, for the table's sake, and not kept.
 */
export class HpackDecoder {
  /** Newest first. */
  #dynamic: Entry[] = [];
  #dynamicSize = 0;
  /** What the peer's encoder said last. */
  #tableSize = initialTableSize;
  /** What our SETTINGS allow. */
  #allowedTableSize = initialTableSize;
  #sizeUpdateDue = false;

  /** The last section was over the bounds: only its first fields were kept, and its content type. */
  over = false;
  /** Each field that was kept of the last section may, by itself, go over HTTP/2. */
  wellFormed = true;
  /** The same of the last field. */
  #wellFormedField = true;

  readonly #maxFields: number;
  #block: Buffer = Buffer.alloc(0);
  #at = 0;
  #end = 0;

  constructor(maxFields = maxRequestFields) {
    this.#maxFields = maxFields;
  }

  /** The peer has acknowledged our SETTINGS_HEADER_TABLE_SIZE: when that is less than it used, its next block must begin with an update (RFC 9113 4.3.1). */
  limitTable(size: number): void {
    this.#allowedTableSize = size;
    this.#sizeUpdateDue = this.#tableSize > size;
  }

  /** Decodes one whole field section: octets `start` to before `end` of `block`. */
  decode(block: Buffer, start = 0, end = block.length): Field[] {
    this.#block = block;
    this.#at = start;
    this.#end = end;
    const fields: Field[] = [];
    let size = 0;
    let begun = false;
    let typed = false;
    this.over = false;
    this.wellFormed = true;
    while (this.#at < end) {
      const octet = block[this.#at] ?? 0;
      if ((octet & 0xe0) === 0x20) {
        if (begun) throw fault('table size update after a field');
        this.#resize(this.#integer(5));
        continue;
      }
      if (this.#sizeUpdateDue) throw fault('table size update missing');
      const field = this.#field(octet, maxFieldSectionSize);
      begun = true;
      size += sizeOf(field);
      if (size > bombSize) throw new Http2ConnectionError(errorCode.enhanceYourCalm, 'header list far over the limit');
      this.over ||= size > maxFieldSectionSize || fields.length === this.#maxFields;
      if (this.over) {
        // By its type a call that is refused for its size is known, and told so in gRPC's words.
        if (typed || field[0] !== 'content-type') continue;
        typed = true;
      }
      fields.push(field);
      this.wellFormed &&= this.#wellFormedField;
    }
    return fields;
  }

  #field(octet: number, limit: number): Field {
    if (octet >= 0x80) {
      const entry = this.#indexed(this.#integer(7));
      this.#wellFormedField = entry.wellFormed;
      return entry.field;
    }
    const remembered = octet >= 0x40;
    const nameIndex = this.#integer(remembered ? 6 : 4);
    const name = nameIndex === 0 ? this.#string(limit) : this.#indexed(nameIndex).field[0];
    const value = this.#string(limit);
    const field: Field = [name, value];
    const wellFormed = isWellFormed(name, value);
    this.#wellFormedField = wellFormed;
    if (remembered) this.#remember({ field, wellFormed });
    return field;
  }

  #indexed(index: number): Entry {
    const entry =
      index <= staticTable.length ? staticEntries[index - 1] : this.#dynamic[index - staticTable.length - 1];
    if (entry === undefined) throw fault(`no table entry ${index}`);
    return entry;
  }

  #remember(entry: Entry): void {
    this.#dynamic.unshift(entry);
    this.#dynamicSize += sizeOf(entry.field);
    this.#evict();
  }

  #resize(size: number): void {
    if (size > this.#allowedTableSize) throw fault('table size over the limit');
    this.#tableSize = size;
    this.#sizeUpdateDue = false;
    this.#evict();
  }

  #evict(): void {
    while (this.#dynamicSize > this.#tableSize) {
      const oldest = this.#dynamic.pop();
      if (oldest === undefined) return;
      this.#dynamicSize -= sizeOf(oldest.field);
    }
  }

  /** RFC 7541 5.2. */
  #string(limit: number): string {
    const huffman = ((this.#block[this.#at] ?? 0) & 0x80) !== 0;
    const length = this.#integer(7);
    const start = this.#at;
    const end = start + length;
    if (end > this.#end) throw fault('string past the end of the block');
    this.#at = end;
    if (huffman) return decodeHuffman(this.#block, start, end, limit);
    if (length > limit) throw new Http2ConnectionError(errorCode.enhanceYourCalm, 'header list over the limit');
    return this.#block.toString('latin1', start, end);
  }

  /** RFC 7541 5.1. Four continuation octets at most: no number that is of any use here needs more. */
  #integer(bits: number): number {
    const limit = (1 << bits) - 1;
    let value = this.#octet() & limit;
    if (value < limit) return value;
    for (let shift = 0; shift < 28; shift += 7) {
      const octet = this.#octet();
      value += (octet & 0x7f) << shift;
      if (octet < 0x80) return value;
    }
    throw fault('integer too long');
  }

  #octet(): number {
    if (this.#at >= this.#end) throw fault('block ends within a field');
    return this.#block[this.#at++] as number;
  }
}

function sizeOf([name, value]: Field): number {
  return name.length + value.length + fieldOverhead;
}

function fault(message: string): Http2ConnectionError {
  return new Http2ConnectionError(errorCode.compressionError, `HPACK: ${message}`);
}
