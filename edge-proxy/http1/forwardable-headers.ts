import type { HeaderLine } from '#policies/header-rule.ts';
import { HOST, headerKind, OTHER, sameName } from './header-kind.ts';
import type { ResponseHead } from './message.ts';

/** What forwardableHeaders reads of a head: RequestHead and ResponseHead both have it. */
interface ForwardedHead {
  readonly headers: readonly string[];
  readonly connectionOptions: readonly string[];
}

const nothing: readonly string[] = [];

/**
 * The headers that go on to the next hop, in one pass: without hop-by-hop headers and those that Connection names (RFC 9110 7.6.1),
 * without what the encoder writes itself (Content-Length, Transfer-Encoding, Connection, Upgrade) or the decoder answered (Expect),
 * without claims of identity (x-forwarded-client-cert, selvedge-*, x-selvedge-*). Push ours behind it with `pushHeader`. Host stays.
 *
 * @param strip further names to leave out, lower case
 * @returns a fresh flat array: name, value, …
 */
export function forwardableHeaders(head: ForwardedHead, strip: readonly string[] = nothing): string[] {
  const { headers, connectionOptions } = head;
  const kept: string[] = [];
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string;
    const kind = headerKind(name);
    if (kind !== OTHER && kind !== HOST) continue;
    if (strip.length > 0 && isListed(name, strip)) continue;
    if (connectionOptions.length > 0 && isListed(name, connectionOptions)) continue;
    kept.push(name, headers[at + 1] as string);
  }
  return kept;
}

/** The headers of an answer that `make` has go on; of one that repeats they are made once. */
export function onwardHeaders(
  head: ResponseHead,
  make: (head: ResponseHead) => readonly string[] = forwardableHeaders,
): readonly string[] {
  const { onward } = head;
  if (onward === undefined) return make(head);
  onward.headers ??= make(head);
  return onward.headers;
}

/** The values of a header by lower-case name, in the order sent. */
export function headerValues(headers: readonly string[], lowerCaseName: string): string[] {
  const values: string[] = [];
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string;
    if (name.length === lowerCaseName.length && sameName(name, lowerCaseName)) values.push(headers[at + 1] as string);
  }
  return values;
}

const noLines: readonly HeaderLine[] = [];

/** The lines whose names differ from that one in `-` and `_` only, with those of that name; [] where there are but those: policies/header-rule.ts. */
export function headerLookalikes(headers: readonly string[], lowerCaseName: string): readonly HeaderLine[] {
  const dashed = lowerCaseName.replaceAll('_', '-');
  let others = false;
  for (let at = 0; at < headers.length && !others; at += 2) {
    const name = headers[at] as string;
    others = looksLike(name, dashed) && !sameName(name, lowerCaseName);
  }
  if (!others) return noLines;
  const lines: HeaderLine[] = [];
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string;
    if (looksLike(name, dashed)) lines.push([name.toLowerCase(), headers[at + 1] as string]);
  }
  return lines;
}

function looksLike(name: string, dashed: string): boolean {
  return name.length === dashed.length && (sameName(name, dashed) || sameName(name.replaceAll('_', '-'), dashed));
}

function isListed(name: string, lowerCaseNames: readonly string[]): boolean {
  for (const listed of lowerCaseNames) if (listed.length === name.length && sameName(name, listed)) return true;
  return false;
}
