import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checkLinearizable } from './checker.ts';
import { flawsOfDefaultReads } from './default-reads.ts';
import { type History, loadOf, type MinimumLoad, requireLoad } from './history.ts';

const kept = join(import.meta.dirname, '..', '..', '.cache', 'linearizability');

/**
 * Judges what a run recorded. A history that is refused is kept with its picture in .cache/linearizability/.
 *
 * @returns what was looked at, in words
 * @throws Error when the run did too little, when the history is not linearizable or could not be judged in time, or a read went back
 */
export async function judge(name: string, history: History, minimum: MinimumLoad): Promise<string> {
  const load = loadOf(history);
  requireLoad(load, minimum);
  await mkdir(kept, { recursive: true });
  const picture = join(kept, `${name}.html`);
  const verdict = await checkLinearizable(history.operations, { picture });
  const flaws = flawsOfDefaultReads(history.defaultReads);
  if (verdict.result !== 'Ok' || flaws.length > 0) {
    await writeFile(join(kept, `${name}.json`), JSON.stringify(history));
    const keys = verdict.refusedKeys.length === 0 ? '' : ` (keys ${verdict.refusedKeys.join(', ')})`;
    const reads = flaws.length === 0 ? '' : `; default reads: ${flaws.slice(0, 5).join('; ')}`;
    throw new Error(`${name}: porcupine says ${verdict.result}${keys}${reads}. History and picture: ${picture}`);
  }
  const done = Object.entries(load).map(([what, count]) => `${what} ${count}`);
  return `${name}: linearizable, ${verdict.keys} keys in ${verdict.ms} ms; ${done.join(', ')}`;
}
