/**
 * Where the catalog keeps what in the store. Parts of a key are percent-encoded, so a name never reaches into another's place.
 *
 *     catalog/last-write                      touched by each write: its revision is that of the catalog's newest write
 *     catalog/nodes/<node>
 *     catalog/services/<node>/<service id>    one instance
 *     catalog/checks/<node>/<check id>
 *     catalog/config/<kind>/<name>            config entries; service-intentions are the truth of all intentions
 *     catalog/intention-history/<destination>/<number>   a write of intentions: what it replaced (intention-history.ts)
 *     catalog/jwks/<jwt-provider>             the key set that was fetched last, where it is remote
 *     catalog/resilience/<service>            the partial policy as it was written
 *     catalog/kv/<key>                        Consul's KV; the slashes of a key stay as they are, so a folder is a prefix (key-values.ts)
 *     catalog/events/<number modulo 256>      the last events that were fired
 *     catalog/mesh-addresses/<address>        the service that <service>.mesh of this address is; never deleted
 *     catalog/tokens/<accessor>               who holds it may do what; the secret as a hash only
 */
export const catalogPrefix = 'catalog/';
/** Written by every transaction of the catalog, whatever else shares the store. */
export const lastWriteKey = `${catalogPrefix}last-write`;

/** The nouns that have keys of their own. */
export const nouns = [
  'nodes',
  'services',
  'checks',
  'config',
  'intention-history',
  'resilience',
  'jwks',
  'mesh-addresses',
  'kv',
  'events',
  'tokens',
] as const;
export type Noun = (typeof nouns)[number];

/** @returns the key of one thing; `parts` are its names, outermost first. */
export function keyOf(noun: Noun, ...parts: readonly string[]): string {
  return `${catalogPrefix}${noun}/${parts.map(encodeURIComponent).join('/')}`;
}

/** @returns the prefix of all things under `parts`. */
export function prefixOf(noun: Noun, ...parts: readonly string[]): string {
  return `${keyOf(noun, ...parts)}/`;
}

/** @returns the noun of a key, or undefined for a key of no noun (catalog/last-write, or a newer release's). */
export function nounOf(key: string): Noun | undefined {
  const end = key.indexOf('/', catalogPrefix.length);
  const name = key.slice(catalogPrefix.length, end);
  return nouns.find((noun) => noun === name);
}
