import { staticNameIndex, staticTable, staticValues } from './hpack-static-table.ts';
import type { HeaderFields } from './tunnel-stream.ts';

/** The table that we keep at most, as RFC 7541 4.1 counts: of what a peer allows mostly all. */
const largestTable = 4_096;
/** RFC 7541 4.1: what a field costs beyond its text. */
const fieldOverhead = 32;
/** Fields longer than this stay out of the table, octets. */
const largestEntry = 1_024;

/**
 * Fields that the dynamic table may hold: what says which software and who calls whom, and is the same in one head after the other. Nothing that may be somebody's secret is
 * among them, so nothing of one request can be guessed from the size of another's head (RFC 7541 7.1).
 */
const repeatedNames = [
  ...[':authority', 'accept', 'accept-encoding', 'accept-language', 'cache-control', 'content-length', 'content-type'],
  ...[
    'date',
    'grpc-accept-encoding',
    'grpc-encoding',
    'grpc-status',
    'last-modified',
    'selvedge-source',
    'server',
    'te',
  ],
  ...['user-agent', 'vary', 'x-forwarded-client-cert'],
];

/** What is known of a name beforehand. */
interface KnownName {
  /** In the static table; 0: it is not there. */
  readonly index: number;
  /** Values of it that are in the static table, each with its index. */
  readonly values: ReadonlyMap<string, number> | undefined;
  /** Its place among the repeated names; -1: it is none. */
  readonly repeated: number;
}

const knownNames: ReadonlyMap<string, KnownName> = new Map(
  [...staticNameIndex.keys(), ...repeatedNames].map((name) => [
    name,
    { index: staticNameIndex.get(name) ?? 0, values: staticValues.get(name), repeated: repeatedNames.indexOf(name) },
  ]),
);

/** Lengths and first characters of known names: others need not be looked up, for which V8 would have to make each of them one of its own strings first. */
const knownShapes = new Uint8Array(32 * 128);
for (const name of knownNames.keys()) knownShapes[shapeOf(name)] = 1;

function shapeOf(name: string): number {
  return name.length * 128 + name.charCodeAt(0);
}

function knownName(name: string): KnownName | undefined {
  const shape = shapeOf(name);
  return shape < knownShapes.length && knownShapes[shape] === 1 ? knownNames.get(name) : undefined;
}

/**
 * HPACK encoding (RFC 7541) of one direction of a connection: what the static table has; of repeated fields an index where the value is the one before, which costs neither
 * end a string; else literals that are never indexed. No Huffman: that costs bytes, and saves CPU at both ends.
 */
export class HpackEncoder {
  /** Of the dynamic table: what it may hold and what it holds, octets. */
  #tableSize = 0;
  #used = 0;
  /** Fields that were ever put into it, those that are out again, and the sizes of the others, oldest first. */
  #inserted = 0;
  #evicted = 0;
  readonly #sizes: number[] = [];
  /** Of each repeated name: the value that was sent last, and as the how manieth it was put into the table; 0: it was not. */
  readonly #values: string[] = repeatedNames.map(() => '');
  readonly #insertions: number[] = repeatedNames.map(() => 0);
  /** The next block says how large the table is (RFC 7541 6.3): first of all, that there is none. */
  #sizeUpdateDue = true;

  /** What the peer's SETTINGS allow; until they are here, the table has no room. Another size begins with an empty table. */
  limitTable(size: number): void {
    const allowed = Math.min(size, largestTable);
    if (allowed === this.#tableSize) return;
    this.#tableSize = allowed;
    this.#used = 0;
    this.#evicted = this.#inserted;
    this.#sizes.length = 0;
    this.#sizeUpdateDue = true;
  }

  /** Encodes one field section: `pseudo` and then `fields`, whose values are latin1. */
  encode(pseudo: HeaderFields, fields: HeaderFields): Buffer {
    const block = Buffer.allocUnsafe(longestBlock(pseudo, fields));
    return block.subarray(0, this.encodeAt(block, 0, pseudo, fields));
  }

  /** Encodes one field section into `block` from `start` on, where there must be room. @returns where it ends */
  encodeAt(block: Buffer, start: number, pseudo: HeaderFields, fields: HeaderFields): number {
    const begun = this.#sizeUpdateDue ? this.#writeSize(block, start) : start;
    return this.#fields(block, this.#fields(block, begun, pseudo), fields);
  }

  #fields(block: Buffer, start: number, fields: HeaderFields): number {
    let at = start;
    for (const [name, value] of fields) {
      const known = knownName(name);
      const whole = known?.values?.get(value);
      if (whole !== undefined) block[at++] = 0x80 | whole;
      else if (known === undefined || known.repeated < 0) at = writeLiteral(block, at, 0x10, 4, known, name, value);
      else at = this.#repeated(block, at, known, name, value);
    }
    return at;
  }

  /** A value that comes once is not worth an entry. */
  #repeated(block: Buffer, at: number, known: KnownName, name: string, value: string): number {
    const { repeated } = known;
    if (this.#values[repeated] !== value) {
      this.#values[repeated] = value;
      this.#insertions[repeated] = 0;
      return writeLiteral(block, at, 0x00, 4, known, name, value);
    }
    const insertion = this.#insertions[repeated] ?? 0;
    if (insertion > this.#evicted)
      return writeInteger(block, at, 0x80, 7, staticTable.length + 1 + this.#inserted - insertion);
    const size = name.length + value.length + fieldOverhead;
    if (size > Math.min(largestEntry, this.#tableSize)) return writeLiteral(block, at, 0x00, 4, known, name, value);
    this.#insert(size);
    this.#insertions[repeated] = this.#inserted;
    return writeLiteral(block, at, 0x40, 6, known, name, value);
  }

  #insert(size: number): void {
    while (this.#used + size > this.#tableSize) {
      this.#used -= this.#sizes.shift() ?? 0;
      this.#evicted += 1;
    }
    this.#sizes.push(size);
    this.#used += size;
    this.#inserted += 1;
  }

  /** Down to nothing before it is up to its new size: whatever the peer allowed meanwhile, both ends have an empty table (RFC 7541 4.2). */
  #writeSize(block: Buffer, start: number): number {
    this.#sizeUpdateDue = false;
    block[start] = 0x20;
    return this.#tableSize === 0 ? start + 1 : writeInteger(block, start + 1, 0x20, 5, this.#tableSize);
  }
}

/** More octets than a field section takes when it is encoded. */
export function longestBlock(pseudo: HeaderFields, fields: HeaderFields): number {
  let size = 16;
  for (const [name, value] of pseudo) size += name.length + value.length + 16;
  for (const [name, value] of fields) size += name.length + value.length + 16;
  return size;
}

/** RFC 7541 6.2: `prefix` says whether it is put into the table, and how many `bits` the index of its name has. */
function writeLiteral(
  block: Buffer,
  start: number,
  prefix: number,
  bits: number,
  known: KnownName | undefined,
  name: string,
  value: string,
): number {
  const index = known?.index ?? 0;
  let at = writeInteger(block, start, prefix, bits, index);
  if (index === 0) at = writeString(block, at, name);
  return writeString(block, at, value);
}

/** Up to this length a loop writes a string sooner than the call of a native function does. */
const shortString = 32;

function writeString(block: Buffer, start: number, text: string): number {
  let at = writeInteger(block, start, 0, 7, text.length);
  if (text.length > shortString) return at + block.write(text, at, 'latin1');
  for (let character = 0; character < text.length; character++) block[at++] = text.charCodeAt(character);
  return at;
}

/** RFC 7541 5.1, with the bits of `prefix` before it in its first octet. */
function writeInteger(block: Buffer, start: number, prefix: number, bits: number, value: number): number {
  const limit = (1 << bits) - 1;
  let at = start;
  if (value < limit) {
    block[at++] = prefix | value;
    return at;
  }
  block[at++] = prefix | limit;
  let rest = value - limit;
  while (rest >= 0x80) {
    block[at++] = 0x80 | (rest & 0x7f);
    rest >>>= 7;
  }
  block[at++] = rest;
  return at;
}
