import { staticFieldIndex, staticNameIndex } from './hpack-static-table.ts';
import type { HeaderFields } from './tunnel-stream.ts';

/**
 * HPACK encoding (RFC 7541) without state: what the static table has, else values as literals that are never indexed, no dynamic table, no Huffman. That costs
 * bytes, and saves CPU at both ends; and nothing of one request can be guessed from the size of another's head (RFC 7541 7.1).
 */

/** Tells the peer's decoder that our dynamic table is empty and stays so (RFC 7541 6.3, RFC 9113 4.3.1). First in the first block of a connection. */
export const noDynamicTable = Buffer.of(0x20);

/** Encodes one field section. Field values are latin1. */
export function encodeFields(fields: HeaderFields): Buffer {
  const block = Buffer.allocUnsafe(longestBlock(fields));
  return block.subarray(0, encodeFieldsAt(block, 0, fields));
}

/** More octets than a field section takes when it is encoded. */
export function longestBlock(fields: HeaderFields): number {
  let size = 0;
  for (const [name, value] of fields) size += name.length + value.length + 16;
  return size;
}

/** Encodes one field section, or a part of one, into `block` from `start` on, where there must be room. @returns where it ends */
export function encodeFieldsAt(block: Buffer, start: number, fields: HeaderFields): number {
  let at = start;
  for (const [name, value] of fields) {
    const whole = staticFieldIndex(name, value);
    if (whole !== undefined) {
      block[at++] = 0x80 | whole;
      continue;
    }
    const index = staticNameIndex.get(name);
    if (index === undefined) {
      block[at++] = 0x10;
      at = writeString(block, at, name);
    } else {
      at = writeInteger(block, at, 0x10, 4, index);
    }
    at = writeString(block, at, value);
  }
  return at;
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
