import type { DefaultRead } from './history.ts';

/**
 * What is wrong with reads that may lag: within a session the index of a key never goes back, nor does the entry, and no answer is older than the index
 * that was sent along. An entry that is gone has no ModifyIndex; the index of the answer stands for it.
 *
 * @returns a sentence for each; none: all is well
 */
export function flawsOfDefaultReads(reads: readonly DefaultRead[]): string[] {
  const last = new Map<string, DefaultRead>();
  const entries = new Map<string, number>();
  const flaws: string[] = [];
  for (const read of reads) {
    const { session, key, sentIndex, index, modifyIndex } = read;
    const at = `${session}, key ${key}`;
    const before = last.get(at);
    const entry = entries.get(at) ?? 0;
    if (before !== undefined && index < before.index) flaws.push(`${at}: index ${index} after ${before.index}`);
    if (index < sentIndex) flaws.push(`${at}: index ${index}, older than ${sentIndex}, which was sent`);
    if (index < modifyIndex) flaws.push(`${at}: index ${index} of an entry that was changed at ${modifyIndex}`);
    if (modifyIndex !== 0 && modifyIndex < entry) flaws.push(`${at}: entry of ${modifyIndex} after that of ${entry}`);
    last.set(at, read);
    entries.set(at, Math.max(entry, modifyIndex));
  }
  return flaws;
}
