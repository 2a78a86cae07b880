import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import type { TrustDomain } from '#policies/spiffe-id.ts';
import { formatSpiffeBundle, type TrustBundle } from '#policies/trust-bundle.ts';
import { maxFederated } from '#policies/wire/signed-bundle.ts';
import type { Store } from '#store/contract.ts';
import { storedRecord } from '../stored-record.ts';
import { type Relationship, relationshipOf, relationshipSchema, storedFormOf } from './relationship.ts';

const prefix = 'identity/federation/';
const stored = storedRecord(relationshipSchema);
/** What all foreign bundles together may take of ours: nodes refuse a signed bundle over 4 MiB. */
const maxBytesInAll = 1_048_576;

type Known = Map<TrustDomain, { readonly relationship: Relationship; readonly modRevision: number }>;

/** The trust domains that we federate with, and the last bundle of each: in the store, and as of the last change in memory. */
export class Relationships {
  readonly #store: Store;
  readonly #known: Known;

  private constructor(store: Store) {
    this.#store = store;
    this.#known = new Map();
  }

  /** @throws MeshError SLV-2143 when the store holds what is no relationship */
  static async load(store: Store): Promise<Relationships> {
    const relationships = new Relationships(store);
    await relationships.reload();
    return relationships;
  }

  /** Takes in what other processes have changed; what they have not stays the same object. @throws as load */
  async reload(): Promise<void> {
    const { kvs, revision } = await this.#store.range(prefix);
    const names = new Set(kvs.map((kv) => kv.key.slice(prefix.length)));
    for (const [name, { modRevision }] of this.#known)
      if (!names.has(name) && modRevision <= revision) this.#known.delete(name);
    for (const kv of kvs) {
      const relationship = relationshipOf(stored.decode(kv));
      const known = this.#known.get(relationship.trustDomain);
      // What was written here since is newer than what was read.
      if (known !== undefined && known.modRevision >= kv.modRevision) continue;
      this.#known.set(relationship.trustDomain, { relationship, modRevision: kv.modRevision });
    }
  }

  /** In the order of their names. */
  get list(): readonly Relationship[] {
    return [...this.#known.values()]
      .map(({ relationship }) => relationship)
      .sort((a, b) => (a.trustDomain < b.trustDomain ? -1 : 1));
  }

  /** What is to be published: one bundle for each trust domain of which one is held. */
  get bundles(): readonly TrustBundle[] {
    return this.list.flatMap(({ held }) => (held.kind === 'none' ? [] : [held.bundle]));
  }

  bundleOf(trustDomain: TrustDomain): TrustBundle | undefined {
    return this.bundles.find((bundle) => bundle.trustDomain === trustDomain);
  }

  /** @throws MeshError SLV-2192 */
  get(trustDomain: TrustDomain): Relationship {
    const known = this.#known.get(trustDomain);
    if (known === undefined) throw new MeshError('SLV-2192', `There is no federation with ${trustDomain}.`);
    return known.relationship;
  }

  /** @throws MeshError SLV-2191 when there is one with this trust domain, SLV-2190 when there are too many or their bundles too large */
  async create(relationship: Relationship): Promise<void> {
    const { trustDomain } = relationship;
    if (this.#known.size >= maxFederated)
      throw new MeshError('SLV-2190', `A trust domain federates with ${maxFederated} others at most.`);
    this.#requireRoom(relationship);
    const key = prefix + trustDomain;
    const { succeeded, revision } = await this.#store.txn({
      compare: [{ kind: 'absent', key }],
      success: [{ kind: 'put', key, value: stored.encode(storedFormOf(relationship)) }],
    });
    if (!succeeded) throw new MeshError('SLV-2191', `There is a federation with ${trustDomain} already.`);
    this.#known.set(trustDomain, { relationship, modRevision: revision });
  }

  /** @throws MeshError SLV-2192 */
  async delete(trustDomain: TrustDomain): Promise<void> {
    this.get(trustDomain);
    await this.#store.delete(prefix + trustDomain);
    this.#known.delete(trustDomain);
  }

  /**
   * Takes a bundle that was fetched, if the relationship is still the one it was fetched for.
   * @returns whether it says something new
   * @throws MeshError SLV-2193 when it is older than the one held, or too large to be carried
   */
  async take(fetchedFor: Relationship, bundle: TrustBundle, fetchedAtMs: number): Promise<boolean> {
    const { trustDomain } = bundle;
    const known = this.#known.get(trustDomain);
    if (known?.relationship !== fetchedFor) return false;
    const before = fetchedFor.held.kind === 'none' ? undefined : fetchedFor.held.bundle;
    // Without a sequence (0) nothing says which is newer, but that it is what the endpoint says now.
    if (before !== undefined && bundle.sequence !== 0 && bundle.sequence < before.sequence) {
      throw new MeshError(
        'SLV-2193',
        `The sequence ${bundle.sequence} of the bundle of ${trustDomain} is older than ${before.sequence}, which is in use.`,
      );
    }
    const relationship: Relationship = { ...fetchedFor, held: { kind: 'fetched', bundle, fetchedAtMs } };
    this.#requireRoom(relationship);
    const isNew = before === undefined || textOf(before) !== textOf(bundle);
    if (!isNew && fetchedFor.held.kind === 'fetched') {
      // When it was last fetched is not worth a write a minute.
      this.#known.set(trustDomain, { relationship, modRevision: known.modRevision });
      return false;
    }
    const key = prefix + trustDomain;
    const { succeeded, revision } = await this.#store.txn({
      compare: [{ kind: 'mod-revision', key, equals: known.modRevision }],
      success: [{ kind: 'put', key, value: stored.encode(storedFormOf(relationship)) }],
    });
    // Deleted meanwhile: what was fetched for it must not bring it back.
    if (!succeeded) return false;
    this.#known.set(trustDomain, { relationship, modRevision: revision });
    return isNew;
  }

  #requireRoom(relationship: Relationship): void {
    const others = this.list.filter(({ trustDomain }) => trustDomain !== relationship.trustDomain);
    const bundles = [...others, relationship].flatMap(({ held }) => (held.kind === 'none' ? [] : [held.bundle]));
    const bytes = bundles.reduce((sum, bundle) => sum + textOf(bundle).length, 0);
    if (bytes > maxBytesInAll)
      throw new MeshError('SLV-2193', `All foreign bundles together are larger than ${maxBytesInAll} bytes.`);
  }
}

function textOf(bundle: TrustBundle): string {
  return JSON.stringify(formatSpiffeBundle(bundle));
}

/** A refusal in words, for the view of a relationship. */
export function reasonOf(error: unknown): string {
  return isMeshError(error) ? error.message : 'an internal error; the log has its cause';
}
