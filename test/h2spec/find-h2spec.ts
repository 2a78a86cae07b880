import { execFile } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

const goPackage = 'github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible';

/** Where h2spec is, or why it can't be had. */
export type H2specLookup = { readonly path: string } | { readonly path: undefined; readonly reason: string };

/** `h2spec` of SELVEDGE_H2SPEC, the PATH or Go's folder; else built by Go into the checkout's cache, once. */
export async function findH2spec(): Promise<H2specLookup> {
  const cache = join(import.meta.dirname, '..', '..', '.cache', 'go-bin');
  const candidates = [
    process.env['SELVEDGE_H2SPEC'] ?? '',
    ...(process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, 'h2spec')),
    join(homedir(), 'go', 'bin', 'h2spec'),
    join(cache, 'h2spec'),
  ];
  const found = candidates.find((path) => path !== '' && existsSync(path));
  if (found !== undefined) return { path: found };
  try {
    mkdirSync(cache, { recursive: true });
    await promisify(execFile)('go', ['install', goPackage], {
      env: { ...process.env, GOBIN: cache },
      timeout: 150_000,
    });
    return { path: join(cache, 'h2spec') };
  } catch (error) {
    return {
      path: undefined,
      reason: `h2spec could not be built by Go: ${error instanceof Error ? error.message.split('\n')[0] : ''}`,
    };
  }
}
