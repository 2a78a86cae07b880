import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  catalogClientOptions,
  catalogOptions,
  devOptions,
  edgeProxyOptions,
  identityClientOptions,
  identityOptions,
} from '#cli/command-options.ts';
import { edgeProxyClientOptions } from '#cli/edge-proxy-client-options.ts';
import { type ErrorEntry, errorCatalogue } from '#policies/errors/catalogue.ts';
import { flagName, type OptionSet, variableName } from '#runtime/configuration.ts';

/**
 * The pages of docs/ that are made from the code: docs/errors.md of the error catalogue, docs/configuration.md of the options.
 * `bin/node test/generated-docs.ts` writes them; test/docs.test.ts fails while one is not current.
 */

const notice = '<!-- Made by `bin/node test/generated-docs.ts` from the code. Changes made here are lost. -->';

const errorAreas: readonly (readonly [from: number, to: number, title: string])[] = [
  [1000, 1999, 'Configuration, command line, start of a process'],
  [2000, 2999, 'Identity: attestation, issuance, SVIDs, trust'],
  [3000, 3499, 'Catalog'],
  [3500, 3999, 'Store'],
  [4000, 4099, 'Edge proxy: requests and connections'],
  [4100, 4199, 'Edge proxy: the tunnel'],
  [4200, 4299, 'Edge proxy: HTTP/1.1'],
  [4300, 4999, 'Edge proxy: the local agent'],
  [5000, 5999, 'Names, SPIFFE IDs, intentions, policies'],
];

/** docs/errors.md. */
export function errorsPage(): string {
  const entries: readonly (readonly [code: string, entry: ErrorEntry])[] = Object.entries(errorCatalogue).sort();
  const sections = errorAreas.map(([from, to, title]) => {
    const own = entries.filter(([code]) => Number(code.slice(4)) >= from && Number(code.slice(4)) <= to);
    const rows = own.map(
      ([code, { status, title: what, fix }]) => `| ${code} | ${status} | ${cell(what)} | ${cell(fix)} |`,
    );
    return `## ${title}\n\n| code | HTTP | what | what to do |\n|---|---|---|---|\n${rows.join('\n')}\n`;
  });
  return `${notice}

# Error codes

Every error that Selvedge shows has a stable code: on the terminal, in logs, in the \`code\` member of a problem answer
(RFC 9457, \`application/problem+json\`), and in decisions. A code is never reused or renumbered. The column HTTP is the status with which the error is
answered where it reaches an HTTP client. Consul's routes answer errors as plain text, as Consul does.

${sections.join('\n')}`;
}

interface CommandOptions {
  readonly title: string;
  readonly text: string;
  readonly options: OptionSet;
}

const commands: readonly CommandOptions[] = [
  {
    title: '`selvedge dev`',
    text: 'identity, catalog and an agent in one process: plain HTTP on loopback, open, without tokens. For development only.',
    options: devOptions,
  },
  { title: '`selvedge serve identity`', text: 'The identity service.', options: identityOptions },
  { title: '`selvedge serve catalog`', text: 'The catalog service.', options: catalogOptions },
  { title: '`selvedge serve edge-proxy`', text: 'The sidecar of one service.', options: edgeProxyOptions },
  {
    title: 'Commands that talk to the catalog',
    text: '`intention`, `config-entry`, `resilience`. A catalog over https is proven by `--ca-file`; a pin will not do. What else each takes: [cli.md](cli.md).',
    options: catalogClientOptions,
  },
  {
    title: 'Commands that talk to the identity service',
    text: '`identity`. What else each takes: [cli.md](cli.md).',
    options: identityClientOptions,
  },
  {
    title: 'Commands that talk to an edge proxy',
    text: '`breaker`. On the host of the proxy, for its admin API is on loopback. What else each takes: [cli.md](cli.md).',
    options: edgeProxyClientOptions,
  },
];

/** docs/configuration.md. */
export function configurationPage(): string {
  const sections = commands.map(({ title, text, options }) => {
    const rows = Object.entries(options).map(([name, option]) => {
      const notes = [
        option.required === true ? ' Needed.' : '',
        option.repeatable === true ? ' May be repeated.' : '',
      ].join('');
      const value = option.placeholder === undefined ? '' : ` <${option.placeholder}>`;
      return `| \`--${flagName(name)}${value}\` | \`${variableName(name)}\` | ${defaultOf(name, option.default)} | ${cell(option.description)}.${notes} |`;
    });
    return `## ${title}\n\n${text}\n\n| flag | variable | default | meaning |\n|---|---|---|---|\n${rows.join('\n')}\n`;
  });
  return `${notice}

# Configuration

Each option has a flag (\`--data-dir\`), a variable (\`SELVEDGE_DATA_DIR\`) and a key in the configuration file (\`data-dir\`). A flag wins over a variable, a
variable over the file, the file over the default. An unknown flag, variable or key is an error that names it, its place and the nearest right one; all
faults are listed at once.

The file is flat YAML, named by \`--config\` or \`SELVEDGE_CONFIG\`:

\`\`\`yaml
service: web
listen: 0.0.0.0:21000
advertise: 10.0.0.7:21000
upstream: [db=127.0.0.1:5000, cache=127.0.0.1:5001]
identity: https://10.0.0.2:8510
catalog: https://10.0.0.2:8501
ca-file: /etc/selvedge/ca.pem
data-dir: /var/lib/selvedge/edge-proxy
\`\`\`

| form | example |
|---|---|
| duration | \`90s\`, \`10m\`, \`1h30m\`, \`250ms\`, \`1d\` |
| address | \`127.0.0.1:8500\`, \`[::1]:8500\`: an IP address and a port; port 0 picks a free one, which is printed |
| service URL | \`https://10.0.0.5:8501\`: scheme, host, port and nothing else |
| option that repeats | the flag again; in a variable separated by commas; in the file a list |

Secrets are read from files, never from flags or variables: join token, operator token, everything for Vault.
Read elsewhere: \`SELVEDGE_NODE\` (the Node binary that \`bin/selvedge\` runs), \`SELVEDGE_BAO\` (OpenBao's \`bao\` for tests and demo), \`SELVEDGE_ENVOY\`
(Envoy for the benchmark).

${sections.join('\n')}`;
}

/** The host's name differs from host to host: it must not get into the page. */
function defaultOf(name: string, value: string | undefined): string {
  if (name === 'nodeName') return "the host's name";
  return value === undefined ? '' : `\`${value}\``;
}

/** Text of a table's cell. Outside of code `<` would begin a tag. */
function cell(text: string): string {
  const parts = text.replaceAll('|', '\\|').replace(/\.$/, '').split('`');
  return parts.map((part, index) => (index % 2 === 0 ? part.replaceAll('<', '&lt;') : part)).join('`');
}

/** Page by its path from the checkout's root. */
export const generatedPages: Readonly<Record<string, () => string>> = {
  'docs/errors.md': errorsPage,
  'docs/configuration.md': configurationPage,
};

if (import.meta.main) {
  for (const [path, page] of Object.entries(generatedPages))
    writeFileSync(join(import.meta.dirname, '..', path), page());
}
