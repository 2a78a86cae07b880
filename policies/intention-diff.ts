import type { Intention, Permission } from './intention.ts';
import { compilePermission } from './permission-rule.ts';

/** What was said of one pair; the times and revisions of its writing are no part of it. */
export type IntentionRules = Pick<Intention, 'action' | 'permissions' | 'description' | 'observe' | 'expiresAtMs'>;

/**
 * What a write changed, a line for each thing: `- allow`, `+ permission 2: deny PathPrefix "/admin"`. Permissions that stand in the same order in both are not
 * named; a number is the place in the list that the line is about, before (`-`) or after (`+`).
 * @param before undefined: there was none; `after` likewise
 * @returns [] exactly when both say the same
 */
export function diffIntentions(before: IntentionRules | undefined, after: IntentionRules | undefined): string[] {
  return [
    ...changed(before?.action, after?.action, (action) => action),
    ...diffPermissions(before?.permissions ?? [], after?.permissions ?? []),
    ...changed(before?.observe, after?.observe, () => 'observe'),
    ...changed(before?.expiresAtMs, after?.expiresAtMs, (atMs) => `expires ${new Date(atMs).toISOString()}`),
    ...changed(before?.description, after?.description, (text) => `description ${JSON.stringify(text)}`),
  ];
}

function changed<T>(before: T | undefined, after: T | undefined, text: (value: T) => string): string[] {
  if (before === after) return [];
  return [...(before === undefined ? [] : [`- ${text(before)}`]), ...(after === undefined ? [] : [`+ ${text(after)}`])];
}

function diffPermissions(before: readonly Permission[], after: readonly Permission[]): string[] {
  const [a, b] = [before.map(spelling), after.map(spelling)];
  const common = commonLengths(a, b);
  const lines: string[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      i += 1;
      j += 1;
    } else if (j >= b.length || (i < a.length && at(common, i + 1, j) >= at(common, i, j + 1))) {
      lines.push(`- permission ${i + 1}: ${textOf(before[i])}`);
      i += 1;
    } else {
      lines.push(`+ permission ${j + 1}: ${textOf(after[j])}`);
      j += 1;
    }
  }
  return lines;
}

/** Lengths of the longest common subsequences of the ends of both lists. A list has at most 128 permissions. */
function commonLengths(a: readonly string[], b: readonly string[]): readonly (readonly number[])[] {
  const lengths = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0));
  for (let i = a.length - 1; i >= 0; i--) {
    const row = lengths[i] ?? [];
    for (let j = b.length - 1; j >= 0; j--) {
      row[j] = a[i] === b[j] ? at(lengths, i + 1, j + 1) + 1 : Math.max(at(lengths, i + 1, j), at(lengths, i, j + 1));
    }
  }
  return lengths;
}

function at(lengths: readonly (readonly number[])[], i: number, j: number): number {
  return lengths[i]?.[j] ?? 0;
}

function spelling(permission: Permission): string {
  return JSON.stringify(permission);
}

function textOf(permission: Permission | undefined): string {
  return permission === undefined ? '' : compilePermission(permission).text;
}
