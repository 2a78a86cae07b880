import { Command } from 'commander';
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

/** The whole command tree; nothing is parsed yet, and commands load what they run by when they run. */
export function buildProgram(): Command {
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
