/**
 * The smallest string above every string that begins with `prefix`, in the order of UTF-8 bytes (which is that of code points, and SQLite's
 * BINARY collation); undefined when there is none (the empty prefix).
 */
export function prefixEnd(prefix: string): string | undefined {
  const points = Array.from(prefix, (character) => character.codePointAt(0) ?? 0);
  for (let last = points.pop(); last !== undefined; last = points.pop()) {
    if (last === 0x10ffff) continue;
    // The surrogates D800 to DFFF are no code points of UTF-8.
    return String.fromCodePoint(...points, last === 0xd7ff ? 0xe000 : last + 1);
  }
  return undefined;
}
