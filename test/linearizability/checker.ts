import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { buildGo } from '../go-program.ts';
import type { Operation } from './history.ts';

const verdictSchema = z.object({
  /** `Unknown`: the time was over before the search was. */
  result: z.enum(['Ok', 'Illegal', 'Unknown']),
  operations: z.number(),
  keys: z.number(),
  ms: z.number(),
  refusedKeys: z.array(z.string()),
});
export type Verdict = z.infer<typeof verdictSchema>;

/**
 * Has porcupine say whether a history is linearizable.
 *
 * @param options.picture HTML file that shows a history which is not
 */
export async function checkLinearizable(
  operations: readonly Operation[],
  options: { readonly picture?: string } = {},
): Promise<Verdict> {
  const program = await buildGo('linearizability');
  const args = options.picture === undefined ? [] : ['-picture', options.picture];
  const checker = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = once(checker, 'exit');
  checker.stdin.on('error', () => undefined); // it may end before it has read all: its words say why
  checker.stdin.end(operations.map((operation) => `${JSON.stringify(operation)}\n`).join(''));
  const [output, words] = await Promise.all([text(checker.stdout), text(checker.stderr), ended]);
  if (output === '') throw new Error(`the checker could not read the history: ${words}`);
  return verdictSchema.parse(JSON.parse(output));
}
