import type { Intention } from './intention.ts';
import { strictNormalization } from './request-normalization.ts';
import type { Line, Request } from './requests.fixture.ts';

/** reliability.md 2d: what can be done to a request on its way, without the application behind noticing. */
export const disguises: Readonly<Record<string, (request: Request) => Request>> = {
  'double slash': onTarget((path) => path.replace('/', '//')),
  'double slash within': onTarget((path) => path.replace(/(.)\//, '$1//')),
  'dot segment': onTarget((path) => `/.${path}`),
  'dot segments': onTarget((path) => `/x/..${path}`),
  'encoded dot segment': onTarget((path) => `/%2e${path}`),
  'encoded dot segments': onTarget((path) => `/x/%2E%2e${path}`),
  'encoded slash': onTarget((path) => path.replace(/(.)\//, '$1%2f')),
  'encoded backslash': onTarget((path) => path.replace(/(.)\//, '$1%5c')),
  'encoded slashes': onTarget((path) => path.replaceAll(/(.)\//g, '$1%2F%2f')),
  'encoded slash in front': onTarget((path) => `/%2f${path.slice(1)}`),
  'encoded slash behind': onTarget((path) => `${path}%2F`),
  'encoded slash beside a slash': onTarget((path) => path.replace(/(.)\//, '$1%2F/')),
  'encoded slash and a letter': onTarget((path) => path.replace(/(.)\//, '$1%2f').replace(/[a-z]/, escapeOf)),
  'encoded slash and a query': onTarget((path) => `${path.replace(/(.)\//, '$1%2f')}%3fa`),
  'encoded slash and dot segments': onTarget((path) => `/public%2F..${path}`),
  'dot segments and an encoded slash': onTarget((path) => `/public/..%2f${path.slice(1)}`),
  'encoded slash under dot segments': onTarget((path) => `/public%2Fx/../..${path}`),
  'encoded backslash and dot segments': onTarget((path) => `/public%5C..${path}`),
  'encoded slash and overlong dots': onTarget((path) => `/public%2F%E2%80%A5${path}`),
  backslash: onTarget((path) => path.replace(/(.)\//, '$1\\')),
  'encoded twice': onTarget((path) => path.replace(/(.)\//, '$1%252f')),
  'one character encoded': onTarget((path) => path.replace(/[a-z0-9]/, escapeOf)),
  'hex digits in upper case': onTarget((path) =>
    path.replace(/[j-o]/, (character) => escapeOf(character).toUpperCase()),
  ),
  'every character encoded': onTarget((path) => path.replaceAll(/[a-z0-9]/g, escapeOf)),
  'upper case': onTarget((path) => path.toUpperCase()),
  'one letter in upper case': onTarget((path) => path.replace(/[a-z]/, (letter) => letter.toUpperCase())),
  'parameters at the end': onTarget((path) => `${path};a=b`),
  'parameters in each segment': onTarget((path) => path.replaceAll(/([^/])(?=\/|$)/g, '$1;a=b')),
  'parameters in an empty segment': onTarget((path) => `/;a${path}`),
  'parameters on a dot segment': onTarget((path) => `/x/..;${path}`),
  'encoded parameters': onTarget((path) => `${path}%3ba`),
  'trailing slash': onTarget((path) => (path.endsWith('/') ? path : `${path}/`)),
  'trailing dot segment': onTarget((path) => `${path}/.`),
  fragment: onTarget((path) => `${path}#f`),
  query: onTarget((path) => `${path}?a=/public`),
  'encoded query': onTarget((path) => `${path}%3fa`),
  'absolute form': onTarget((path) => `http://host${path}`),
  'user name': onTarget((path) => `http://user@host${path}`),
  NUL: onTarget((path) => `${path}%00`),
  'raw NUL': onTarget((path) => `${path}\u0000`),
  TAB: onTarget((path) => `${path}%09`),
  LF: onTarget((path) => `${path}\n`),
  space: onTarget((path) => `${path} `),
  'overlong slash': onTarget((path) => path.replace(/(.)\//, '$1%c0%af')),
  'fullwidth slash': onTarget((path) => path.replace(/(.)\//, '$1%ef%bc%8f')),
  'fullwidth letter': onTarget((path) => path.replace('a', '%ef%bd%81')),
  'header lines joined': (request) => ({ ...request, lines: joinLines(request.lines) }),
  'header line split': (request) => ({
    ...request,
    lines: request.lines.flatMap(
      ([name, value]) =>
        [
          [name, value],
          [name, 'zzz'],
        ] as const,
    ),
  }),
  'header value padded': (request) => ({
    ...request,
    lines: request.lines.map(([name, value]) => [name, ` ${value}\t`] as const),
  }),
  'header value in upper case': (request) => ({
    ...request,
    lines: request.lines.map(([name, value]) => [name, value.toUpperCase()] as const),
  }),
  'header also with underscore': (request) => ({
    ...request,
    lines: request.lines.flatMap(
      ([name, value]) =>
        [
          [name, value],
          [name.replaceAll('-', '_'), value],
        ] as const,
    ),
  }),
  'header only with underscore': (request) => ({
    ...request,
    lines: request.lines.map(([name, value]) => [name.replaceAll('-', '_'), value] as const),
  }),
  'header another with underscore': (request) => ({
    ...request,
    lines: request.lines.flatMap(
      ([name, value]) =>
        [
          [name.replaceAll('-', '_'), 'zzz'],
          [name, value],
        ] as const,
    ),
  }),
  'header value with obs-text': (request) => ({
    ...request,
    lines: request.lines.map(([name, value]) => [name, `${value}\u00ff`] as const),
  }),
  'method in lower case': (request) => ({ ...request, method: request.method.toLowerCase() }),
};

/**
 * Whether a disguise must not win anything: where it changes header values, and a rule asks for the absence of one or the request has others than the rules,
 * what is changed may be what a rule asks for.
 */
export function hidesOnly(
  name: string,
  policy: readonly Intention[],
  request: Request,
  { underscores } = strictNormalization,
): boolean {
  // What is dropped hides nothing: it is a request without that header.
  if (name === 'header only with underscore' && underscores === 'DROP_HEADER') return false;
  return !name.startsWith('header') || !(usesInvert(policy) || request.lines.some(([, value]) => value !== 'admin'));
}

function onTarget(change: (target: string) => string): (request: Request) => Request {
  return (request) => ({ ...request, target: change(request.target) });
}

function escapeOf(character: string): string {
  return `%${character.charCodeAt(0).toString(16)}`;
}

function joinLines(lines: readonly Line[]): readonly Line[] {
  const names = [...new Set(lines.map(([name]) => name))];
  return names.map((name) => [
    name,
    lines
      .filter(([of]) => of === name)
      .map(([, value]) => value)
      .join(', '),
  ]);
}

function usesInvert(policy: readonly Intention[]): boolean {
  return policy.some(({ permissions = [] }) =>
    permissions.some(({ http }) => http.headers?.some(({ invert }) => invert)),
  );
}
