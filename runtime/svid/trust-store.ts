import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import type { SpiffeId, TrustDomain } from '#policies/spiffe-id.ts';
import type { TrustBundle } from '#policies/trust-bundle.ts';
import type { Clock } from '../clock.ts';
import type { Logger } from '../logging.ts';
import { type OpenedBundle, openSignedBundle } from './open-bundle.ts';
import type { HeldTrust } from './succession.ts';
import type { TrustSource } from './trust.ts';

/** The trust that a mesh identity keeps, with the door by which it changes. */
export interface SignedTrust extends TrustSource {
  /**
   * Takes a signed bundle that came by the feed or from anybody. True when it is now the one in use (or was already); false when it was refused, which
   * is logged: not signed by our identity service, or older than the one in use.
   */
  acceptSigned(jws: string): Promise<boolean>;
  /** The signed bundle in use. */
  readonly signed: string | undefined;
  /** Its sequence. */
  readonly sequence: number;
}

/** Holds the own trust domain's bundle and revocations, and the bundles of those it federates with; all change only by what the identity service signed, and never backwards. */
export class TrustStore implements SignedTrust {
  readonly own: TrustDomain;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #listeners = new Set<() => void>();
  #opened: OpenedBundle;

  /** @param options.opened what first contact proved, or what was in use before a restart */
  constructor(options: { opened: OpenedBundle; clock: Clock; log: Logger }) {
    this.own = options.opened.bundle.trustDomain;
    this.#opened = options.opened;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  bundleOf(trustDomain: TrustDomain): TrustBundle | undefined {
    return trustDomain === this.own ? this.#opened.bundle : this.#opened.federated.get(trustDomain);
  }

  isRevoked(serialHex: string, id: SpiffeId): boolean {
    return this.#opened.revokedSerials.has(serialHex) || this.#opened.revokedIds.has(id);
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get federated(): readonly TrustDomain[] {
    return [...this.#opened.federated.keys()];
  }

  get tainted(): ReadonlySet<string> {
    return this.#opened.tainted;
  }

  get signed(): string {
    return this.#opened.jws;
  }

  get sequence(): number {
    return this.#opened.bundle.sequence;
  }

  async acceptSigned(jws: string): Promise<boolean> {
    try {
      await this.accept(jws);
      return true;
    } catch (err) {
      if (!isMeshError(err, 'SLV-2012')) throw err;
      this.#log.warn({ err }, 'signed trust bundle refused; the one in hand stays in use');
      return false;
    }
  }

  /** What a succession starts from (succession.ts). */
  get held(): HeldTrust {
    const { bundle, revokedSerials, revokedIds } = this.#opened;
    return { bundle, isRevoked: (serialHex, id) => revokedSerials.has(serialHex) || revokedIds.has(id) };
  }

  /**
   * Takes a signed bundle whose signer hangs on roots that a succession led to, of a server that has proven itself by them.
   * @param least the sequence of the last step: nothing older follows on it
   * @throws MeshError SLV-2012 with the reason
   */
  async acceptSucceeding(jws: string, trust: TrustSource, least: number): Promise<void> {
    const opened = await openSignedBundle(jws, this.own, trust, this.#clock());
    const held = this.#opened.bundle.sequence;
    if (opened.bundle.sequence < Math.max(least, held)) throw olderThan(opened.bundle.sequence, Math.max(least, held));
    this.#use(opened);
  }

  /** As acceptSigned, but throws SLV-2012 with the reason. */
  async accept(jws: string): Promise<OpenedBundle> {
    if (this.#opened.jws === jws) return this.#opened;
    const opened = await openSignedBundle(jws, this.own, this, this.#clock());
    // Asked after the wait: another may have been accepted meanwhile.
    const held = this.#opened;
    // One sequence is one content (SPIFFE bundle 4.1.1): the same thing, signed earlier, is nothing to refuse and nothing new.
    if (opened.bundle.sequence === held.bundle.sequence && opened.issuedAt < held.issuedAt) return held;
    if (opened.bundle.sequence < held.bundle.sequence) throw olderThan(opened.bundle.sequence, held.bundle.sequence);
    this.#use(opened);
    return opened;
  }

  #use(opened: OpenedBundle): void {
    this.#opened = opened;
    for (const listener of [...this.#listeners]) listener();
  }
}

function olderThan(sequence: number, least: number): MeshError {
  return new MeshError(
    'SLV-2012',
    `The signed trust bundle is refused: its sequence ${sequence} is older than ${least}, which is in use.`,
  );
}
