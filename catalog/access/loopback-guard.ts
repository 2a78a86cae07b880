import { isIP } from 'node:net';
import { urlOf } from './request-url.ts';

/**
 * What guards dev mode, which has no tokens, against pages in the developer's browser: a page of another site is refused by its Origin, one that
 * rebound its name to 127.0.0.1 by its Host.
 * @returns why the request is refused; undefined: it is not
 */
export function browserRefusal(request: Request): string | undefined {
  const { hostname, host } = urlOf(request);
  if (!isLoopback(hostname))
    return `dev mode answers to loopback names only, not to ${JSON.stringify(hostname.slice(0, 64))}`;
  const origin = request.headers.get('origin');
  if (origin !== null && !URL.canParse(origin)) return 'dev mode takes no requests from pages without an origin';
  if (origin !== null && new URL(origin).host !== host) return 'dev mode takes no requests from pages of other sites';
  return request.headers.get('sec-fetch-site') === 'cross-site'
    ? 'dev mode takes no requests from pages of other sites'
    : undefined;
}

/** True for `localhost`, names under it, 127.0.0.0/8 and ::1. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/^\[|\]$/g, '').toLowerCase();
  if (name === 'localhost' || name.endsWith('.localhost') || name === '::1') return true;
  return isIP(name) === 4 && name.startsWith('127.');
}
