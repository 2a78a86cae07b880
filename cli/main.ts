import { CommanderError } from 'commander';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { usageError } from './define-command.ts';
import { exitCode, exitCodeOf } from './exit-code.ts';
import { say } from './output.ts';
import { buildProgram } from './program.ts';

/** Says what went wrong, in a sentence or two, with the code and what to do. Never a stack. */
function report(error: unknown): void {
  if (error instanceof MeshError) {
    say(`selvedge: ${error.message}`);
    say(`  ${error.code} ${error.entry.title}. ${error.entry.fix}`);
    return;
  }
  say(`selvedge: ${error instanceof Error ? error.message : String(error)}`);
  say('  SLV-1007 Internal error. This is a fault of Selvedge; please report it.');
}

/** @returns the exit code of a command that failed, after saying why */
function failed(error: unknown): number {
  if (!(error instanceof CommanderError)) {
    report(error);
    return exitCodeOf(error);
  }
  if (error.exitCode === 0) return exitCode.ok;
  if (error.code !== 'commander.help') report(usageError(error.message));
  return exitCode.usage;
}

try {
  const program = await buildProgram(process.argv.slice(2));
  await program.parseAsync(process.argv);
} catch (error) {
  // A process that could not start may have opened sockets and timers already: it ends here all the same.
  process.exit(failed(error));
}
