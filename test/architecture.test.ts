import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, test } from 'node:test';

/**
 * The shape of the house (blueprint section 3): who may import whom, what `policies/` may touch, which libraries have one door. Imports are read as text: what
 * counts is what is written in the file, types included.
 */

const root = normalize(join(import.meta.dirname, '..'));

/** Folder -> folders it may import from besides itself. */
const arrows: Readonly<Record<string, readonly string[]>> = {
  policies: [],
  runtime: ['policies'],
  store: ['policies', 'runtime'],
  identity: ['policies', 'runtime', 'store'],
  catalog: ['policies', 'runtime', 'store'],
  'edge-proxy': ['policies', 'runtime'],
  native: ['policies', 'runtime', 'edge-proxy'],
  cli: ['policies', 'runtime', 'store', 'identity', 'catalog', 'edge-proxy'],
};

/** Library -> the only files that may import it (production code). */
const singleImporters: Readonly<Record<string, readonly string[]>> = {
  opossum: ['edge-proxy/resilience/breaker.ts'],
  'node-vault': ['identity/vault/transport.ts'],
  '@peculiar/x509': ['identity/x509-authority.ts'],
  re2js: ['policies/regular-expression.ts'],
  pino: ['runtime/logging.ts'],
  'prom-client': ['runtime/metrics.ts'],
};

interface Import {
  readonly file: string;
  readonly specifier: string;
}

const productionFiles = Object.keys(arrows).flatMap((folder) =>
  globSync(`${folder}/**/*.ts`, { cwd: root }).filter(
    (file) => !file.endsWith('.test.ts') && !file.endsWith('.fixture.ts') && !file.includes('/testing/'),
  ),
);
const allFiles = Object.keys(arrows).flatMap((folder) => globSync(`${folder}/**/*.ts`, { cwd: root }));
/** Those of tests, benchmarks and the demo, too. */
const checkoutFiles = globSync('**/*.ts', {
  cwd: root,
  exclude: (path: string) => path === 'node_modules' || path.startsWith('.'),
});

function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8');
  const pattern =
    /^\s*(?:import|export)\b[^;]*?\bfrom\s+'([^']+)'|^\s*import\s+'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/gm;
  return [...text.matchAll(pattern)].map((match) => ({ file, specifier: match[1] ?? match[2] ?? match[3] ?? '' }));
}

/** The project file that an import means, or undefined for a package. */
function target({ file, specifier }: Import): string | undefined {
  if (specifier.startsWith('#')) return specifier.slice(1);
  if (specifier.startsWith('.')) return normalize(join(dirname(file), specifier));
  return undefined;
}

const folderOf = (file: string): string => file.split('/')[0] ?? '';

describe('architecture', () => {
  test('there is something to look at', () => {
    assert.ok(productionFiles.length > 100, `${productionFiles.length} files`);
  });

  test('imports point one way', () => {
    const wrong = productionFiles.flatMap(importsOf).filter((found) => {
      const to = target(found);
      if (to === undefined) return false;
      const from = folderOf(found.file);
      return folderOf(to) !== from && !(arrows[from] ?? []).includes(folderOf(to));
    });
    assert.deepEqual(wrong, []);
  });

  test('across folders by #name, within a folder by relative path', () => {
    const wrong = productionFiles.flatMap(importsOf).filter((found) => {
      const to = target(found);
      if (to === undefined) return false;
      const crosses = folderOf(to) !== folderOf(found.file);
      return crosses !== found.specifier.startsWith('#');
    });
    assert.deepEqual(wrong, []);
  });

  test('policies import only themselves, zod and the regular expression engine: no clock, socket, environment or chance', () => {
    const files = productionFiles.filter((file) => folderOf(file) === 'policies');
    const packages = files.flatMap(importsOf).filter((found) => target(found) === undefined);
    assert.deepEqual(
      packages.filter(({ specifier }) => specifier !== 'zod' && specifier !== 're2js'),
      [],
    );
    const impure =
      /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\(|\bprocess\.|\bsetTimeout\(|\bsetInterval\(|\bperformance\.|\bfetch\(/;
    assert.deepEqual(
      files.filter((file) => impure.test(withoutComments(readFileSync(join(root, file), 'utf8')))),
      [],
    );
  });

  for (const [library, doors] of Object.entries(singleImporters)) {
    test(`${library} is imported in ${doors.join(', ')} only`, () => {
      const importers = productionFiles
        .flatMap(importsOf)
        .filter(({ specifier }) => specifier === library || specifier.startsWith(`${library}/`));
      assert.deepEqual([...new Set(importers.map(({ file }) => file))].sort(), [...doors].sort());
    });
  }

  test('no import goes in a circle', () => {
    const graph = new Map(
      productionFiles.map((file) => [
        file,
        valueImportsOf(file)
          .map(target)
          .filter((to): to is string => to !== undefined),
      ]),
    );
    const done = new Set<string>();
    const circles: string[] = [];
    const visit = (file: string, path: readonly string[]): void => {
      if (path.includes(file)) {
        circles.push([...path.slice(path.indexOf(file)), file].join(' -> '));
        return;
      }
      if (done.has(file)) return;
      for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
      done.add(file);
    };
    for (const file of graph.keys()) visit(file, []);
    assert.deepEqual(circles, []);
  });

  test('files are small; one over 400 lines, be it of tests, says at its head why', () => {
    const lines = (file: string): string[] => readFileSync(join(root, file), 'utf8').split('\n');
    const unexplained = checkoutFiles.filter((file) => {
      const text = lines(file);
      const head = text
        .join('\n')
        .replace(/^import [^;]*;\n/gm, '')
        .split('\n')
        .slice(0, 30);
      return text.length > 400 && !/In one file: /.test(head.join('\n'));
    });
    assert.deepEqual(unexplained, []);
    const sizes = productionFiles.map((file) => lines(file).length).sort((a, b) => a - b);
    const median = sizes[Math.floor(sizes.length / 2)] ?? 0;
    assert.ok(median <= 120, `median ${median} lines`);
  });

  test('an idle edge proxy loads these packages and no others, and node:http by the one way that leaves undici out', () => {
    const loaded = new Set<string>();
    const visit = (file: string): void => {
      if (loaded.has(file)) return;
      loaded.add(file);
      for (const found of valueImportsOf(file)) {
        const to = target(found);
        if (to === undefined) loaded.add(found.specifier);
        else visit(to);
      }
    };
    // What the command tree and the command load by `import()` for this process stands beside them.
    for (const file of [
      'cli/main.ts',
      'cli/commands/serve-edge-proxy.ts',
      'edge-proxy/main.ts',
      'edge-proxy/memory.ts',
    ]) {
      visit(file);
    }
    const outside = [...loaded].filter((name) => !name.endsWith('.ts'));
    assert.deepEqual(
      outside.filter((name) => !name.startsWith('node:')).sort(),
      ['commander', 'jose', 'opossum', 'pino', 're2js', 'zod'],
      'each is memory of every host of a mesh: docs/performance/data-path.md',
    );
    assert.deepEqual(
      outside.filter((name) => name === 'node:http' || name === 'node:http2'),
      [],
    );
  });

  test('settings of V8 change once, when an edge proxy is loaded: V8 refuses cached code that was made under others', () => {
    assert.deepEqual(
      productionFiles.filter((file) => readFileSync(join(root, file), 'utf8').includes('setFlagsFromString')),
      ['edge-proxy/memory.ts'],
    );
  });

  test('npm test runs every test file', () => {
    const named = [...readFileSync(join(root, 'bin/test'), 'utf8').matchAll(/"([a-z-]+)\/\*\*\/\*\.test\.ts"/g)].map(
      ([, folder]) => folder,
    );
    const tests = checkoutFiles.filter((file) => file.endsWith('.test.ts'));
    const folders = new Set(tests.map((file) => file.split('/')[0]));
    assert.deepEqual(
      [...folders].filter((folder) => !named.includes(folder)),
      [],
    );
  });

  test('no drawers: utils, helpers, common, types', () => {
    assert.deepEqual(
      allFiles.filter((file) => /(^|[/-])(utils?|helpers?|common|types|misc)(\.|\/|-)/.test(file)),
      [],
    );
  });

  test('every environment variable has one reader', () => {
    const readers = productionFiles.filter((file) =>
      /\bprocess\.env\b/.test(withoutComments(readFileSync(join(root, file), 'utf8'))),
    );
    // transport.ts takes VAULT_* out of node-vault's reach, script-probe.ts all but PATH and the like out of a script's.
    const allowed = ['cli/define-command.ts', 'identity/vault/transport.ts', 'edge-proxy/agent/checks/script-probe.ts'];
    assert.deepEqual(
      readers.filter((file) => !allowed.includes(file)),
      [],
    );
  });
});

/** Type-only imports vanish at run time: they may point back. */
function valueImportsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8').replace(/^\s*(?:import|export)\s+type\b[^;]*;/gm, '');
  const pattern = /^\s*(?:import|export)\b[^;]*?\bfrom\s+'([^']+)'|^\s*import\s+'([^']+)'/gm;
  return [...text.matchAll(pattern)].map((match) => ({ file, specifier: match[1] ?? match[2] ?? '' }));
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/\/\/.*$/gm, '');
}
