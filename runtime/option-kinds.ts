import { MeshError } from '#policies/errors/mesh-error.ts';
import { nearestWord } from '#policies/nearest-word.ts';
import { parseSocketAddress, type SocketAddress } from './socket-address.ts';

/** Parsers of option values, for configuration.ts. Each throws SLV-1002 and says which form it takes. */

/** Any non-empty text of at most 4,096 characters. */
export function text(value: string): string {
  if (value === '' || value.length > 4_096)
    throw new MeshError('SLV-1002', 'a text of 1 to 4,096 characters is expected');
  return value;
}

/** `127.0.0.1:8500`; port 0 picks a free one. */
export function address(value: string): SocketAddress {
  return parseSocketAddress(value);
}

/** `90s`, `10m`, `1h30m`, `250ms`: milliseconds. */
export function durationMs(value: string): number {
  const units: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
  let total = 0;
  const rest = value.replace(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g, (_, amount: string, unit: string) => {
    total += Number(amount) * (units[unit] ?? 0);
    return '';
  });
  if (rest !== '' || value === '' || total > 3_153_600_000_000) {
    throw new MeshError('SLV-1002', `"${clip(value)}" is not a duration; it takes the form 90s, 10m, 1h30m or 250ms`);
  }
  return Math.round(total);
}

/** A duration from `leastMs` to `mostMs`. @param form how the bounds are told: `1m to 24h` */
export function durationWithin(leastMs: number, mostMs: number, form: string): (value: string) => number {
  return (value) => {
    const ms = durationMs(value);
    if (ms < leastMs || ms > mostMs) throw new MeshError('SLV-1002', `"${clip(value)}" is not within ${form}`);
    return ms;
  };
}

/** An http:// or https:// URL without path, query, user or password; the trailing slash is dropped. */
export function serviceUrl(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (
    url === undefined ||
    (url.protocol !== 'http:' && url.protocol !== 'https:') ||
    (url.pathname !== '/' && url.pathname !== '') ||
    url.search !== '' ||
    url.username !== '' ||
    url.password !== ''
  ) {
    throw new MeshError(
      'SLV-1002',
      `"${clip(value)}" is not a service address; it takes the form https://10.0.0.5:8500`,
    );
  }
  return url.origin;
}

/** One of a fixed set of words. */
export function oneOf<const W extends string>(...words: readonly W[]): (value: string) => W {
  return (value) => {
    const found = words.find((word) => word === value);
    if (found === undefined) {
      const nearest = nearestWord(value, words);
      throw new MeshError(
        'SLV-1002',
        `"${clip(value)}" is none of ${words.join(', ')}${nearest === undefined ? '' : `; did you mean ${nearest}?`}`,
      );
    }
    return found;
  };
}

/** A whole number within bounds. */
export function integer(min: number, max: number): (value: string) => number {
  return (value) => {
    const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
    if (!(number >= min && number <= max)) {
      throw new MeshError('SLV-1002', `"${clip(value)}" is not a whole number from ${min} to ${max}`);
    }
    return number;
  };
}

/** `true` or `false`; a flag without value is true. */
export function onOff(value: string): boolean {
  if (value === 'true') return true;
  if (value === 'false') return false;
  throw new MeshError('SLV-1002', `"${clip(value)}" is neither true nor false`);
}

function clip(value: string): string {
  return value.length > 80 ? `${value.slice(0, 80)}…` : value;
}
