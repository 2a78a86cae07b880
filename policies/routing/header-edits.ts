import type { FeedHeaderEdits } from '../wire/feed-routing.ts';
import { flawOfHeaderName, flawOfHeaderValue } from './editable-header.ts';

/** Edits a flat list of headers (name, value, …) in place. */
export type HeaderEdits = (headers: string[]) => void;

interface Step {
  readonly remove: readonly string[];
  /** name, value, … */
  readonly set: readonly string[];
  readonly add: readonly string[];
}

/**
 * Compiles edits, to be made one list after the other: of a split first, then of the route that led to it (Envoy: weighted cluster, then route). Within one,
 * headers are removed, then set, then added.
 *
 * @returns undefined where nothing is edited
 * @throws SyntaxError for a header that may not be edited, or a value that is none
 */
export function compileHeaderEdits(...lists: readonly (FeedHeaderEdits | undefined)[]): HeaderEdits | undefined {
  const steps = lists.flatMap((edits) => (edits === undefined ? [] : [stepOf(edits)]));
  if (steps.length === 0) return undefined;
  return (headers) => {
    for (const { remove, set, add } of steps) {
      for (const name of remove) removeHeader(headers, name);
      for (let at = 0; at < set.length; at += 2) {
        removeHeader(headers, (set[at] as string).toLowerCase());
        headers.push(set[at] as string, set[at + 1] as string);
      }
      if (add.length > 0) headers.push(...add);
    }
  };
}

function stepOf({ remove = [], set = {}, add = {} }: FeedHeaderEdits): Step {
  for (const name of [...remove, ...Object.keys(set), ...Object.keys(add)]) refuse(flawOfHeaderName(name));
  for (const [name, value] of [...Object.entries(set), ...Object.entries(add)]) {
    const flaw = flawOfHeaderValue(value);
    if (flaw !== undefined) refuse(`the value of ${name} is none: ${flaw}`);
  }
  return {
    remove: remove.map((name) => name.toLowerCase()),
    set: Object.entries(set).flat(),
    add: Object.entries(add).flat(),
  };
}

function removeHeader(headers: string[], lowerCaseName: string): void {
  let kept = 0;
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string;
    if (name.length === lowerCaseName.length && name.toLowerCase() === lowerCaseName) continue;
    if (kept !== at) {
      headers[kept] = name;
      headers[kept + 1] = headers[at + 1] as string;
    }
    kept += 2;
  }
  headers.length = kept;
}

function refuse(flaw: string | undefined): void {
  if (flaw !== undefined) throw new SyntaxError(flaw);
}
