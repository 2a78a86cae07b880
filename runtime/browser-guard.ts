import { isAskedAsLoopback } from './socket-address.ts';

/**
 * What guards dev mode, which has no tokens, against pages in the developer's browser: a page of another site is refused by its Origin, one that
 * rebound its name to 127.0.0.1 by its Host.
 * @returns why the request is refused; undefined: it is not
 */
export function browserRefusal({ url, headers }: Request): string | undefined {
  const { hostname, host } = new URL(url);
  if (!isAskedAsLoopback(url))
    return `dev mode answers to loopback names only, not to ${JSON.stringify(hostname.slice(0, 64))}`;
  const origin = headers.get('origin');
  if (origin !== null && !URL.canParse(origin)) return 'dev mode takes no requests from pages without an origin';
  if (origin !== null && new URL(origin).host !== host) return 'dev mode takes no requests from pages of other sites';
  return headers.get('sec-fetch-site') === 'cross-site'
    ? 'dev mode takes no requests from pages of other sites'
    : undefined;
}
