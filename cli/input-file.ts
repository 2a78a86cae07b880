import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { MeshError } from '#policies/errors/mesh-error.ts';

/** What a file holds that somebody wrote for a command: JSON or YAML. `-` is standard input. @throws MeshError SLV-1005 */
export function readInput(file: string): unknown {
  const name = file === '-' ? 'Standard input' : file;
  let text: string;
  try {
    text = readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (cause) {
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : 'it cannot be read';
    throw new MeshError('SLV-1005', reason === 'ENOENT' ? `There is no file ${file}.` : `${name}: ${reason}.`, {
      cause,
    });
  }
  try {
    return parse(text);
  } catch (cause) {
    // The first line says what and where; a picture of the place follows.
    const [fault] = cause instanceof Error ? cause.message.split(':\n') : [];
    throw new MeshError('SLV-1005', `${name} holds no JSON or YAML that could be read: ${fault}`, { cause });
  }
}
