import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, test } from 'node:test';
import { startTestCatalog } from '#catalog/testing/running-catalog.ts';
import * as commandOptions from '#cli/command-options.ts';
import { edgeProxyClientOptions } from '#cli/edge-proxy-client-options.ts';
import { buildProgram } from '#cli/program.ts';
import { startAgent } from '#edge-proxy/agent/testing/running-agent.ts';
import { canonicaliseTarget } from '#policies/canonical-request.ts';
import { errorCatalogue } from '#policies/errors/catalogue.ts';
import type { HttpMatch, Permission } from '#policies/intention.ts';
import { compileIntentions } from '#policies/intention-decision.ts';
import { precedenceOf } from '#policies/intention-precedence.ts';
import { defaultResiliencePolicy } from '#policies/resilience.ts';
import { flagName, variableName } from '#runtime/configuration.ts';
import { createMetrics } from '#runtime/metrics.ts';
import { findBao } from './bao.ts';
import { skipWithoutDig } from './dig.ts';
import { isAsShown, type RanSnippet, runDocument } from './doc-snippets.ts';
import { generatedPages } from './generated-docs.ts';

/** The documents are right: their commands do what they show, and what they name exists. */

const root = normalize(join(import.meta.dirname, '..'));
const pages = ['*.md', 'docs/**/*.md', 'bench/*.md'].flatMap((pattern) => globSync(pattern, { cwd: root })).sort();
const textOf = (page: string): string => readFileSync(join(root, page), 'utf8');

/** All cells of a page's tables, by row. */
function tableRows(page: string): readonly (readonly string[])[] {
  return textOf(page)
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .replace(/^\|/, '')
        .replace(/\|$/, '')
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim()),
    );
}

/** What stands in backquotes. */
function codeSpans(text: string): string[] {
  return [...text.replace(/^```[\s\S]*?^```/gm, '').matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '');
}

describe('what the documents tell to type', () => {
  /** Fails where a page shows other output than its commands print. */
  function assertAsShown(ran: readonly RanSnippet[], leastShown: number): void {
    for (const { line, commands, output, shown } of ran) {
      if (shown === undefined) continue;
      assert.ok(isAsShown(output, shown), `line ${line}:\n${commands}\n--- printed\n${output}\n--- shown\n${shown}`);
    }
    assert.ok(ran.filter(({ shown }) => shown !== undefined).length >= leastShown);
  }
  /** What npm ci brings is there already: the checkout's own. */
  const commands = { npm: '/bin/true' };

  test('README.md, "Try it by hand"', async () => {
    const environment = {
      SELVEDGE_HTTP_ADDR: '127.0.0.1:8500',
      SELVEDGE_IDENTITY_ADDR: '127.0.0.1:8510',
      // An option of dev and of edge proxies: each finds a port of its own.
      SELVEDGE_DNS_ADDR: '127.0.0.1:0',
      SELVEDGE_CATALOG: 'http://127.0.0.1:8500',
      SELVEDGE_IDENTITY: 'http://127.0.0.1:8510',
    };
    assertAsShown(await runDocument('README.md', { commands, environment }), 2);
  });

  test('docs/getting-started.md', async () => {
    assertAsShown(await runDocument('docs/getting-started.md', { commands }), 13);
  });

  test('docs/runbooks/restore.md', async () => {
    assertAsShown(await runDocument('docs/runbooks/restore.md', { commands }), 2);
  });

  test('docs/runbooks/compromise.md', async () => {
    assertAsShown(await runDocument('docs/runbooks/compromise.md', { commands }), 3);
  });

  test('docs/health-checks.md', async () => {
    const environment = {
      SELVEDGE_HTTP_ADDR: '127.0.0.1:8500',
      SELVEDGE_IDENTITY_ADDR: '127.0.0.1:0',
      SELVEDGE_DNS_ADDR: '127.0.0.1:0',
    };
    assertAsShown(await runDocument('docs/health-checks.md', { commands, environment }), 1);
  });

  test('docs/dns.md', { skip: skipWithoutDig() }, async () => {
    const environment = {
      SELVEDGE_HTTP_ADDR: '127.0.0.1:8500',
      SELVEDGE_IDENTITY_ADDR: '127.0.0.1:0',
      SELVEDGE_DNS_ADDR: '127.0.0.1:8600',
    };
    assertAsShown(await runDocument('docs/dns.md', { commands, environment }), 1);
  });

  test('docs/vault.md, on a real server', async (t) => {
    const bao = await findBao();
    if (bao.skip !== false) {
      t.skip(bao.skip);
      return;
    }
    assert.ok(bao.path !== undefined, 'reason' in bao ? bao.reason : '');
    assertAsShown(await runDocument('docs/vault.md', { commands: { ...commands, bao: bao.path } }), 7);
  });
});

describe('what the documents name', () => {
  test('generated pages are current: bin/node test/generated-docs.ts', () => {
    for (const [page, make] of Object.entries(generatedPages)) assert.equal(textOf(page), make(), page);
  });

  test('links lead somewhere, headings too', () => {
    const broken = pages.flatMap((page) =>
      [...textOf(page).matchAll(/\]\(([^)\s]+)\)/g)].flatMap((match) => {
        const [path = '', heading] = (match[1] ?? '').split('#');
        if (/^https?:/.test(path)) return [];
        const target = path === '' ? page : normalize(join(dirname(page), path));
        if (!existsSync(join(root, target))) return [`${page}: ${path}`];
        if (heading === undefined) return [];
        const headings = [...textOf(target).matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
          title
            .toLowerCase()
            .replace(/[^\w\- ]/g, '')
            .replaceAll(' ', '-'),
        );
        return headings.includes(heading) ? [] : [`${page}: ${path}#${heading}`];
      }),
    );
    assert.deepEqual(broken, []);
  });

  test('files exist', () => {
    const missing = pages.flatMap((page) =>
      codeSpans(textOf(page))
        .filter((span) =>
          /^(?:policies|runtime|store|identity|catalog|edge-proxy|cli|demo|bench|test|docs)\/[\w./-]+\.(?:ts|md)$/.test(
            span,
          ),
        )
        .filter((file) => !existsSync(join(root, file)))
        .map((file) => `${page}: ${file}`),
    );
    assert.deepEqual(missing, []);
  });

  test('error codes exist', () => {
    const unknown = pages.flatMap((page) =>
      [...textOf(page).matchAll(/\bSLV-\d{4}\b/g)]
        .map(([code]) => code)
        .filter((code) => !Object.hasOwn(errorCatalogue, code))
        .map((code) => `${page}: ${code}`),
    );
    assert.deepEqual(unknown, []);
  });

  test('options and variables exist', () => {
    const sets = [...Object.values(commandOptions), edgeProxyClientOptions];
    const ofCommands = globSync('cli/commands/*.ts', { cwd: root }).flatMap((file) =>
      [...textOf(file).matchAll(/^\s*(\w+)(?:: \{$|: \{ parse|,$)/gm)].map((match) => match[1] ?? ''),
    );
    const names = [...sets.flatMap((set) => Object.keys(set)), ...ofCommands];
    const flags = new Set([
      ...names.map((name) => `--${flagName(name)}`),
      '--help',
      // Of V8, as bin/selvedge sets it or was tried with.
      ...[
        '--maglev-filter',
        '--turbo-filter',
        '--v8-pool-size',
        '--no-sparkplug',
        '--initial-old-space-size',
        '--max-semi-space-size',
      ],
      '--perf-basic-prof',
      // Of the npm scripts, and of commands of others.
      ...['--vault', '--keep', '--json', '--rounds', '--seconds', '--case', '--subject', '--concurrency', '--insecure'],
    ]);
    const variables = new Set([...names.map(variableName), 'SELVEDGE_NODE', 'SELVEDGE_BAO', 'SELVEDGE_ENVOY']);
    const unknown = pages.flatMap((page) => {
      const spans = codeSpans(textOf(page)).filter((span) => /^(?:selvedge|--)/.test(span));
      const lines = textOf(page).replaceAll('\\\n', ' ').split('\n');
      const typed = lines.filter((line) => /^\s*(?:\.\/bin\/)?selvedge /.test(line));
      const flagsOf = (text: string) => [...text.matchAll(/(?<!\S)--[a-z][a-z0-9-]*/g)].map(([flag]) => flag);
      return [
        ...[...spans, ...typed].flatMap(flagsOf).filter((flag) => !flags.has(flag)),
        ...[...textOf(page).matchAll(/\bSELVEDGE_[A-Z0-9_]+[A-Z0-9]\b/g)]
          .map(([name]) => name)
          .filter((name) => !variables.has(name)),
      ].map((name) => `${page}: ${name}`);
    });
    assert.deepEqual(unknown, []);
  });

  test('each command takes the options that it is shown with', async () => {
    const program = await buildProgram();
    const wrong = pages.flatMap((page) => {
      const lines = textOf(page).replaceAll('\\\n', ' ').split('\n');
      const typed = lines.flatMap(
        (line) => /^\s*(?:[A-Z_]+=\S+ )*(?:\$ )?(?:\.\/bin\/)?selvedge (.*)$/.exec(line)?.[1] ?? [],
      );
      return typed.flatMap((text) => {
        const words = (text.split(/ [|&;<>#]|; /, 1)[0] ?? '').split(/\s+/);
        let command = program;
        let depth = 0;
        for (const word of words) {
          const next = command.commands.find((child) => child.name() === word);
          if (next === undefined) break;
          command = next;
          depth += 1;
        }
        const known = new Set(['--help', '--version', ...command.options.map(({ long }) => long)]);
        const flags = words.slice(depth).filter((word) => /^--[a-z]/.test(word));
        return [
          ...(depth === 0 ? ['no command'] : []),
          ...flags.map((flag) => flag.split('=')[0] ?? '').filter((flag) => !known.has(flag)),
        ].map((what) => `${page}: ${what}: selvedge ${text}`);
      });
    });
    assert.deepEqual(wrong, []);
  });

  test('metrics exist, and all are in docs/operations.md', () => {
    const sources = ['edge-proxy/**/*.ts', 'catalog/**/*.ts', 'identity/**/*.ts'].flatMap((pattern) =>
      globSync(pattern, { cwd: root }).filter((file) => !file.endsWith('.test.ts')),
    );
    const made = sources.flatMap((file) => [
      ...[...textOf(file).matchAll(/'(selvedge_[a-z_]+)'/g)].map((match) => match[1] ?? ''),
      ...(file === 'catalog/catalog-metrics.ts'
        ? [...textOf(file).matchAll(/gauge\('([a-z_]+)'/g)]
            .map((match) => match[1] ?? '')
            .filter((name) => !name.startsWith('selvedge_'))
            .map((name) => `selvedge_catalog_${name}`)
        : []),
    ]);
    // One class for the DNS of both, which hands it the beginning of its names.
    const prefixes = ['selvedge_catalog', 'selvedge_agent'];
    for (const [, suffix] of textOf('runtime/dns/dns-metrics.ts').matchAll(/`\$\{process\}(_[a-z_]+)`/g)) {
      made.push(...prefixes.map((prefix) => prefix + suffix));
    }
    assert.ok(made.length > 20);
    const named = pages.flatMap((page) =>
      [...textOf(page).matchAll(/\bselvedge_[a-z_]+[a-z]\b/g)].map(([name]) => name),
    );
    assert.deepEqual(
      named.filter((name) => !made.includes(name) && !/^selvedge_(?:process|nodejs)$/.test(name)),
      [],
    );
    const documented = textOf('docs/operations.md');
    assert.deepEqual(
      made.filter((name) => !prefixes.includes(name) && !documented.includes(`\`${name}\``)),
      [],
    );
  });

  test('every knob of resilience, with its default', () => {
    const rows = new Map(
      tableRows('docs/resilience.md').map(([knob = '', value = '']) => [knob.replaceAll('`', ''), value]),
    );
    const shown = (value: unknown): string => (Array.isArray(value) ? value.join(', ') : String(value));
    for (const [name, value] of Object.entries(defaultResiliencePolicy)) {
      const knobs =
        typeof value === 'object'
          ? Object.entries(value).map(([inner, of]) => [`${name}.${inner}`, of])
          : [[name, value]];
      for (const [knob, standard] of knobs) assert.equal(rows.get(String(knob)), shown(standard), String(knob));
    }
  });

  test('exit codes, commands', () => {
    const page = textOf('docs/cli.md');
    const definitions = globSync('cli/commands/*.ts', { cwd: root }).flatMap((file) =>
      [...textOf(file).matchAll(/name: '([a-z-]+)',\n\s*summary/g)].map((match) => match[1] ?? ''),
    );
    assert.ok(definitions.length >= 19, String(definitions.length));
    for (const name of definitions) assert.match(page, new RegExp(`\`selvedge [a-z -]*${name}\\b`), name);
  });

  test('runtime dependencies, each with its reason, and no install script anywhere', () => {
    const manifest = JSON.parse(textOf('package.json')) as { dependencies: Record<string, string> };
    const lock = JSON.parse(textOf('package-lock.json')) as {
      packages: Record<string, { hasInstallScript?: boolean }>;
    };
    const listed = tableRows('docs/decisions/0002-runtime-dependencies.md').map(([name]) => name);
    assert.deepEqual(
      Object.keys(manifest.dependencies).filter((name) => !listed.includes(name)),
      [],
    );
    const scripted = Object.entries(lock.packages).filter(([, { hasInstallScript }]) => hasInstallScript === true);
    assert.deepEqual(scripted, []);
  });
});

describe('what the documents say', () => {
  /** `deny PathPrefix /admin`: alone it would deny everything else too, so behind a deny everything is allowed. */
  function answer(rule: string, request: string): { answer: string; reading: string } {
    const [action, kind = '', path = ''] = rule.split(' ');
    const [method = '', target = ''] = request.split(' ');
    const canonical = canonicaliseTarget(target);
    if (!canonical.ok) return { answer: 'refused', reading: '' };
    const http: HttpMatch = kind === 'PathExact' ? { pathExact: path } : { pathPrefix: path };
    const permissions: readonly Permission[] =
      action === 'deny'
        ? [
            { action: 'deny', http },
            { action: 'allow', http: { pathPrefix: '/' } },
          ]
        : [{ action: 'allow', http }];
    const precedence = precedenceOf('web', 'db');
    const times = { createdAtMs: 0, updatedAtMs: 0, createIndex: 1, modifyIndex: 1 };
    const intention = { source: 'web', destination: 'db', permissions, precedence, ...times };
    const compiled = compileIntentions({
      destination: 'db',
      protocol: 'http',
      defaultAction: 'deny',
      intentions: [intention],
      revision: 1,
      nowMs: 0,
    });
    const verdict = compiled
      .forSource('web')
      .request({ method, path: canonical.path, headerValues: () => [], headerLookalikes: () => [] });
    return { answer: verdict.allowed ? 'allow' : 'deny', reading: verdict.reading?.split(':')[0] ?? '' };
  }

  test('docs/intentions.md: readings of a request', () => {
    const rows = tableRows('docs/intentions.md').filter(([rule = '']) => /^`(?:allow|deny) Path/.test(rule));
    assert.ok(rows.length >= 10);
    for (const [rule = '', request = '', expected, reading] of rows) {
      const bare = (text: string) => text.replaceAll('`', '');
      assert.deepEqual(answer(bare(rule), bare(request)), { answer: expected, reading }, `${rule} ${request}`);
    }
  });

  test('docs/consul-compatibility.md: served, 501 or not there, as it says', async (t) => {
    const catalog = await startTestCatalog(t);
    const agent = await startAgent(t, { metrics: createMetrics() });
    const statusAt = async (place: string, method: string, path: string): Promise<string> => {
      const filled = path
        .replace(/:(\w+)/g, 'x')
        .replace('/config/x', '/config/service-defaults')
        .replace('/state/x', '/state/any');
      const [status, text] =
        place === 'agent'
          ? await agent.send(method, filled).then((got) => [got.status, got.text] as const)
          : await Promise.resolve(catalog.app.request(`http://127.0.0.1${filled}`, { method })).then(
              async (got) => [got.status, await got.text()] as const,
            );
      if (status === 501) return '501';
      return status === 404 && /not a recognized HTTP API endpoint/.test(text) ? 'no' : 'served';
    };
    let asked = 0;
    for (const [endpoints = '', place = '', says = place] of tableRows('docs/consul-compatibility.md')) {
      const state = /^(served|in part|501|no)\b/.exec(says)?.[1];
      if (state === undefined || endpoints.includes('…') || !endpoints.includes('/v1/')) continue;
      const places = place.split(', ').filter((name) => name === 'agent' || name === 'catalog');
      for (const part of endpoints.split('`, `')) {
        const [, methods = 'GET', path = ''] = /((?:GET|PUT|POST|DELETE)?)`?[ ,]*(\/v1\/[\w/:-]+)/.exec(part) ?? [];
        if (path === '') continue;
        // What is nowhere is asked for at both, but for /v1/agent at a catalog alone, where all but two routes are 501.
        const elsewhere: readonly string[] =
          state !== 'no' ? ['catalog'] : path.startsWith('/v1/agent/') ? ['agent'] : ['catalog', 'agent'];
        for (const at of places.length > 0 ? places : elsewhere) {
          const got = await statusAt(at, methods === '' ? 'GET' : methods, path);
          assert.equal(
            got,
            state === 'in part' ? 'served' : state,
            `${methods} ${path} at ${at} is ${got}, the page says ${says}`,
          );
          asked += 1;
        }
      }
    }
    assert.ok(asked > 40, `${asked} endpoints asked`);
  });
});
