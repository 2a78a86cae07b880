import { Command, CommanderError } from 'commander';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { version } from '#runtime/version.ts';
import { defineAuditCommands } from './commands/audit.ts';
import { defineBreakerCommands } from './commands/breaker.ts';
import { defineCatalogCommands } from './commands/catalog-backup.ts';
import { defineConfigEntryCommands } from './commands/config-entry.ts';
import { defineDev } from './commands/dev.ts';
import { defineIdentityCommands } from './commands/identity.ts';
import { defineImportCommands } from './commands/import-consul.ts';
import { defineIntentionCommands } from './commands/intention.ts';
import { defineResilienceCommands } from './commands/resilience.ts';
import { defineCatalogServe } from './commands/serve-catalog.ts';
import { defineEdgeProxyServe } from './commands/serve-edge-proxy.ts';
import { defineIdentityServe } from './commands/serve-identity.ts';
import { defineTokenCommands } from './commands/token.ts';
import { usageError } from './define-command.ts';
import { exitCode, exitCodeOf } from './exit-code.ts';
import { say } from './output.ts';

/** The whole command tree. */
function buildProgram(): Command {
  const program = new Command('selvedge')
    .description('A service mesh for VMs and containers with Vault at its root of trust.')
    .version(version)
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .showSuggestionAfterError(true);
  const serve = program.command('serve').description('run one process of the mesh');
  defineIdentityServe(serve);
  defineCatalogServe(serve);
  defineEdgeProxyServe(serve);
  defineDev(program);
  defineIdentityCommands(program);
  defineIntentionCommands(program);
  defineConfigEntryCommands(program);
  defineResilienceCommands(program);
  defineBreakerCommands(program);
  defineImportCommands(program);
  defineCatalogCommands(program);
  defineTokenCommands(program);
  defineAuditCommands(program);
  for (const command of allCommands(program)) {
    command
      .exitOverride()
      .configureOutput({ outputError: () => {} })
      .showSuggestionAfterError(true);
  }
  return program;
}

function allCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(allCommands)];
}

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
  await buildProgram().parseAsync(process.argv);
} catch (error) {
  // A process that could not start may have opened sockets and timers already: it ends here all the same.
  process.exit(failed(error));
}
