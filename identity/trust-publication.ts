import { createHash } from 'node:crypto';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { JwtAuthority } from '#policies/jwt-authority.ts';
import type { SpiffeId, TrustDomain } from '#policies/spiffe-id.ts';
import { formatSpiffeBundle, type TrustBundle } from '#policies/trust-bundle.ts';
import type { Clock } from '#runtime/clock.ts';
import { signBundle } from '#runtime/svid/sign-bundle.ts';
import type { Svid, SvidSource } from '#runtime/svid/svid.ts';
import type { TrustSource } from '#runtime/svid/trust.ts';
import type { Store } from '#store/contract.ts';
import type { CaBackend } from './ca-backend.ts';
import { type Nodes, takenBack } from './nodes.ts';
import type { Revocations } from './revocation/revocations.ts';
import { taintedAuthorities } from './rotation/rotation.ts';
import { storedRecord } from './stored-record.ts';

/** Nodes fetch the bundle this often; catalogs push it sooner. Revocations should be seen soon, so SPIFFE's default of 300 s is too slow. */
const refreshHintSeconds = 60;
const maxRaces = 8;

const key = 'identity/trust';
const published = storedRecord(z.object({ sequence: z.number().int().min(1), digest: z.string() }));

/** What is published besides roots and revocations: asked at each `refresh`. */
export interface AlsoPublished {
  /** Keys that sign JWT-SVIDs, or soon will, or did while what they signed is still valid. */
  readonly jwtAuthorities: () => readonly JwtAuthority[];
  /** Bundles of other trust domains, in a steady order. */
  readonly federated: () => readonly TrustBundle[];
}

/** All that is signed and published, as of one moment. Equal contents have one digest, so lists are in a steady order. */
interface Contents {
  /** Its sequence is 0 until it is published. */
  readonly bundle: TrustBundle;
  readonly federated: readonly TrustBundle[];
  readonly revokedSerials: readonly string[];
  readonly revokedIds: readonly string[];
  readonly tainted: readonly string[];
}

/**
 * The trust bundle and revocation list as the mesh gets them. All of it is a function of what is stored elsewhere: the roots of the backend and the state of
 * their rotation, the keys of JWT-SVIDs, the bundles of other trust domains, revocations, the living SVIDs of revoked nodes and of narrowed grants. Stored here is only the
 * sequence, which grows with every change of any, also over restarts; so there is nothing that a crash could leave half done.
 */
export class TrustPublication implements TrustSource {
  readonly own: TrustDomain;
  readonly #store: Store;
  readonly #backend: CaBackend;
  readonly #nodes: Nodes;
  readonly #revocations: Revocations;
  readonly #clock: Clock;
  readonly #also: AlsoPublished;
  readonly #listeners = new Set<() => void>();
  #published: Contents;
  #revokedSerials: ReadonlySet<string> = new Set();
  #revokedIds: ReadonlySet<string> = new Set();
  #tainted: ReadonlySet<string> = new Set();
  #refreshing: Promise<void> = Promise.resolve();
  #signed: { readonly svid: Svid; readonly contents: Contents; readonly jws: Promise<string> } | undefined;

  /** Publishes nothing until the first `refresh`. */
  constructor(options: {
    trustDomain: TrustDomain;
    store: Store;
    backend: CaBackend;
    nodes: Nodes;
    revocations: Revocations;
    clock: Clock;
    also: AlsoPublished;
  }) {
    this.own = options.trustDomain;
    this.#store = options.store;
    this.#backend = options.backend;
    this.#nodes = options.nodes;
    this.#revocations = options.revocations;
    this.#clock = options.clock;
    this.#also = options.also;
    this.#published = { bundle: this.#ownBundle(), federated: [], revokedSerials: [], revokedIds: [], tainted: [] };
  }

  /** The bundle in use. */
  get bundle(): TrustBundle {
    return this.#published.bundle;
  }

  /** The own bundle only: no SVID of another trust domain opens a door of the identity service. */
  bundleOf(trustDomain: TrustDomain): TrustBundle | undefined {
    return trustDomain === this.own ? this.bundle : undefined;
  }

  isRevoked(serialHex: string, id: SpiffeId): boolean {
    return this.#revokedSerials.has(serialHex) || this.#revokedIds.has(id);
  }

  /** Whether nothing is issued for this ID. */
  isRevokedId(id: SpiffeId): boolean {
    return this.#revokedIds.has(id);
  }

  get tainted(): ReadonlySet<string> {
    return this.#tainted;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Looks at everything anew; when anything has changed, the sequence grows and everybody is told. One after the other, so that it never goes back. */
  refresh(): Promise<void> {
    const refreshed = this.#refreshing.then(() => this.#refresh());
    this.#refreshing = refreshed.catch(() => undefined); // its caller hears of it
    return refreshed;
  }

  async #refresh(): Promise<void> {
    for (let race = 0; race < maxRaces; race++) {
      const contents = await this.#gather();
      const digest = digestOf(contents);
      const stored = await this.#store.get(key);
      const before = stored === undefined ? undefined : published.decode(stored);
      // From the clock, so that a store that was lost or restored from a backup does not make everybody refuse what comes next.
      const nowSeconds = Math.floor(this.#clock() / 1_000);
      const sequence = before?.digest === digest ? before.sequence : Math.max((before?.sequence ?? 0) + 1, nowSeconds);
      if (before?.digest !== digest) {
        const { succeeded } = await this.#store.txn({
          compare: [
            stored === undefined ? { kind: 'absent', key } : { kind: 'mod-revision', key, equals: stored.modRevision },
          ],
          success: [{ kind: 'put', key, value: published.encode({ sequence, digest }) }],
        });
        if (!succeeded) continue;
      }
      if (sequence !== this.bundle.sequence) this.#publish({ ...contents, bundle: { ...contents.bundle, sequence } });
      return;
    }
    throw new MeshError('SLV-3505', 'The trust bundle is being changed by many at once.');
  }

  #publish(contents: Contents): void {
    this.#published = contents;
    this.#revokedSerials = new Set(contents.revokedSerials);
    this.#revokedIds = new Set(contents.revokedIds);
    this.#tainted = new Set(contents.tainted);
    for (const listener of [...this.#listeners]) listener();
  }

  /**
   * The bundle signed by our own SVID (policies/wire/signed-bundle.ts); signed once for each state and SVID.
   * @throws MeshError SLV-2140 while there is no SVID to sign with
   */
  signed(own: SvidSource): Promise<string> {
    const svid = own.current;
    if (svid === undefined)
      return Promise.reject(new MeshError('SLV-2140', 'The identity service has no SVID of its own to sign with.'));
    const contents = this.#published;
    if (this.#signed?.svid !== svid || this.#signed.contents !== contents) {
      const { bundle, federated, tainted, revokedSerials, revokedIds } = contents;
      const revoked = { serials: revokedSerials, spiffeIds: revokedIds };
      const jws = signBundle({ bundle, revoked, federated, tainted, svid, nowMs: this.#clock() });
      this.#signed = { svid, contents, jws };
    }
    return this.#signed.jws;
  }

  async #gather(): Promise<Contents> {
    const nowMs = this.#clock();
    const { rotating } = this.#backend;
    const tainted = rotating === undefined ? [] : taintedAuthorities(rotating.state);
    const bundle = this.#ownBundle();
    const federated = this.#also.federated();
    const [nodes, revocations] = await Promise.all([this.#nodes.list(), this.#revocations.list()]);
    const ofNodes = nodes.flatMap((node) => takenBack(node, nowMs));
    const serials = revocations.flatMap((record) => (record.kind === 'serial' ? [record.serial] : []));
    const revokedIds = revocations.flatMap((record) => (record.kind === 'spiffe-id' ? [record.spiffeId] : [])).sort();
    const revokedSerials = [...new Set([...ofNodes, ...serials])].sort();
    return { bundle, federated, revokedSerials, revokedIds, tainted: [...tainted].sort() };
  }

  #ownBundle(): TrustBundle {
    return {
      trustDomain: this.own,
      sequence: 0,
      refreshHintSeconds,
      x509Authorities: this.#backend.roots,
      jwtAuthorities: this.#also.jwtAuthorities(),
    };
  }
}

function digestOf({ bundle, federated, ...others }: Contents): string {
  const foreign = federated.map((one) => [one.trustDomain, formatSpiffeBundle(one)]);
  return createHash('sha256')
    .update(JSON.stringify([formatSpiffeBundle(bundle), foreign, others]))
    .digest('hex');
}
