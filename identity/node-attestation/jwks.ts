import { createLocalJWKSet, errors, type FlattenedJWSInput, type JSONWebKeySet, type JWSHeaderParameters } from 'jose';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';
import { parseStrictJson } from '#policies/strict-json.ts';
import { readFileBounded } from '#runtime/atomic-file.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Logger } from '#runtime/logging.ts';
import { webRequest } from '#runtime/web-request.ts';
import { httpsUrl, type KeySource } from './attestation-config.ts';

/** Keys are asked for again after this long, */
const freshMs = 600_000;
/** at once for a key id that is not among them, but not more often than this, failures included: whoever makes key ids up makes no load, */
const cooldownMs = 30_000;
/** and go on being used this long while the issuer does not answer. */
const staleMs = 86_400_000;
const timeoutMs = 10_000;
const maxBytes = 262_144;
const maxKeys = 64;

const jwksSchema = z.looseObject({
  keys: z.array(z.looseObject({ kty: z.string(), kid: z.string().optional() })).max(maxKeys),
});
const discoverySchema = z.looseObject({ issuer: z.string(), jwks_uri: z.string().max(2_048) });

type FindKey = ReturnType<typeof createLocalJWKSet>;

/** The public keys of an issuer, kept and refreshed. Symmetric ones are never taken in. */
export class IssuerKeys {
  readonly #source: KeySource;
  readonly #clock: Clock;
  readonly #log: Logger;
  #held: { readonly find: FindKey; readonly atMs: number } | undefined;
  #triedAtMs = Number.NEGATIVE_INFINITY;
  #failure: MeshError | undefined;
  #fetching: Promise<void> | undefined;

  constructor(source: KeySource, world: { clock: Clock; log: Logger }) {
    this.#source = source;
    this.#clock = world.clock;
    this.#log = world.log;
  }

  /**
   * The key for a token, as jose asks for it.
   * @throws MeshError SLV-2107 there is no such key, SLV-2108 the keys can't be had
   */
  async find(header: JWSHeaderParameters, token: FlattenedJWSInput): ReturnType<FindKey> {
    if (this.#held === undefined || this.#clock() - this.#held.atMs > freshMs) await this.#refresh();
    try {
      return await this.#usable()(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
    }
    await this.#refresh();
    try {
      return await this.#usable()(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      throw new MeshError('SLV-2107', `The issuer has no key ${quote(String(header.kid ?? ''))} for ${header.alg}.`);
    }
  }

  #usable(): FindKey {
    const held = this.#held;
    if (held !== undefined && this.#clock() - held.atMs <= staleMs) return held.find;
    throw (
      this.#failure ?? new MeshError('SLV-2108', `The keys of the issuer are not known yet (${placeOf(this.#source)}).`)
    );
  }

  /** One at a time, and none within the cooldown of the last. Never throws: what is held stays. */
  #refresh(): Promise<void> {
    const nowMs = this.#clock();
    // A clock that was set back must not stop it.
    if (this.#fetching === undefined && Math.abs(nowMs - this.#triedAtMs) >= cooldownMs) {
      this.#triedAtMs = nowMs;
      this.#fetching = this.#fetch(nowMs).finally(() => {
        this.#fetching = undefined;
      });
    }
    return this.#fetching ?? Promise.resolve();
  }

  async #fetch(nowMs: number): Promise<void> {
    try {
      const { keys } = jwksSchema.parse(parseStrictJson(await readKeys(this.#source)));
      const usable = keys.filter(({ kty }) => kty !== 'oct');
      this.#held = { find: createLocalJWKSet({ keys: usable } as JSONWebKeySet), atMs: nowMs };
      this.#failure = undefined;
    } catch (cause) {
      const why = cause instanceof MeshError ? cause.message : 'what came is no JWKS';
      this.#failure = new MeshError(
        'SLV-2108',
        `The keys of the issuer can not be had (${placeOf(this.#source)}): ${why.replace(/\.$/, '')}.`,
        { cause },
      );
      this.#log.warn({ err: this.#failure, inUse: this.#held !== undefined }, 'keys of an issuer were not refreshed');
    }
  }
}

async function readKeys(source: KeySource): Promise<string> {
  switch (source.kind) {
    case 'file': {
      const text = await readFileBounded(source.path, maxBytes);
      if (text === undefined) throw new MeshError('SLV-1005', `There is no file ${source.path}.`);
      return text.toString('utf8');
    }
    case 'url':
      return get(httpsUrl(source.url), source.caFile);
    case 'discovery': {
      const { issuer, caFile } = source;
      const text = await get(httpsUrl(`${issuer.replace(/\/+$/, '')}/.well-known/openid-configuration`), caFile);
      const found = discoverySchema.safeParse(parseStrictJson(text));
      if (!found.success) throw new MeshError('SLV-2108', 'its discovery document is none');
      // OpenID Connect Discovery 4.3: or one issuer could speak for another.
      if (found.data.issuer !== issuer) {
        throw new MeshError('SLV-2108', `its discovery document is of ${quote(found.data.issuer)}`);
      }
      return get(httpsUrl(found.data.jwks_uri), caFile);
    }
  }
}

/** Redirects are not followed: the operator, or the issuer's own document, said where the keys are. */
async function get(url: URL, caFile: string | undefined): Promise<string> {
  const roots = caFile === undefined ? undefined : (await readFileBounded(caFile, 1_048_576))?.toString('utf8');
  if (caFile !== undefined && roots === undefined) throw new MeshError('SLV-1005', `There is no file ${caFile}.`);
  const never = new AbortController().signal; // it has its own deadline
  const { status, body } = await webRequest(url, {
    roots,
    onlyThose: roots !== undefined,
    timeoutMs,
    maxBytes,
    signal: never,
  });
  if (status !== 200) throw new MeshError('SLV-2108', `${url.origin} answered ${status}`);
  return body.toString('utf8');
}

function placeOf(source: KeySource): string {
  if (source.kind === 'file') return source.path;
  return source.kind === 'url' ? source.url : source.issuer;
}
