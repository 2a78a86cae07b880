import { isMeshError } from '#policies/errors/mesh-error.ts';
import { readCertificate } from '#policies/svid-leaf.ts';
import { pause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { Store } from '#store/contract.ts';
import type { CaBackend, CaHealth, SignedChain, SigningOrder } from '../ca-backend.ts';
import { openVaultConnection, type VaultConnection, type VaultConnectionConfig } from '../vault/connection.ts';
import { caErrorOf, vaultFailureKind } from '../vault/failure.ts';
import { readIssuer } from '../vault/issuer.ts';
import { VaultError } from '../vault/transport.ts';
import { vaultPath } from '../vault/vault-path.ts';
import { placeOf } from './ca-config.ts';
import { SigningQueue } from './signing-queue.ts';
import { loadPinnedRoots, pinRoots } from './vault-roots.ts';
import { signLeafInVault } from './vault-sign-leaf.ts';

/** Vault or OpenBao signs every leaf: `POST <mount>/issuer/<issuer>/sign/<role>`. docs/vault.md has the role and the policy. */
export interface VaultLeafConfig extends VaultConnectionConfig {
  readonly kind: 'vault-leaf';
  /** Mount of the PKI engine that holds the issuing CA. */
  readonly mount: string;
  readonly role: string;
  /** Name or id of the issuer; default `default`, the mount's default issuer. */
  readonly issuerRef?: string;
  /** PEM file with the roots that the mesh is to trust. Absent: the root of the issuer when first met (vault-roots.ts). */
  readonly rootsFile?: string;
  /** The roots, DER, where they are known already; beats both. */
  readonly roots?: readonly Uint8Array[];
}

/** How often the issuer is looked at: whether Vault answers, and until when its CA is good. */
const probeIntervalMs = 15_000;
/** Tries of one signature that Vault answers with 500, and what lies between them. */
const internalTries = 3;
const internalPauseMs = 100;

/**
 * Opens the backend. Vault need not answer: with pinned roots the service starts, and signs when Vault is there.
 *
 * @throws MeshError SLV-1002, SLV-1005 (configuration), SLV-2140 and SLV-2141 when Vault was never met and can't be now
 */
export async function openVaultLeaf(
  config: VaultLeafConfig,
  context: ProcessContext,
  store: Store,
): Promise<CaBackend> {
  const paths = {
    sign: vaultPath(config.mount, 'issuer', config.issuerRef ?? 'default', 'sign', config.role),
    issuer: vaultPath(config.mount, 'issuer', config.issuerRef ?? 'default', 'json'),
  };
  const vault = openVaultConnection(config, context);
  try {
    const place = placeOf(config);
    const pinned = await loadPinnedRoots(store, { ...config, place });
    const issuer = await readIssuer(vault.transport, paths.issuer).catch((error: unknown) => {
      if (pinned === undefined) throw caErrorOf(error, 'show its issuer');
      return undefined;
    });
    const roots = pinned ?? (await pinRoots(store, place, issuer ?? []));
    return new VaultLeaf({ vault, paths, roots, context, issuer });
  } catch (error) {
    vault.close();
    throw error;
  }
}

interface Parts {
  readonly vault: VaultConnection;
  readonly paths: { readonly sign: string; readonly issuer: string };
  readonly roots: readonly Uint8Array[];
  readonly context: ProcessContext;
  /** The issuer's certificate and what lies above it; undefined while Vault does not answer. */
  readonly issuer: readonly Uint8Array[] | undefined;
}

class VaultLeaf implements CaBackend {
  readonly kind = 'vault-leaf';
  readonly roots: readonly Uint8Array[];
  readonly #parts: Parts;
  readonly #closing = new AbortController();
  readonly #queue = new SigningQueue();
  readonly #probing: Promise<void>;
  #issuingCaNotAfterMs: number | undefined;
  /** Two views that fail on their own: Vault may answer the probe and still refuse to sign. */
  #probeHealth: CaHealth = { state: 'healthy' };
  #signHealth: CaHealth = { state: 'healthy' };
  /** Vault's "no" to signing stands until a signature succeeds; any other failure of signing is looked into by the probe. */
  #signRefused = false;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.roots = parts.roots;
    if (parts.issuer === undefined)
      this.#probeHealth = unhealthy(this.#probeHealth, 'Vault did not answer at start', parts.context.clock());
    this.#note(parts.issuer);
    this.#probing = this.#probe();
  }

  get health(): CaHealth {
    return this.#probeHealth.state === 'unhealthy' ? this.#probeHealth : this.#signHealth;
  }

  get issuingCaNotAfterMs(): number | undefined {
    return this.#issuingCaNotAfterMs;
  }

  get tokenEndsAtMs(): number | undefined {
    return this.#parts.vault.session.tokenEndsAtMs;
  }

  sign(order: SigningOrder, signal?: AbortSignal): Promise<SignedChain> {
    return this.#queue.run(() => this.#signInTurn(order, signal));
  }

  async #signInTurn(order: SigningOrder, signal: AbortSignal | undefined): Promise<SignedChain> {
    const { vault, context } = this.#parts;
    try {
      const signed = await vault.session.call((token) => this.#signOnce(order, token, signal));
      // A signature is the best of probes.
      this.#signHealth = this.#probeHealth = { state: 'healthy' };
      return signed;
    } catch (cause) {
      const error = caErrorOf(cause, `sign a certificate for ${order.spiffeId}`);
      // What Vault says of one request (400) is no word on its health; everything else is.
      const ofRequest = cause instanceof VaultError && cause.status === 400;
      if (isMeshError(error) && !ofRequest && signal?.aborted !== true) {
        this.#signHealth = unhealthy(this.#signHealth, error.message, context.clock());
        this.#signRefused = error.code === 'SLV-2141';
      }
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#parts.vault.close();
    await this.#probing;
  }

  /** Signs, and again where Vault answers 500: its storage hiccups. A policy program (CEL) that refuses answers so too, so not for ever. */
  async #signOnce(order: SigningOrder, token: string, signal: AbortSignal | undefined): Promise<SignedChain> {
    const { vault, paths, context } = this.#parts;
    for (let tries = 1; ; tries++) {
      try {
        const call = { token, ...(signal === undefined ? {} : { signal }) };
        return await signLeafInVault(vault.transport, paths.sign, order, call);
      } catch (error) {
        const again = error instanceof VaultError && vaultFailureKind(error) === 'internal' && tries < internalTries;
        if (!again) throw error;
        await pause(internalPauseMs * tries * (0.5 + context.random()), signal ?? this.#closing.signal);
      }
    }
  }

  async #probe(): Promise<void> {
    const { vault, paths, context } = this.#parts;
    const { transport, session } = vault;
    const { signal } = this.#closing;
    for (;;) {
      await pause(probeIntervalMs * (0.9 + 0.2 * context.random()), signal);
      if (signal.aborted) return;
      try {
        this.#note(await readIssuer(transport, paths.issuer, signal));
        if (this.#signHealth.state === 'unhealthy' && !this.#signRefused) {
          await session.call((token) => transport.read('auth/token/lookup-self', { token, signal }));
          this.#signHealth = { state: 'healthy' };
        }
        if (this.#probeHealth.state === 'unhealthy') context.log.info('Vault answers again');
        this.#probeHealth = { state: 'healthy' };
      } catch (cause) {
        if (signal.aborted) return;
        const error = caErrorOf(cause, 'show its issuer');
        if (this.#probeHealth.state === 'healthy')
          context.log.warn({ err: error }, 'Vault does not answer as it should');
        const reason = error instanceof Error ? error.message : String(error);
        this.#probeHealth = unhealthy(this.#probeHealth, reason, context.clock());
      }
    }
  }

  #note(issuer: readonly Uint8Array[] | undefined): void {
    const [certificate] = issuer ?? [];
    if (certificate !== undefined) this.#issuingCaNotAfterMs = readCertificate(certificate).notAfterMs;
  }
}

/** Since when: the first failure of a row counts. */
function unhealthy(before: CaHealth, reason: string, nowMs: number): CaHealth {
  return { state: 'unhealthy', sinceMs: before.state === 'unhealthy' ? before.sinceMs : nowMs, reason };
}
