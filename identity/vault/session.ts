import { z } from 'zod';
import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import { pause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { caErrorOf, vaultFailureKind } from './failure.ts';
import { type Lease, type VaultAuth, type VaultLogin, vaultLogin } from './login.ts';
import { VaultError, type VaultTransport } from './transport.ts';

/** A token that is kept alive, and replaced when it can't be. */
export interface VaultSession {
  /**
   * Runs `work` with a living token. On 403 the token is looked up: a dead one is replaced by one login and `work` runs once more; a living one
   * means that its policy says no. Throws VaultError as `work` does; MeshError SLV-2140 or SLV-2144 when there is no way to a token.
   */
  call<T>(work: (token: string) => Promise<T>): Promise<T>;
  close(): void;
  /** When the token ends, unless it is renewed; undefined: there is none, or it does not end. */
  readonly tokenEndsAtMs?: number | undefined;
}

/** setTimeout turns anything longer into 1 ms. */
const longestTimerMs = 2 ** 31 - 1;
const firstBackoffMs = 1_000;
const lastBackoffMs = 60_000;

/** How often a token's file is looked at. */
const fileLookMs = 2_000;

const renewedSchema = z.looseObject({ lease_duration: z.number().int().min(0).max(315_360_000) });

/** Opens a session; it logs in at the first call. */
export function openVaultSession(
  transport: VaultTransport,
  auth: VaultAuth,
  context: Pick<ProcessContext, 'clock' | 'random' | 'log'>,
): VaultSession {
  return new KeptSession(transport, vaultLogin(transport, auth), context);
}

class KeptSession implements VaultSession {
  readonly #transport: VaultTransport;
  readonly #login: VaultLogin;
  readonly #context: Pick<ProcessContext, 'clock' | 'random' | 'log'>;
  #lease: Lease | undefined;
  #expiresAtMs = Infinity;
  #keeping = new AbortController();
  #loggingIn: Promise<Lease> | undefined;
  #closed = false;
  /** A login that failed is not tried again before `atMs`, however many ask. */
  #refusal: { readonly error: unknown; readonly atMs: number; readonly backoffMs: number } | undefined;

  constructor(transport: VaultTransport, login: VaultLogin, context: Pick<ProcessContext, 'clock' | 'random' | 'log'>) {
    this.#transport = transport;
    this.#login = login;
    this.#context = context;
  }

  async call<T>(work: (token: string) => Promise<T>): Promise<T> {
    const lease = this.#lease ?? (await this.#logInOnce());
    try {
      return await work(lease.token);
    } catch (error) {
      if (!(error instanceof VaultError) || vaultFailureKind(error) !== 'denied') throw error;
      const replaced = this.#lease !== undefined && this.#lease !== lease ? this.#lease : undefined;
      if (replaced === undefined && (await this.#isAlive(lease)) && !(await this.#login.isSuperseded(lease)))
        throw error;
      return await work((replaced ?? (await this.#logInOnce())).token);
    }
  }

  get tokenEndsAtMs(): number | undefined {
    return Number.isFinite(this.#expiresAtMs) ? this.#expiresAtMs : undefined;
  }

  close(): void {
    this.#closed = true;
    this.#keeping.abort();
  }

  async #isAlive(lease: Lease): Promise<boolean> {
    try {
      await this.#transport.read('auth/token/lookup-self', { token: lease.token });
      return true;
    } catch (error) {
      if (error instanceof VaultError && vaultFailureKind(error) === 'denied') return false;
      throw error;
    }
  }

  /** One login at a time, whoever asks. */
  #logInOnce(): Promise<Lease> {
    this.#loggingIn ??= this.#logIn().finally(() => {
      this.#loggingIn = undefined;
    });
    return this.#loggingIn;
  }

  async #logIn(): Promise<Lease> {
    const { clock, random, log } = this.#context;
    if (this.#refusal !== undefined && clock() < this.#refusal.atMs) throw this.#refusal.error;
    try {
      const lease = await this.#login.obtain();
      this.#refusal = undefined;
      this.#lease = lease;
      this.#keeping.abort();
      this.#keeping = new AbortController();
      if (!this.#closed) void this.#keep(lease, this.#keeping.signal);
      log.info({ auth: this.#login.kind, ttlMs: lease.ttlMs, renewable: lease.renewable }, 'logged in to Vault');
      return lease;
    } catch (cause) {
      const error = loginError(cause, this.#login.kind);
      if (isMeshError(error, 'SLV-2145')) log.error({ err: error }, 'ALARM: a wrapped secret id was tampered with');
      // A Vault that is away costs little to ask; one that refuses might lock the account.
      const most = isMeshError(error, 'SLV-2140') ? lastBackoffMs / 12 : lastBackoffMs;
      const backoffMs = Math.min((this.#refusal?.backoffMs ?? firstBackoffMs / 2) * 2, most);
      this.#refusal = { error, atMs: clock() + backoffMs * (0.5 + random() / 2), backoffMs };
      throw error;
    }
  }

  /** Renews at two thirds of the life (±10 %), retries until it ends, and logs in anew when renewing no longer gains anything. */
  async #keep(lease: Lease, signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#context;
    // A token that never expires is only watched for its successor.
    const share = (ttlMs: number): number =>
      ttlMs === 0 ? Infinity : Math.min(Math.max((ttlMs * 2 * (0.9 + 0.2 * random())) / 3, 1_000), longestTimerMs);
    this.#expiresAtMs = lease.ttlMs === 0 ? Infinity : clock() + lease.ttlMs;
    let waitMs = share(lease.ttlMs);
    let backoffMs = firstBackoffMs;
    for (;;) {
      const superseded = await this.#sleep(lease, waitMs, signal);
      if (signal.aborted) return;
      try {
        if (superseded) {
          await this.#logInOnce();
          return;
        }
        if (lease.ttlMs === 0) continue;
        const ttlMs = lease.renewable ? await this.#renew(lease, signal) : 0;
        if (ttlMs >= lease.ttlMs / 2) {
          this.#expiresAtMs = clock() + ttlMs;
          waitMs = share(ttlMs);
          backoffMs = firstBackoffMs;
          continue;
        }
        // Not renewable, or so near to its maximum that each renewal gains less: a new login while the old token still works.
        await this.#logInOnce();
        return;
      } catch (error) {
        if (signal.aborted) return;
        const gone = clock() >= this.#expiresAtMs;
        log.warn(
          { err: error, expiresInMs: Math.max(this.#expiresAtMs - clock(), 0) },
          'Vault token not renewed; trying again',
        );
        if (gone || (error instanceof VaultError && vaultFailureKind(error) !== 'transient')) {
          // Renewing is over for this token; the next call, or the login here, gets another.
          const another = await this.#logInOnce().then(
            () => true,
            () => false, // logged by the next round, and reported by every call
          );
          if (another) return;
        }
        waitMs = backoffMs * (0.5 + random() / 2);
        backoffMs = Math.min(backoffMs * 2, lastBackoffMs);
      }
    }
  }

  /** Sleeps for `ms`, or until the file of the token holds another. @returns whether it does */
  async #sleep(lease: Lease, ms: number, signal: AbortSignal): Promise<boolean> {
    if (this.#login.kind !== 'token') {
      await pause(Math.min(ms, longestTimerMs), signal);
      return false;
    }
    for (let left = ms; left > 0 && !signal.aborted; left -= fileLookMs) {
      await pause(Math.min(left, fileLookMs), signal);
      // A file that is being replaced may be away for a moment; a call that needs it says so.
      if (await this.#login.isSuperseded(lease).catch(() => false)) return true;
    }
    return false;
  }

  async #renew(lease: Lease, signal: AbortSignal): Promise<number> {
    const reply = await this.#transport.write('auth/token/renew-self', {}, { token: lease.token, signal });
    const renewed = renewedSchema.safeParse(reply.auth);
    if (!renewed.success) throw new VaultError('the answer to renew-self is not of the known form');
    return renewed.data.lease_duration * 1_000;
  }
}

/** Wrong secrets are answered with 400 (AppRole) or 403 (token): both mean that a person must act. */
function loginError(cause: unknown, kind: VaultAuth['kind']): unknown {
  if (!(cause instanceof VaultError)) return cause;
  const mapped = caErrorOf(cause, 'log in');
  if (isMeshError(mapped, 'SLV-2140')) return mapped;
  return new MeshError('SLV-2144', `Vault refused the ${kind} login: ${cause.message}.`);
}
