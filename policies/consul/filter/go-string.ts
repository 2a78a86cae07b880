import { GrammarError } from './peg.ts';

const simple: Readonly<Record<string, number>> = { a: 7, b: 8, f: 12, n: 10, r: 13, t: 9, v: 11, '\\': 92, '"': 34 };
const escapes = /^\\(?:([abfnrtv\\"])|x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))/;

/**
 * The text of a Go string literal, in double quotes with Go's escapes or in backquotes as it stands (strconv.Unquote).
 * @throws GrammarError `invalid syntax`, Go's words
 */
export function unquoteGo(literal: string): string {
  const inner = literal.slice(1, -1);
  if (literal.startsWith('`')) return inner.replaceAll('\r', '');
  const bytes: number[] = [];
  const encoder = new TextEncoder();
  for (let at = 0; at < inner.length; ) {
    const char = String.fromCodePoint(inner.codePointAt(at) ?? 0);
    if (char === '\n') throw new GrammarError('invalid syntax');
    if (char !== '\\') {
      bytes.push(...encoder.encode(char));
      at += char.length;
      continue;
    }
    const [whole = '', letter, hex, octal, short, long] = escapes.exec(inner.slice(at, at + 10)) ?? [];
    if (whole === '') throw new GrammarError('invalid syntax');
    at += whole.length;
    if (letter !== undefined) bytes.push(simple[letter] ?? 0);
    else if (hex !== undefined || octal !== undefined) bytes.push(byteOf(hex, octal));
    else bytes.push(...encoder.encode(runeOf(short ?? long ?? '')));
  }
  return new TextDecoder().decode(Uint8Array.from(bytes));
}

function byteOf(hex: string | undefined, octal: string | undefined): number {
  const value = hex !== undefined ? Number.parseInt(hex, 16) : Number.parseInt(octal ?? '', 8);
  if (value > 255) throw new GrammarError('invalid syntax');
  return value;
}

function runeOf(hex: string): string {
  const code = Number.parseInt(hex, 16);
  if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) throw new GrammarError('invalid syntax');
  return String.fromCodePoint(code);
}
