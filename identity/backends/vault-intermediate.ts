import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import type { TrustDomain } from '#policies/spiffe-id.ts';
import { pause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { retryDelayMs } from '#runtime/svid/renewal-plan.ts';
import type { Store } from '#store/contract.ts';
import type { CaBackend, CaHealth, SignedChain, SigningOrder } from '../ca-backend.ts';
import { openVaultConnection, type VaultConnection, type VaultConnectionConfig } from '../vault/connection.ts';
import { caErrorOf } from '../vault/failure.ts';
import { outliving, readIssuer } from '../vault/issuer.ts';
import { vaultPath } from '../vault/vault-path.ts';
import { placeOf } from './ca-config.ts';
import { type InProcessIssuer, inProcessIssuer, signInProcess } from './in-process-issuer.ts';
import { type IssuingCaFile, openIssuingCaFile } from './issuing-ca-file.ts';
import { certifyIssuingCa } from './vault-issuing-ca.ts';
import { loadPinnedRoots, pinRoots } from './vault-roots.ts';
import { type CertifiedAuthority, verifyIssuingCa } from './verify-issuing-ca.ts';

/**
 * Vault or OpenBao certifies a short-lived issuing CA (`POST <root mount>/root/sign-intermediate`), leaves are signed in process. The key of the issuing
 * CA is made here and stays here; Vault is needed once in a few days.
 */
export interface VaultIntermediateConfig extends VaultConnectionConfig {
  readonly kind: 'vault-intermediate';
  /** Mount of the PKI engine that holds the root, or a CA under it. */
  readonly rootMount: string;
  /** Name or id of the issuer there; default `default`, the mount's default issuer. */
  readonly rootIssuerRef?: string;
  /** Asked life of the issuing CA; default `issuingCaTtl.default`. */
  readonly issuingCaTtlSeconds?: number;
  /** PEM file with the roots that the mesh is to trust. Absent: the root of the issuer when first met (vault-roots.ts). */
  readonly rootsFile?: string;
  /** The roots, DER, where they are known already; beats both. */
  readonly roots?: readonly Uint8Array[];
}

/** Bounds on the life of the issuing CA, in seconds. */
export const issuingCaTtl = { floor: 3_600, default: 7 * 86_400, ceiling: 90 * 86_400 } as const;
/** Longest leaf (svidTtlBounds.ceiling): the issuing CA is renewed before half of what it has left is shorter. */
const longestLeafMs = 86_400_000;
/** Longest sleep at a stretch: a clock that jumped or a machine that slept is noticed. */
const longestSleepMs = 30_000;

/**
 * Opens the backend. Vault need not answer: with pinned roots and an issuing CA of the last run, or with roots alone, the service starts.
 *
 * @param options.dataDir where the issuing CA and its key are kept; undefined: in memory
 * @throws MeshError SLV-1002, SLV-1005 (configuration, files), SLV-2140 and SLV-2141 when Vault was never met and can't be now
 */
export async function openVaultIntermediate(
  config: VaultIntermediateConfig,
  options: { readonly dataDir: string | undefined; readonly trustDomain: TrustDomain },
  context: ProcessContext,
  store: Store,
): Promise<CaBackend> {
  const ttlSeconds = config.issuingCaTtlSeconds ?? issuingCaTtl.default;
  if (!Number.isInteger(ttlSeconds) || ttlSeconds < issuingCaTtl.floor || ttlSeconds > issuingCaTtl.ceiling) {
    throw new MeshError('SLV-1002', `A life of the issuing CA of ${ttlSeconds} s can not be: an hour to 90 days are.`);
  }
  const { rootMount, rootIssuerRef: issuerRef = 'default' } = config;
  const issuerPath = vaultPath(rootMount, 'issuer', issuerRef, 'json');
  const vault = openVaultConnection(config, context);
  try {
    const place = placeOf(config);
    const pinned = await loadPinnedRoots(store, { ...config, place });
    const roots = pinned ?? (await pinRoots(store, place, await meet(vault, issuerPath)));
    const file = await openIssuingCaFile(options.dataDir, { place, roots });
    const order = { rootMount, issuerRef, ttlSeconds, trustDomain: options.trustDomain, roots };
    const backend = new VaultIntermediate({ vault, file, order, context });
    await backend.open();
    return backend;
  } catch (error) {
    vault.close();
    throw error;
  }
}

async function meet({ transport }: VaultConnection, issuerPath: string): Promise<Uint8Array[]> {
  try {
    return await readIssuer(transport, issuerPath);
  } catch (error) {
    throw caErrorOf(error, 'show its issuer');
  }
}

interface Parts {
  readonly vault: VaultConnection;
  readonly file: IssuingCaFile;
  /** What is asked of Vault, each time. */
  readonly order: Parameters<typeof certifyIssuingCa>[1];
  readonly context: ProcessContext;
}

/** The issuing CA, and what follows it in a chain. */
interface InUse {
  readonly issuer: InProcessIssuer;
  readonly above: readonly Uint8Array[];
}

/** Renewing has failed, and when it is tried again. */
interface Trouble {
  readonly sinceMs: number;
  readonly failures: number;
  readonly error: unknown;
  readonly againAtMs: number;
}

class VaultIntermediate implements CaBackend {
  readonly kind = 'vault-intermediate';
  readonly roots: readonly Uint8Array[];
  readonly #parts: Parts;
  readonly #closing = new AbortController();
  #keeping: Promise<void> = Promise.resolve();
  #inUse: InUse | undefined;
  #trouble: Trouble | undefined;
  #renewing: Promise<InUse> | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.roots = parts.order.roots;
  }

  /** Takes up the issuing CA of the last run, or has one certified. A Vault that is away is no reason not to start: who has an SVID needs none. */
  async open(): Promise<void> {
    this.#inUse = await this.#restore();
    if (this.#living() === undefined) {
      await this.#renew().catch((error: unknown) => {
        if (!isMeshError(error)) throw error; // else it is in #trouble, and tried on
      });
    }
    this.#keeping = this.#keep();
    // A fault of ours must not be a silent end of renewing.
    this.#keeping.catch((err: unknown) => this.#parts.context.log.fatal({ err }, 'renewing the issuing CA has ended'));
  }

  get issuingCaNotAfterMs(): number | undefined {
    return this.#inUse?.issuer.notAfterMs;
  }

  get crlSigner(): InProcessIssuer | undefined {
    return this.#living()?.issuer;
  }

  get tokenEndsAtMs(): number | undefined {
    return this.#parts.vault.session.tokenEndsAtMs;
  }

  /** Red when there is no issuing CA, and from half of the time in which it should have been renewed; before that, in words only. */
  get health(): CaHealth {
    const nowMs = this.#parts.context.clock();
    const inUse = this.#living();
    const said = this.#trouble?.error instanceof Error ? this.#trouble.error.message : 'it was not tried yet';
    if (inUse === undefined) {
      const sinceMs = this.issuingCaNotAfterMs ?? this.#trouble?.sinceMs ?? nowMs;
      return { state: 'unhealthy', sinceMs, reason: `there is no issuing CA: ${said}` };
    }
    if (this.#trouble === undefined) return { state: 'healthy' };
    const { notAfterMs } = inUse.issuer;
    const reason = `the issuing CA ends at ${new Date(notAfterMs).toISOString()} and is not renewed: ${said}`;
    const redAtMs = (dueAtMs(inUse.issuer) + notAfterMs) / 2;
    if (nowMs < redAtMs) return { state: 'healthy', notice: reason };
    return { state: 'ending', sinceMs: this.#trouble.sinceMs, reason };
  }

  async sign(order: SigningOrder): Promise<SignedChain> {
    const inUse = this.#living() ?? (await this.#firstOne());
    // Nobody waits for a renewal while there is an issuing CA that lives.
    if (this.#isDue()) void this.#renew().catch(() => undefined); // it is in #trouble
    return signInProcess(inUse.issuer, (endMs) => outliving(inUse.above, endMs), order, this.#parts.context);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#parts.vault.close();
    await this.#keeping;
    await this.#renewing?.catch(() => undefined); // given up by the abort
  }

  #living(): InUse | undefined {
    return this.#inUse !== undefined && this.#inUse.issuer.notAfterMs > this.#parts.context.clock()
      ? this.#inUse
      : undefined;
  }

  /** Without an issuing CA callers wait for Vault, but not each for a Vault of its own that has just failed. */
  #firstOne(): Promise<InUse> {
    if (this.#trouble !== undefined && this.#renewing === undefined && !this.#isDue()) throw this.#trouble.error;
    return this.#renew();
  }

  #isDue(): boolean {
    return this.#parts.context.clock() >= this.#nextTryMs;
  }

  get #nextTryMs(): number {
    if (this.#trouble !== undefined) return this.#trouble.againAtMs;
    return this.#inUse === undefined ? 0 : dueAtMs(this.#inUse.issuer);
  }

  async #keep(): Promise<void> {
    const { clock } = this.#parts.context;
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await pause(Math.min(Math.max(this.#nextTryMs - clock(), 20), longestSleepMs), signal);
      if (signal.aborted) return;
      if (this.#isDue()) await this.#renew().catch(() => undefined); // it is in #trouble
    }
  }

  /** One at a time, whoever asks. */
  #renew(): Promise<InUse> {
    this.#renewing ??= this.#renewOnce().finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  async #renewOnce(): Promise<InUse> {
    const { vault, file, order, context } = this.#parts;
    const { clock, log, random } = context;
    try {
      const { authority, reference } = await certifyIssuingCa(vault, order, clock, this.#closing.signal);
      const inUse = inUseOf(authority);
      const { notAfterMs, id } = inUse.issuer;
      log.info(
        { issuing: id, notAfter: new Date(notAfterMs), vaultRequest: reference },
        'Vault certified an issuing CA',
      );
      // Vault has a deadline, a disk that is hard at work has none: what is waited for is said before and after.
      const begunMs = performance.now();
      await file.save(authority);
      log.info(
        { issuing: id, savedInMs: Math.round(performance.now() - begunMs) },
        'the issuing CA is saved and in use',
      );
      this.#inUse = inUse;
      this.#trouble = undefined;
      return inUse;
    } catch (error) {
      if (this.#closing.signal.aborted) throw error;
      const failures = (this.#trouble?.failures ?? 0) + 1;
      const sinceMs = this.#trouble?.sinceMs ?? clock();
      this.#trouble = { sinceMs, failures, error, againAtMs: clock() + retryDelayMs(failures, undefined, random) };
      const facts = { err: error, failures, notAfter: this.#inUse && new Date(this.#inUse.issuer.notAfterMs) };
      // Days of a sealed Vault are not to fill the log: the 1st, 10th, 20th… failure.
      if (failures === 1 || failures % 10 === 0) log.warn(facts, 'no new issuing CA; still trying');
      throw error;
    }
  }

  /** Of the last run; undefined when it is of no more use. */
  async #restore(): Promise<InUse | undefined> {
    const { file, order, context } = this.#parts;
    try {
      const authority = await file.load();
      if (authority === undefined) return undefined;
      await verifyIssuingCa(authority, { ...order, ttlSeconds: undefined, nowMs: context.clock() });
      return inUseOf(authority);
    } catch (err) {
      if (!isMeshError(err, 'SLV-2142') && !isMeshError(err, 'SLV-2143')) throw err;
      context.log.warn({ err }, 'the issuing CA of the last run is of no more use; Vault is asked for another');
      return undefined;
    }
  }
}

function inUseOf(authority: CertifiedAuthority): InUse {
  return { issuer: inProcessIssuer(authority), above: authority.above };
}

/**
 * When it is to be renewed: at a third of its life, and at the latest when half of what is left is shorter than the longest leaf; but not at once again
 * where Vault gave it so short a life.
 */
export function dueAtMs({ notBeforeMs, notAfterMs }: { notBeforeMs: number; notAfterMs: number }): number {
  const lifeMs = notAfterMs - notBeforeMs;
  return notBeforeMs + Math.max(Math.min(lifeMs / 3, lifeMs - 2 * longestLeafMs), lifeMs / 10);
}
