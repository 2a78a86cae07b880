/** Random numbers that a seed repeats: below `bound`, a whole one. */
export type Dice = (bound: number) => number;

/** mulberry32. */
export function dice(seed: number): Dice {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * bound);
  };
}

/** Length octets (X.690 8.1.3) that no honest writer writes, or that promise what is not there. */
const lengths: readonly Uint8Array[] = [
  [0x80], // indefinite
  [0xff],
  [0x84, 0xff, 0xff, 0xff, 0xff],
  [0x88, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
  [0x83, 0xff, 0xff, 0xff],
  [0x82, 0xff, 0xff],
  [0x81, 0x01],
  [0x82, 0x00, 0x05],
  [0x84, 0x00, 0x00, 0x00, 0x01],
  [0x7f],
  [0x00],
].map((octets) => Uint8Array.from(octets));

/** How large what a mutation makes may become; the readers' own limits are below. */
const maxBytes = 300_000;

/** Where the values of a DER document begin: of all levels, also of those inside of OCTET and BIT STRINGs. */
export function valuesOf(
  der: Uint8Array,
): readonly { readonly at: number; readonly contentAt: number; readonly end: number }[] {
  const values: { at: number; contentAt: number; end: number }[] = [];
  const open: [start: number, end: number][] = [[0, der.length]];
  for (let level = open.pop(); level !== undefined; level = open.pop()) {
    let [at, end] = level;
    while (at + 2 <= end) {
      const first = der[at + 1] ?? 0;
      const count = first < 0x80 ? 0 : first & 0x7f;
      let length = first < 0x80 ? first : 0;
      for (let octet = 0; octet < count; octet++) length = length * 256 + (der[at + 2 + octet] ?? 0);
      const contentAt = at + 2 + count;
      if (count > 3 || contentAt + length > end) break;
      values.push({ at, contentAt, end: contentAt + length });
      const tag = der[at] ?? 0;
      if ((tag & 0x20) !== 0 || tag === 0x04) open.push([contentAt, contentAt + length]);
      if (tag === 0x03) open.push([contentAt + 1, contentAt + length]);
      at = contentAt + length;
    }
    end = 0;
  }
  return values;
}

/** Some bytes, damaged in one to four ways: octets changed, dropped, doubled, lengths that lie, values moved, repeated, nested a thousand times. */
export function mutate(sample: Uint8Array, roll: Dice): Uint8Array {
  let bytes = Uint8Array.from(sample);
  for (let left = 1 + roll(4); left > 0; left--) bytes = damage(bytes, roll).slice(0, maxBytes);
  return bytes;
}

function damage(bytes: Uint8Array, roll: Dice): Uint8Array<ArrayBuffer> {
  const at = roll(bytes.length + 1);
  const value = (): { at: number; contentAt: number; end: number } => {
    const values = valuesOf(bytes);
    return values[roll(values.length)] ?? { at, contentAt: at, end: bytes.length };
  };
  switch (roll(11)) {
    case 0:
      return Buffer.concat([bytes.subarray(0, at)]); // cut short
    case 1:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + roll(16))]);
    case 2:
      return Buffer.concat([bytes.subarray(0, at), Uint8Array.of(roll(256)), bytes.subarray(at)]);
    case 3: {
      const flipped = Uint8Array.from(bytes);
      if (at < flipped.length) flipped[at] = (flipped[at] ?? 0) ^ (1 << roll(8));
      return flipped;
    }
    case 4: {
      const changed = Uint8Array.from(bytes);
      if (at < changed.length) changed[at] = [0, 1, 0x1f, 0x30, 0x7f, 0x80, 0xff, roll(256)][roll(8)] ?? 0;
      return changed;
    }
    case 5: {
      const { at: tag, contentAt } = value();
      return Buffer.concat([
        bytes.subarray(0, tag + 1),
        lengths[roll(lengths.length)] ?? bytes,
        bytes.subarray(contentAt),
      ]);
    }
    case 6: {
      const { at: from, end } = value();
      const to = value().at;
      return Buffer.concat([bytes.subarray(0, to), bytes.subarray(from, end), bytes.subarray(to)]);
    }
    case 7: {
      // A value many times over, and what encloses it none the wiser, or all of it in a new one.
      const { at: from, end } = value();
      const many = Buffer.concat(
        Array.from({ length: 1 + roll(2_000) }, () => bytes.subarray(from, end)).slice(0, 500),
      );
      return roll(2) === 0 ? Buffer.concat([bytes.subarray(0, from), many, bytes.subarray(end)]) : wrap(many);
    }
    case 8: {
      let deep: Uint8Array<ArrayBuffer> = Uint8Array.from(bytes.subarray(0, 1_000));
      for (let level = roll(1_000); level > 0; level--) deep = wrap(deep);
      return deep;
    }
    case 9:
      return Buffer.concat([bytes.subarray(0, at), new Uint8Array(roll(80_000)).fill(roll(256)), bytes.subarray(at)]);
    default: {
      const junk = new Uint8Array(roll(200));
      for (let index = 0; index < junk.length; index++) junk[index] = roll(256);
      return junk;
    }
  }
}

/** A SEQUENCE around bytes. */
function wrap(content: Uint8Array): Uint8Array<ArrayBuffer> {
  const { length } = content;
  const header = length < 0x80 ? [0x30, length] : [0x30, 0x83, length >> 16, (length >> 8) & 0xff, length & 0xff];
  return Buffer.concat([Uint8Array.from(header), content]);
}
