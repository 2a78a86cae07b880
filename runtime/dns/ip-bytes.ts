import { isIPv4, isIPv6 } from 'node:net';

/** @returns the 4 or 16 bytes of an IP literal; undefined for anything else, a zone (`fe80::1%eth0`) too: it means something on one host only. */
export function parseIpBytes(text: string): Uint8Array | undefined {
  if (isIPv4(text)) return Uint8Array.from(text.split('.'), Number);
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const tail = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  const word = (high: string | undefined, low: string | undefined) => (Number(high) * 256 + Number(low)).toString(16);
  const plain = tail === null ? text : `${tail[1]}${word(tail[2], tail[3])}:${word(tail[4], tail[5])}`;
  const [before = '', after] = plain.split('::');
  const words = (part: string | undefined) => (part === undefined || part === '' ? [] : part.split(':'));
  const [head, end] = [words(before), words(after)];
  const all = [...head, ...new Array<string>(8 - head.length - end.length).fill('0'), ...end];
  return Uint8Array.from(all.flatMap((hex) => [Number.parseInt(hex, 16) >> 8, Number.parseInt(hex, 16) & 0xff]));
}

/** @returns bytes as lower-case hexadecimal: `0a000001`, the label of `<hex>.addr.<domain>`. */
export function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

/** @returns the address that 8 or 32 hexadecimal digits mean; undefined for other text. */
export function parseHexAddress(hex: string): Uint8Array | undefined {
  return /^(?:[0-9a-f]{8}|[0-9a-f]{32})$/.test(hex) ? Buffer.from(hex, 'hex') : undefined;
}

/** @returns the address that a name below in-addr.arpa (RFC 1035 3.5) or ip6.arpa (RFC 3596 2.5) stands for; undefined if it is none. */
export function parseReverseName(name: readonly string[]): Uint8Array | undefined {
  const labels = name.slice(0, -2).reverse();
  if (name.at(-1) !== 'arpa') return undefined;
  if (name.at(-2) === 'in-addr') return labels.length === 4 ? parseIpBytes(labels.join('.')) : undefined;
  const isNibbles = labels.length === 32 && labels.every((label) => /^[0-9a-f]$/.test(label));
  return name.at(-2) === 'ip6' && isNibbles ? Buffer.from(labels.join(''), 'hex') : undefined;
}
