import type { HeaderFields } from './tunnel-stream.ts';

/** RFC 7541 Appendix A, from index 1 on. */
const named: ReadonlyArray<readonly [string, ...string[]]> = [
  [':authority'],
  [':method', 'GET', 'POST'],
  [':path', '/', '/index.html'],
  [':scheme', 'http', 'https'],
  [':status', '200', '204', '206', '304', '400', '404', '500'],
  ['accept-charset'],
  ['accept-encoding', 'gzip, deflate'],
  ...[
    'accept-language accept-ranges accept access-control-allow-origin age allow authorization cache-control content-disposition',
    'content-encoding content-language content-length content-location content-range content-type cookie date etag expect',
    'expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified link location',
    'max-forwards proxy-authenticate proxy-authorization range referer refresh retry-after server set-cookie',
    'strict-transport-security transfer-encoding user-agent vary via www-authenticate',
  ]
    .join(' ')
    .split(' ')
    .map((name): readonly [string] => [name]),
];

/** The static table; entry 0 has index 1. */
export const staticTable: HeaderFields = named.flatMap(([name, ...values]) =>
  (values.length > 0 ? values : ['']).map((value): readonly [string, string] => [name, value]),
);

/** Index of the first entry with a name, for literals with an indexed name. */
export const staticNameIndex: ReadonlyMap<string, number> = new Map(
  staticTable.map(([name], at): [string, number] => [name, at + 1]).reverse(),
);

/** Entries with a value, of pseudo-header fields: `:method GET` and the like, each with its index. Of paths none: to look each up costs more than the two octets of `/`. */
export const staticValues: ReadonlyMap<string, ReadonlyMap<string, number>> = new Map(
  [':method', ':scheme', ':status'].map((name) => [
    name,
    new Map(staticTable.flatMap(([other, value], at): [string, number][] => (other === name ? [[value, at + 1]] : []))),
  ]),
);
