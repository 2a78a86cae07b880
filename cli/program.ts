import { Command } from 'commander';
import { version } from '#runtime/version.ts';

interface Parents {
  readonly program: Command;
  readonly serve: Command;
}

/** Who defines the commands that begin with these words. Loaded is what is called: the rest of the command tree would be 5 MB in every process. */
const definitions: Readonly<Record<string, (parents: Parents) => Promise<void>>> = {
  'serve identity': async ({ serve }) => (await import('./commands/serve-identity.ts')).defineIdentityServe(serve),
  'serve catalog': async ({ serve }) => (await import('./commands/serve-catalog.ts')).defineCatalogServe(serve),
  'serve edge-proxy': async ({ serve }) => (await import('./commands/serve-edge-proxy.ts')).defineEdgeProxyServe(serve),
  dev: async ({ program }) => (await import('./commands/dev.ts')).defineDev(program),
  identity: async ({ program }) => (await import('./commands/identity.ts')).defineIdentityCommands(program),
  intention: async ({ program }) => (await import('./commands/intention.ts')).defineIntentionCommands(program),
  'config-entry': async ({ program }) =>
    (await import('./commands/config-entry.ts')).defineConfigEntryCommands(program),
  resilience: async ({ program }) => (await import('./commands/resilience.ts')).defineResilienceCommands(program),
  breaker: async ({ program }) => (await import('./commands/breaker.ts')).defineBreakerCommands(program),
  import: async ({ program }) => (await import('./commands/import-consul.ts')).defineImportCommands(program),
  catalog: async ({ program }) => (await import('./commands/catalog-backup.ts')).defineCatalogCommands(program),
  token: async ({ program }) => (await import('./commands/token.ts')).defineTokenCommands(program),
  audit: async ({ program }) => (await import('./commands/audit.ts')).defineAuditCommands(program),
};

/**
 * The command tree; nothing is parsed yet, and commands load what they run by when they run.
 *
 * @param args a command line: of one that names a command, no more of the tree than that takes
 */
export async function buildProgram(args: readonly string[] = []): Promise<Command> {
  const program = new Command('selvedge')
    .description('A service mesh for VMs and containers with Vault at its root of trust.')
    .version(version)
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .showSuggestionAfterError(true);
  const serve = program.command('serve').description('run one process of the mesh');
  const [called] = [args.slice(0, 1), args.slice(0, 2)]
    .map((words) => words.join(' '))
    .filter((words) => Object.hasOwn(definitions, words));
  for (const [words, define] of Object.entries(definitions)) {
    // For help and for what is nearest to a misspelt word, all of it.
    if (called === undefined || called === words) await define({ program, serve });
  }
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
