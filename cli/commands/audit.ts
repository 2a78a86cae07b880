import { createReadStream } from 'node:fs';
import type { Command } from 'commander';
import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import { type VerifiedLog, verifyAuditLog } from '#runtime/audit/verify-audit-log.ts';
import { text } from '#runtime/option-kinds.ts';
import { defineCommand } from '../define-command.ts';
import { exitCode } from '../exit-code.ts';
import { type OutputForm, printJson, say } from '../output.ts';
import { outputOption } from './identity-client.ts';

/** `selvedge audit verify`. */
export function defineAuditCommands(program: Command): void {
  const audit = program.command('audit').description('the audit logs of identity and catalog');
  defineCommand(audit, {
    name: 'verify',
    summary: 'check that an audit log is whole, or say where its chain is broken; - is standard input',
    positional: ['<file>'],
    options: {
      after: {
        parse: text,
        placeholder: 'file',
        description: 'the file that was rotated away before this one: the chain must go on from its end',
      },
      output: outputOption,
    },
    async run(options, [file = '']) {
      try {
        const before = options.after === undefined ? undefined : await verified(options.after);
        report(file, await verified(file, before), options);
      } catch (error) {
        if (!isMeshError(error, 'SLV-2151')) throw error;
        // What was asked has an answer, and it is no.
        if (options.output === 'json') printJson({ file, broken: error.message, ...error.detail });
        else process.stdout.write(`broken: ${error.message}\n`);
        process.exitCode = exitCode.no;
      }
    },
  });
}

async function verified(file: string, before?: VerifiedLog): Promise<VerifiedLog> {
  try {
    return await verifyAuditLog(file === '-' ? process.stdin : createReadStream(file), before?.end);
  } catch (error) {
    if (error instanceof MeshError) {
      throw new MeshError('SLV-2151', `${file}: ${error.message}`, { detail: error.detail });
    }
    const reason = error instanceof Error && 'code' in error ? String(error.code) : 'failed';
    throw new MeshError('SLV-1005', `Cannot read ${file}: ${reason}.`, {
      detail: { path: file, reason },
      cause: error,
    });
  }
}

function report(
  file: string,
  found: VerifiedLog,
  { after, output }: { after?: string | undefined; output: OutputForm },
): void {
  if (output === 'json') printJson({ file, ...found });
  else process.stdout.write(`${sentence(found)}\n`);
  if (found.tornBytes > 0)
    say(`${file} ends in ${found.tornBytes} bytes of a half-written line: of a write under way, or of a crash.`);
  if (found.first !== undefined && found.first > 1 && after === undefined)
    say(`It begins at sequence ${found.first}: --after FILE, with the file before it, checks that nothing is missing.`);
}

function sentence({ lines, first, end, from, to }: VerifiedLog): string {
  if (first === undefined) return 'empty';
  return `whole: ${lines} lines, sequence ${first} to ${end.sequence}, ${from} to ${to}, last hash ${end.hash}`;
}
