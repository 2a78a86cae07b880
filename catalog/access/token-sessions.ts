import type { TokenRole } from '#policies/token-role.ts';
import type { Clock } from '#runtime/clock.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import type { StoredToken } from '../state/tokens.ts';
import { accessorOf, secretFits } from './token-secret.ts';

/** How often tokens that expire are looked at: by the wall clock, so a jump of it ends them too. */
const sweepMs = 250;

/** What requests with one token have in common: they end with it. */
export interface Session {
  readonly accessor: string;
  readonly roles: readonly TokenRole[];
  /** True once the token is revoked or expired. */
  readonly over: boolean;
  /** Calls `listener` once when it is over; at once when it is. @returns the way to stop */
  onOver(listener: () => void): () => void;
}

/**
 * Who presents a token, and the end of what was opened with it. Revoking writes to the store, which every catalog follows: each ends its sessions of the
 * token as soon as it sees that.
 */
export class TokenSessions {
  readonly #state: CatalogState;
  readonly #clock: Clock;
  readonly #sessions = new Map<string, OpenSession>();
  readonly #stops: readonly (() => void)[];

  constructor(state: CatalogState, clock: Clock) {
    this.#state = state;
    this.#clock = clock;
    const timer = setInterval(() => this.#endExpired(), sweepMs);
    timer.unref();
    this.#stops = [
      () => clearInterval(timer),
      state.onChange((touched) => {
        if (touched.has('tokens')) this.#endExpired();
      }),
    ];
  }

  /** @returns the session of the token that the secret is of; undefined: of none that is good now */
  recognise(secret: string): Session | undefined {
    const accessor = accessorOf(secret);
    const token = accessor === undefined ? undefined : this.#state.tokens.get(accessor);
    if (token === undefined || !secretFits(secret, token.record.SecretHash) || this.#isOver(token)) return undefined;
    const open = this.#sessions.get(token.record.Accessor) ?? new OpenSession(token.record.Accessor, token.roles);
    this.#sessions.set(open.accessor, open);
    return open;
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  #endExpired(): void {
    for (const [accessor, session] of this.#sessions) {
      const token = this.#state.tokens.get(accessor);
      if (token !== undefined && !this.#isOver(token)) continue;
      this.#sessions.delete(accessor);
      session.end();
    }
  }

  #isOver({ record: { ExpiresAtMs } }: StoredToken): boolean {
    return ExpiresAtMs !== undefined && this.#clock() >= ExpiresAtMs;
  }
}

class OpenSession implements Session {
  readonly accessor: string;
  readonly roles: readonly TokenRole[];
  readonly #listeners = new Set<() => void>();
  #over = false;

  constructor(accessor: string, roles: readonly TokenRole[]) {
    this.accessor = accessor;
    this.roles = roles;
  }

  get over(): boolean {
    return this.#over;
  }

  onOver(listener: () => void): () => void {
    if (this.#over) listener();
    else this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  end(): void {
    this.#over = true;
    for (const listener of this.#listeners) listener();
    this.#listeners.clear();
  }
}
