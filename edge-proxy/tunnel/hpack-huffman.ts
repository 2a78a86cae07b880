import { errorCode, Http2ConnectionError } from './http2.ts';

/**
 * The Huffman code of HPACK (RFC 7541 Appendix B), decoding only: we never send Huffman strings. The code is canonical, so the lengths say it all:
 * codes of one length are consecutive, in the order of their symbols.
 */

/** Code length in bits of each byte, RFC 7541 Appendix B. EOS (256) has 30. */
// biome-ignore format: sixteen a row, as a table
const lengths = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
  28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
  5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
  6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
  24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
  21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
  26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
];
const endOfString = 256;

/** The code as a binary tree: `tree[2 * node + bit]` is the next node, or `~symbol` at a leaf. A full tree: no bit leads nowhere. */
const tree = buildTree();

function buildTree(): Int16Array {
  const nodes = new Int16Array(2 * endOfString);
  const symbols = lengths.map((_, symbol) => symbol);
  symbols.sort((a, b) => (lengths[a] ?? 0) - (lengths[b] ?? 0) || a - b);
  let code = 0;
  let codeLength = 0;
  let used = 1;
  for (const symbol of symbols) {
    const length = lengths[symbol] ?? 0;
    code <<= length - codeLength;
    codeLength = length;
    let node = 0;
    for (let bit = length - 1; bit > 0; bit--) {
      const at = 2 * node + ((code >>> bit) & 1);
      if (nodes[at] === 0) nodes[at] = used++;
      node = nodes[at] ?? 0;
    }
    nodes[2 * node + (code & 1)] = ~symbol;
    code += 1;
  }
  return nodes;
}

/** What most strings are decoded into. */
const scratch = Buffer.allocUnsafeSlow(4_096);

/**
 * Decodes a Huffman string to latin1 text.
 *
 * @param limit most characters that it may have
 * Throws Http2ConnectionError COMPRESSION_ERROR for EOS inside, or padding that is over seven bits or not all ones (RFC 7541 5.2); ENHANCE_YOUR_CALM
 * past the limit.
 */
export function decodeHuffman(bytes: Buffer, start: number, end: number, limit: number): string {
  // The shortest code has five bits.
  const room = Math.min(limit, Math.ceil(((end - start) * 8) / 5));
  const text = room > scratch.length ? Buffer.allocUnsafe(room) : scratch;
  let length = 0;
  let node = 0;
  let pendingBits = 0;
  let pendingOnes = true;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] ?? 0;
    for (let shift = 7; shift >= 0; shift--) {
      const bit = (byte >>> shift) & 1;
      const next = tree[2 * node + bit] ?? 0;
      if (next >= 0) {
        node = next;
        pendingBits += 1;
        pendingOnes &&= bit === 1;
        continue;
      }
      const symbol = ~next;
      if (symbol === endOfString) throw new Http2ConnectionError(errorCode.compressionError, 'EOS in a Huffman string');
      if (length >= limit) throw new Http2ConnectionError(errorCode.enhanceYourCalm, 'header list over the limit');
      text[length++] = symbol;
      node = 0;
      pendingBits = 0;
      pendingOnes = true;
    }
  }
  if (pendingBits > 7 || !pendingOnes) {
    throw new Http2ConnectionError(errorCode.compressionError, 'bad padding of a Huffman string');
  }
  return text.toString('latin1', 0, length);
}
