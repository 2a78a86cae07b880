import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { JwtAuthority } from '#policies/jwt-authority.ts';
import type { SpiffeId, TrustDomain } from '#policies/spiffe-id.ts';
import type { TrustBundle } from '#policies/trust-bundle.ts';
import { pause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { signBundle } from '#runtime/svid/sign-bundle.ts';
import type { Svid, SvidSource } from '#runtime/svid/svid.ts';
import type { TrustSource } from '#runtime/svid/trust.ts';
import type { KeyValue, Operation, Store } from '#store/contract.ts';
import type { CaBackend } from './ca-backend.ts';
import { type Nodes, takenBack } from './nodes.ts';
import type { Revocations } from './revocation/revocations.ts';
import { taintedAuthorities } from './rotation/rotation.ts';
import { storedRecord } from './stored-record.ts';
import { digestOf, packContents, type TrustContents, unpackContents } from './trust-contents.ts';

/** Nodes fetch the bundle this often; catalogs push it sooner. Revocations should be seen soon, so SPIFFE's default of 300 s is too slow. */
const refreshHintSeconds = 60;
const maxRaces = 8;

const key = 'identity/trust';
const piecePrefix = `${key}/contents/`;
const published = storedRecord(
  z.object({
    sequence: z.number().int().min(1),
    digest: z.string(),
    /** Of the contents, beside this record, for the other processes on the store. */
    pieces: z.number().int().min(1).optional(),
  }),
);
/** How soon the store is asked again after it could not be followed, and how late at the most. */
const followAgainMs = { first: 250, longest: 2_000 };

/** What is published besides roots and revocations: asked at each `refresh`. */
export interface AlsoPublished {
  /** Keys that sign JWT-SVIDs, or soon will, or did while what they signed is still valid; in a steady order. */
  readonly jwtAuthorities: () => Promise<readonly JwtAuthority[]>;
  /** Bundles of other trust domains, in a steady order. */
  readonly federated: () => Promise<readonly TrustBundle[]>;
}

/**
 * The trust bundle and revocation list as the mesh gets them. All of it is a function of what is stored elsewhere: the roots of the backend and the state of
 * their rotation, the keys of JWT-SVIDs, the bundles of other trust domains, revocations, the living SVIDs of revoked nodes and of narrowed grants. Stored here is only the
 * sequence, which grows with every change of any, also over restarts; so there is nothing that a crash could leave half done.
 *
 * Where several processes share the store the contents are stored with the sequence, and the others take them from there: one sequence is one content
 * whoever serves it, and clocks that differ a little do not make processes correct one another.
 */
export class TrustPublication implements TrustSource {
  readonly own: TrustDomain;
  readonly #store: Store;
  readonly #backend: CaBackend;
  readonly #nodes: Nodes;
  readonly #revocations: Revocations;
  readonly #context: Pick<ProcessContext, 'clock' | 'log'>;
  readonly #also: AlsoPublished;
  readonly #isShared: boolean;
  readonly #listeners = new Set<() => void>();
  #published: TrustContents;
  #revokedSerials: ReadonlySet<string> = new Set();
  #revokedIds: ReadonlySet<string> = new Set();
  #tainted: ReadonlySet<string> = new Set();
  #refreshing: Promise<void> = Promise.resolve();
  #signed: { readonly svid: Svid; readonly contents: TrustContents; readonly jws: Promise<string> } | undefined;

  /** Publishes nothing until the first `refresh`. */
  constructor(options: {
    trustDomain: TrustDomain;
    store: Store;
    backend: CaBackend;
    nodes: Nodes;
    revocations: Revocations;
    context: Pick<ProcessContext, 'clock' | 'log'>;
    also: AlsoPublished;
    /** Other processes are on this store, and take from it what this one publishes. */
    isShared: boolean;
  }) {
    this.own = options.trustDomain;
    this.#store = options.store;
    this.#backend = options.backend;
    this.#nodes = options.nodes;
    this.#revocations = options.revocations;
    this.#context = options.context;
    this.#also = options.also;
    this.#isShared = options.isShared;
    this.#published = { bundle: this.#ownBundle([]), federated: [], revokedSerials: [], revokedIds: [], tainted: [] };
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
    return this.#inTurn(() => this.#refresh());
  }

  /** Takes up what other processes publish, until the signal aborts. */
  async follow(signal: AbortSignal): Promise<void> {
    const { log } = this.#context;
    for (let failures = 0; !signal.aborted; ) {
      try {
        const { kvs, revision } = await this.#store.range(key);
        await this.#inTurn(() => this.#adopt(kvs));
        for await (const _ of this.#store.watch(key, revision + 1, signal)) {
          failures = 0;
          await this.#inTurn(async () => this.#adopt((await this.#store.range(key)).kvs));
        }
      } catch (err) {
        if (signal.aborted) return;
        if (failures === 0) log.warn({ err }, 'the trust bundle of the other processes is not followed; trying again');
        await pause(Math.min(followAgainMs.first * 2 ** failures, followAgainMs.longest), signal);
        failures += 1;
      }
    }
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#refreshing.then(work);
    this.#refreshing = done.catch(() => undefined); // its caller hears of it
    return done;
  }

  async #refresh(): Promise<void> {
    for (let race = 0; race < maxRaces; race++) {
      // First: what another process has published by now, it had written before, so that it is among what is gathered.
      const stored = await this.#store.get(key);
      const contents = await this.#gather();
      const digest = digestOf(contents);
      const before = stored === undefined ? undefined : published.decode(stored);
      const isOut = before?.digest === digest && (before.pieces !== undefined || !this.#isShared);
      // From the clock, so that a store that was lost or restored from a backup does not make everybody refuse what comes next.
      const nowSeconds = Math.floor(this.#context.clock() / 1_000);
      const sequence = isOut ? before.sequence : Math.max((before?.sequence ?? 0) + 1, nowSeconds);
      if (!isOut) {
        const pieces = this.#isShared ? await packContents(contents) : [];
        const { succeeded } = await this.#store.txn({
          compare: [
            stored === undefined ? { kind: 'absent', key } : { kind: 'mod-revision', key, equals: stored.modRevision },
          ],
          success: writesOf(sequence, digest, pieces),
        });
        if (!succeeded) continue;
      }
      if (sequence !== this.bundle.sequence) this.#publish({ ...contents, bundle: { ...contents.bundle, sequence } });
      return;
    }
    throw new MeshError('SLV-3505', 'The trust bundle is being changed by many at once.');
  }

  async #adopt(kvs: readonly KeyValue[]): Promise<void> {
    const [head, ...pieces] = kvs;
    if (head?.key !== key) return;
    const { sequence, pieces: count } = published.decode(head);
    if (sequence <= this.bundle.sequence || count === undefined) return;
    const contents = await unpackContents(
      pieces.slice(0, count).map(({ value }) => value),
      this.own,
    );
    // Which roots are trusted each process knows by itself: one who can write to the store must not add any.
    const known = new Set(this.#backend.roots.map(base64));
    if (!contents.bundle.x509Authorities.every((der) => known.has(base64(der))))
      throw new MeshError('SLV-2143', 'The trust bundle in the store has roots that are not those of the CA.');
    this.#publish({ ...contents, bundle: { ...contents.bundle, sequence } });
  }

  #publish(contents: TrustContents): void {
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
      const jws = signBundle({ bundle, revoked, federated, tainted, svid, nowMs: this.#context.clock() });
      this.#signed = { svid, contents, jws };
    }
    return this.#signed.jws;
  }

  async #gather(): Promise<TrustContents> {
    const nowMs = this.#context.clock();
    const { rotating } = this.#backend;
    const tainted = rotating === undefined ? [] : taintedAuthorities(rotating.state);
    const [jwtAuthorities, federated, nodes, revocations] = await Promise.all([
      this.#also.jwtAuthorities(),
      this.#also.federated(),
      this.#nodes.list(),
      this.#revocations.list(),
    ]);
    const bundle = this.#ownBundle(jwtAuthorities);
    const ofNodes = nodes.flatMap((node) => takenBack(node, nowMs));
    const serials = revocations.flatMap((record) => (record.kind === 'serial' ? [record.serial] : []));
    const revokedIds = revocations.flatMap((record) => (record.kind === 'spiffe-id' ? [record.spiffeId] : [])).sort();
    const revokedSerials = [...new Set([...ofNodes, ...serials])].sort();
    return { bundle, federated, revokedSerials, revokedIds, tainted: [...tainted].sort() };
  }

  #ownBundle(jwtAuthorities: readonly JwtAuthority[]): TrustBundle {
    return {
      trustDomain: this.own,
      sequence: 0,
      refreshHintSeconds,
      x509Authorities: this.#backend.roots,
      jwtAuthorities,
    };
  }
}

/** The record, and the contents beside it, at one revision. */
function writesOf(sequence: number, digest: string, pieces: readonly Uint8Array[]): Operation[] {
  const record = pieces.length === 0 ? { sequence, digest } : { sequence, digest, pieces: pieces.length };
  return [
    { kind: 'put', key, value: published.encode(record) },
    ...pieces.map((value, index): Operation => ({ kind: 'put', key: `${piecePrefix}${index}`, value })),
  ];
}

function base64(der: Uint8Array): string {
  return Buffer.from(der).toString('base64');
}
