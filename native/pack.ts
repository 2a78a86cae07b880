/**
 * Makes the npm package of `selvedge/native`: what native/main.ts needs, as JavaScript, and its types. `npm run pack:native [directory]` writes the .tgz there and
 * prints its path. Node strips no types under node_modules, so they are stripped here; the lines stay where they are.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join, normalize, resolve } from 'node:path';

const root = join(import.meta.dirname, '..');
const entry = 'native/main.ts';
const work = join(root, '.cache', `native-${process.pid}`);
const target = resolve(process.argv[2] ?? root);

/** A whole specifier in an import or export, also of `import()`. */
const specifiers = /(?<=\bfrom '|\bimport\(\s*'|^\s*import ')[^'\n]+(?=')/gm;

interface Closure {
  /** Of the project, and their JavaScript. */
  readonly files: Map<string, string>;
  readonly packages: Set<string>;
}

/** Follows what is left of the imports once the types are gone. */
function collect(file: string, closure: Closure): void {
  if (closure.files.has(file)) return;
  const code = stripTypeScriptTypes(readFileSync(join(root, file), 'utf8'));
  // Inside the package `#policies/x.ts` stays: its imports map leads it to the .js.
  closure.files.set(
    file,
    code.replace(specifiers, (specifier) =>
      /^\..*\.ts$/.test(specifier) ? specifier.replace(/\.ts$/, '.js') : specifier,
    ),
  );
  for (const [specifier] of code.matchAll(specifiers)) {
    if (specifier.startsWith('#')) collect(specifier.slice(1), closure);
    else if (specifier.startsWith('.')) collect(normalize(join(dirname(file), specifier)), closure);
    else if (!specifier.startsWith('node:')) closure.packages.add(/^(?:@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? '');
  }
}

function write(file: string, text: string): void {
  mkdirSync(dirname(join(work, file)), { recursive: true });
  writeFileSync(join(work, file), text);
}

const closure: Closure = { files: new Map(), packages: new Set() };
collect(entry, closure);
for (const [file, code] of closure.files) write(file.replace(/\.ts$/, '.js'), code);

// The entry's types name nothing of the project, so theirs is the one file that is needed.
const declarations = join(work, 'declarations');
execFileSync(join(root, 'bin', 'node'), [
  join(root, 'node_modules', 'typescript', 'bin', 'tsc'),
  ...['--project', join(root, 'native', 'tsconfig.json'), '--outDir', declarations],
]);
copyFileSync(join(declarations, 'native', 'main.d.ts'), join(work, 'native', 'main.d.ts'));
rmSync(declarations, { recursive: true });

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<string, unknown> & {
  readonly dependencies: Record<string, string>;
};
const folders = [...new Set([...closure.files.keys()].map((file) => file.split('/', 1)[0]))];
write(
  'package.json',
  `${JSON.stringify(
    {
      name: 'selvedge',
      version: manifest['version'],
      description: 'Services in TypeScript in a Selvedge mesh, without a sidecar.',
      license: manifest['license'],
      type: 'module',
      engines: manifest['engines'],
      exports: { './native': { types: './native/main.d.ts', default: './native/main.js' } },
      imports: Object.fromEntries(folders.map((folder) => [`#${folder}/*.ts`, `./${folder}/*.js`])),
      dependencies: Object.fromEntries([...closure.packages].sort().map((name) => [name, manifest.dependencies[name]])),
    },
    undefined,
    2,
  )}\n`,
);
copyFileSync(join(root, 'LICENSE'), join(work, 'LICENSE'));
copyFileSync(join(root, 'docs', 'native.md'), join(work, 'README.md'));
mkdirSync(target, { recursive: true });
const packed = execFileSync('npm', ['pack', '--silent', '--pack-destination', target], { cwd: work, encoding: 'utf8' });
rmSync(work, { recursive: true });
process.stdout.write(`${join(target, packed.trim())}\n`);
