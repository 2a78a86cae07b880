/** Headers of the hop, of its framing, and of who asks whom: no route may touch them (RFC 9110 7.6.1; edge-proxy/http1/header-kind.ts strips the same). */
const protectedNames: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'x-forwarded-client-cert',
]);

const token = /^[!#$%&'*+.^`|~0-9A-Za-z-]{1,256}$/;
/** Visible characters with blanks between them; nothing that ends a line. */
const fieldValue = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/;

/** Why a config entry may not edit a header; undefined: it may. `_` in a name is refused as on the wire: two servers would read two names. */
export function flawOfHeaderName(name: string): string | undefined {
  if (!token.test(name)) return `${JSON.stringify(name.slice(0, 64))} is no name of a header`;
  const lower = name.toLowerCase();
  if (protectedNames.has(lower)) return `${name} belongs to the connection and can't be edited`;
  if (/^(?:x-)?selvedge-/.test(lower)) return `${name} says who calls and can't be edited`;
  return undefined;
}

/** Why a text can't be the value of a header. */
export function flawOfHeaderValue(value: string): string | undefined {
  return fieldValue.test(value)
    ? undefined
    : 'it holds a control character, a blank at an end, or a character beyond Latin-1';
}
