import { z } from 'zod';

/** Go's durations, as Consul's API writes and reads them (`time.ParseDuration`, `Duration.String`). */

const unitNs: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  μs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 6e10,
  h: 3.6e12,
};

/** @returns the duration in nanoseconds, or undefined for what Go would refuse: `10`, `1d`, ` 1s`, the empty text. */
export function parseGoDuration(text: string): number | undefined {
  const signless = text.replace(/^[+-]/, '');
  if (signless === '0') return 0;
  if (text.length > 64 || !/^(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/.test(signless)) return undefined;
  let total = 0;
  for (const [, amount, unit] of signless.matchAll(/([\d.]+)([a-zµμ]+)/g)) {
    total += Number(amount) * (unitNs[unit ?? ''] ?? Number.NaN);
  }
  if (total > 2 ** 63) return undefined;
  return text.startsWith('-') ? -total : total;
}

/** @returns nanoseconds as Go prints them: `1.5s`, `1m0s`, `1h0m0s`, `250ms`. */
export function formatGoDuration(ns: number): string {
  if (ns < 0) return `-${formatGoDuration(-ns)}`;
  if (ns === 0) return '0s';
  if (ns < 1e3) return `${ns}ns`;
  if (ns < 1e6) return `${ns / 1e3}µs`;
  if (ns < 1e9) return `${ns / 1e6}ms`;
  const hours = Math.floor(ns / 3.6e12);
  const minutes = Math.floor((ns % 3.6e12) / 6e10);
  const seconds = (ns % 6e10) / 1e9;
  return `${hours > 0 ? `${hours}h` : ''}${hours > 0 || minutes > 0 ? `${minutes}m` : ''}${seconds}s`;
}

/** A duration as Consul's API takes it: Go's text, or a number of nanoseconds. Parsed to whole milliseconds (at least 1 for what is above 0); '' is 0. */
export const durationMsSchema = z.union([z.string().max(64), z.int().min(0)]).transform((value, context): number => {
  const ns = typeof value === 'number' ? value : value === '' ? 0 : parseGoDuration(value);
  if (ns !== undefined && ns >= 0) return Math.ceil(ns / 1e6);
  context.issues.push({ code: 'custom', input: value, message: `invalid duration ${JSON.stringify(value)}` });
  return z.NEVER;
});
