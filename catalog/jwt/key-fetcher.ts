import type { JwtProvider } from '#policies/config-entries/jwt-provider.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { maxJwksBytes, readJwks } from '#policies/jwks.ts';
import { webRequest } from '#runtime/web-request.ts';
import type { CatalogParts } from '../parts.ts';
import { unchanged } from '../state/catalog-writer.ts';
import { encode } from '../state/indexed.ts';
import type { KeySetRecord } from '../state/key-sets.ts';
import { keyOf } from '../state/keys.ts';
import { remoteFlaw } from './providers.ts';

const everyMs = 1_000;
/** Envoy's, where a provider says nothing; and what an issuer and its keys' users can bear. */
const defaultCacheMs = 300_000;
const cacheBoundsMs = [30_000, 86_400_000] as const;
/** After a failure; doubled with each further one, up to what a provider's cache lasts. */
const firstRetryMs = 5_000;
const defaultTimeoutMs = 5_000;
const maxTimeoutMs = 30_000;
/** Providers asked at a time. */
const maxAtOnce = 4;

/** How the key set of a remote provider stands. */
export interface FetchState {
  readonly uri: string;
  /** When it was asked last. */
  readonly triedAtMs: number;
  /** When the issuer last confirmed what is held, asked by this catalog; undefined: not yet. */
  readonly confirmedAtMs: number | undefined;
  /** Of the last try; undefined: it went well. */
  readonly failure: string | undefined;
  readonly failures: number;
}

/**
 * Fetches the key sets of `jwt-provider` entries that say where theirs are, in the background and whether they are in use or not: nothing on the path of a request
 * ever waits for an issuer. By https only, redirects not followed, neither link-local nor metadata addresses, bounded in size and time. What was fetched last
 * stays until there is better, however long the issuer is away. Only keys that have changed are written to the store.
 */
export class KeyFetcher {
  readonly #parts: Pick<CatalogParts, 'state' | 'writer' | 'context' | 'stopping'>;
  readonly #states = new Map<string, FetchState>();
  readonly #underWay = new Map<string, Promise<void>>();
  readonly #timer: NodeJS.Timeout;

  constructor(parts: Pick<CatalogParts, 'state' | 'writer' | 'context' | 'stopping'>) {
    this.#parts = parts;
    this.#timer = setInterval(() => this.#look(), everyMs).unref();
    this.#look();
  }

  /** Of a remote provider. */
  stateOf(provider: string): FetchState | undefined {
    return this.#states.get(provider);
  }

  /** Resolves when nothing is being fetched any more. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#underWay.values());
  }

  #look(): void {
    const { state, stopping } = this.#parts;
    if (stopping.aborted) return;
    const entries = state.config.list('jwt-provider').map(({ record }) => record);
    const names = new Set(entries.map(({ Name }) => Name));
    for (const name of this.#states.keys()) if (!names.has(name)) this.#states.delete(name);
    for (const { Provider } of state.keySets.list()) {
      if (!names.has(Provider)) this.#run(Provider, () => this.#forget(Provider));
    }
    for (const entry of entries) {
      const uri = entry.JSONWebKeySet?.Remote?.URI;
      if (uri !== undefined && remoteFlaw(uri) === undefined && this.#isDue(entry, uri)) {
        this.#run(entry.Name, () => this.#fetch(entry, uri));
      }
    }
  }

  #isDue({ Name, JSONWebKeySet }: JwtProvider, uri: string): boolean {
    const last = this.#states.get(Name);
    if (last === undefined || last.uri !== uri) return true;
    const cacheMs = cacheMsOf(JSONWebKeySet?.Remote?.CacheDuration);
    const waitMs =
      last.failures === 0 ? cacheMs : Math.min(cacheMs, firstRetryMs * 2 ** Math.min(last.failures - 1, 12));
    // A clock that was set back must not stop it.
    return Math.abs(this.#parts.context.clock() - last.triedAtMs) >= waitMs;
  }

  #run(provider: string, work: () => Promise<void>): void {
    if (this.#underWay.has(provider) || this.#underWay.size >= maxAtOnce) return;
    this.#underWay.set(
      provider,
      work()
        .catch((error: unknown) => this.#parts.context.log.warn({ err: error, provider }, 'key set not stored'))
        .finally(() => this.#underWay.delete(provider)),
    );
  }

  async #fetch(entry: JwtProvider, uri: string): Promise<void> {
    const { context } = this.#parts;
    const triedAtMs = context.clock();
    const before = this.#states.get(entry.Name);
    try {
      const keys = readJwks(await this.#get(entry, uri));
      await this.#store({ Provider: entry.Name, URI: uri, Keys: keys, FetchedAtMs: triedAtMs });
      this.#states.set(entry.Name, { uri, triedAtMs, confirmedAtMs: triedAtMs, failure: undefined, failures: 0 });
      if (before?.failure !== undefined) context.log.info({ provider: entry.Name }, 'key set is there again');
    } catch (error) {
      const failure = error instanceof Error ? error.message : 'unknown';
      const same = before?.uri === uri ? before : undefined;
      const confirmedAtMs = same?.confirmedAtMs;
      this.#states.set(entry.Name, { uri, triedAtMs, confirmedAtMs, failure, failures: (same?.failures ?? 0) + 1 });
      if (same?.failure === undefined) {
        const inUse = this.#parts.state.keySets.get(entry.Name)?.record.URI === uri;
        context.log.warn({ err: error, provider: entry.Name, inUse }, 'key set not fetched: what is held stays in use');
      }
    }
  }

  async #get({ JSONWebKeySet }: JwtProvider, uri: string): Promise<string> {
    const { RequestTimeoutMs, JWKSCluster } = JSONWebKeySet?.Remote ?? {};
    const roots = rootsOf(JWKSCluster?.TLSCertificates);
    const { status, body } = await webRequest(new URL(uri), {
      roots,
      onlyThose: roots !== undefined,
      refuseMetadata: true,
      timeoutMs: Math.min(maxTimeoutMs, RequestTimeoutMs ?? defaultTimeoutMs),
      maxBytes: maxJwksBytes,
      signal: this.#parts.stopping,
    });
    if (status !== 200) throw new MeshError('SLV-1006', `${new URL(uri).origin} answered ${status}.`);
    return body.toString('utf8');
  }

  async #store(record: KeySetRecord): Promise<void> {
    const { state, writer } = this.#parts;
    await writer.commit(() => {
      const held = state.keySets.get(record.Provider);
      const key = keyOf('jwks', record.Provider);
      const said = ({ URI, Keys }: KeySetRecord) => JSON.stringify([URI, Keys]);
      const same = held !== undefined && said(held.record) === said(record);
      return {
        compare: [unchanged(key, held?.modifyIndex)],
        operations: same ? [] : [{ kind: 'put', key, value: encode(record) }],
        result: undefined,
      };
    });
  }

  async #forget(provider: string): Promise<void> {
    const { state, writer } = this.#parts;
    await writer.commit(() => {
      const held = state.keySets.get(provider);
      const gone = held === undefined || state.config.get('jwt-provider', provider) !== undefined;
      const key = keyOf('jwks', provider);
      return { compare: [], operations: gone ? [] : [{ kind: 'delete', key }], result: undefined };
    });
  }
}

function cacheMsOf(durationNs: number | undefined): number {
  const [least, most] = cacheBoundsMs;
  return durationNs === undefined ? defaultCacheMs : Math.min(most, Math.max(least, durationNs / 1e6));
}

type TlsCertificates = NonNullable<
  NonNullable<NonNullable<NonNullable<JwtProvider['JSONWebKeySet']>['Remote']>['JWKSCluster']>['TLSCertificates']
>;

/** @throws MeshError SLV-1003 for roots that this catalog does not look up */
function rootsOf(certificates: TlsCertificates | undefined): string | undefined {
  if (certificates === undefined) return undefined;
  const { InlineString, InlineBytes } = certificates.TrustedCA ?? {};
  if (InlineString !== undefined) return InlineString;
  if (InlineBytes !== undefined) return Buffer.from(InlineBytes, 'base64').toString('utf8');
  throw new MeshError('SLV-1003', 'of TLSCertificates only TrustedCA with InlineString or InlineBytes is read');
}
