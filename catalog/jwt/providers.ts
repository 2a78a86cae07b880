import type { JwtProvider } from '#policies/config-entries/jwt-provider.ts';
import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import type { Intention } from '#policies/intention.ts';
import { type IssuerKey, readJwks } from '#policies/jwks.ts';
import type { FeedJwtProvider, TokenLocation } from '#policies/wire/feed.ts';
import type { CatalogState } from '../state/catalog-state.ts';

/** Envoy's. */
const defaultCacheSize = 100;
const maxCacheSize = 10_000;
/** Envoy's, where a provider says none. */
const defaultLocations: readonly TokenLocation[] = [
  { header: { name: 'authorization', valuePrefix: 'Bearer ', forward: false } },
  { queryParam: 'access_token' },
];

/** Names of the providers that some rules ask for. */
export function providersNamedIn(intentions: readonly Pick<Intention, 'jwt' | 'permissions'>[]): Set<string> {
  const requirements = intentions.flatMap(({ jwt, permissions = [] }) => [jwt, ...permissions.map((one) => one.jwt)]);
  return new Set(requirements.flatMap((jwt) => jwt?.providers.map(({ name }) => name) ?? []));
}

/**
 * A token that nobody can show is no door to leave ajar for later: whoever misspells the provider hears of it.
 * @throws MeshError SLV-5004 in Consul's words
 */
export function refuseUnknownProviders(
  state: Pick<CatalogState, 'config'>,
  intentions: readonly Pick<Intention, 'jwt' | 'permissions'>[],
): void {
  const [missing] = unknownProviders(state, intentions);
  if (missing !== undefined) throw unknownProvider(missing);
}

/** Names of the providers that some rules ask for and that are not there. */
export function unknownProviders(
  state: Pick<CatalogState, 'config'>,
  intentions: readonly Pick<Intention, 'jwt' | 'permissions'>[],
): string[] {
  return [...providersNamedIn(intentions)].filter((name) => state.config.get('jwt-provider', name) === undefined);
}

/** SLV-5004 in Consul's words. */
export function unknownProvider(name: string): MeshError {
  return new MeshError('SLV-5004', `Referenced JWT Provider does not exist. Provider Name: ${name}`);
}

/** The providers that some intentions name, as they travel, by name. One that is not there is left out: its tokens are refused. */
export function jwtProvidersOf(
  state: Pick<CatalogState, 'config' | 'keySets'>,
  intentions: readonly Pick<Intention, 'jwt' | 'permissions'>[],
): FeedJwtProvider[] {
  return [...providersNamedIn(intentions)].sort().flatMap((name) => {
    const entry = state.config.get('jwt-provider', name)?.record;
    return entry === undefined ? [] : [formatProvider(entry, keysOf(state, entry))];
  });
}

/** The keys of a provider, or why there are none. */
export type ProviderKeys = { readonly keys: readonly IssuerKey[] } | { readonly flaw: string };

/** Those in the entry itself, or those that were fetched last from where it says. */
export function keysOf(state: Pick<CatalogState, 'keySets'>, { Name, JSONWebKeySet }: JwtProvider): ProviderKeys {
  const { Local, Remote } = JSONWebKeySet ?? {};
  if (Local?.Filename !== undefined)
    return { flaw: 'its key set is in a file, which is not read: give it inline (JWKS)' };
  if (Local !== undefined) {
    try {
      return { keys: readJwks(Buffer.from(Local.JWKS ?? '', 'base64').toString('utf8')) };
    } catch (error) {
      if (!isMeshError(error)) throw error;
      return { flaw: error.message.replace(/\.$/, '') };
    }
  }
  const unfit = Remote?.URI === undefined ? 'it has no key set' : remoteFlaw(Remote.URI);
  if (unfit !== undefined) return { flaw: unfit };
  const held = state.keySets.get(Name)?.record;
  return held === undefined || held.URI !== Remote?.URI
    ? { flaw: 'its key set was not fetched yet' }
    : { keys: held.Keys };
}

/** Why keys are not fetched from there. */
export function remoteFlaw(uri: string): string | undefined {
  const url = URL.parse(uri);
  if (url?.protocol !== 'https:') return 'its key set is fetched by https only';
  return url.username !== '' || url.password !== '' ? 'the address of its key set has credentials' : undefined;
}

function formatProvider(entry: JwtProvider, keys: ProviderKeys): FeedJwtProvider {
  const { Name, Issuer, Audiences = [], Locations = [], Forwarding, ClockSkewSeconds, CacheConfig } = entry;
  return {
    name: Name,
    ...(Issuer === undefined ? {} : { issuer: Issuer }),
    audiences: Audiences,
    locations: Locations.length === 0 ? [...defaultLocations] : Locations.flatMap(formatLocation),
    ...(Forwarding?.HeaderName === undefined
      ? {}
      : { forwarding: { headerName: Forwarding.HeaderName.toLowerCase(), pad: Forwarding.PadForwardPayloadHeader } }),
    clockSkewSeconds: Math.max(0, ClockSkewSeconds),
    cacheSize: Math.min(maxCacheSize, Math.max(1, CacheConfig?.Size ?? defaultCacheSize)),
    keys: 'keys' in keys ? [...keys.keys] : [],
    ...('flaw' in keys ? { flaw: keys.flaw } : {}),
  };
}

function formatLocation({
  Header,
  QueryParam,
  Cookie,
}: NonNullable<JwtProvider['Locations']>[number]): TokenLocation[] {
  if (Header?.Name !== undefined) {
    const { Name, ValuePrefix = '', Forward } = Header;
    return [{ header: { name: Name.toLowerCase(), valuePrefix: ValuePrefix, forward: Forward === true } }];
  }
  if (QueryParam?.Name !== undefined) return [{ queryParam: QueryParam.Name }];
  return Cookie?.Name === undefined ? [] : [{ cookie: Cookie.Name }];
}
