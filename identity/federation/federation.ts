import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import type { TrustDomain } from '#policies/spiffe-id.ts';
import { defaultRefreshHintSeconds, type TrustBundle } from '#policies/trust-bundle.ts';
import type { CreateFederation } from '#policies/wire/federation-api.ts';
import { pause as realPause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { IdentityAudit } from '../audit-events.ts';
import { fetchBundle } from './fetch-bundle.ts';
import { newRelationship, type Relationship } from './relationship.ts';
import { type Relationships, reasonOf } from './relationships.ts';

/** What federation is made of. */
export interface FederationParts {
  readonly relationships: Relationships;
  /** Our own bundle, and how it is published anew. */
  readonly trust: { readonly bundle: TrustBundle; refresh(): Promise<void> };
  /** PEM; more roots of Web PKI for https_web endpoints. */
  readonly webRoots: string | undefined;
  readonly audit: IdentityAudit;
  readonly context: ProcessContext;
  /** Other processes change relationships, too. */
  readonly isShared?: boolean;
  /** How to wait; tests pass their own. */
  readonly pause?: typeof realPause;
}

/** An attempt that failed. */
export interface Failure {
  readonly atMs: number;
  readonly reason: string;
}

/** Bounds on what their refresh hints ask of us. */
const refreshSeconds = { least: 10, most: 86_400 };
const longestSleepMs = 5_000;

/**
 * Keeps the bundles of the trust domains that we federate with: each fetched at its refresh hint; what can't be had, or is not to be believed, leaves the last one
 * in use until the next turn (SPIFFE Federation 5.2.4: no tight loop). What is new is published with our own bundle, side by side.
 */
export class Federation {
  readonly relationships: Relationships;
  readonly #parts: FederationParts;
  readonly #due = new Map<TrustDomain, number>();
  readonly #failures = new Map<TrustDomain, Failure>();
  readonly #underWay = new Map<TrustDomain, Promise<void>>();
  readonly #stopping = new AbortController();

  constructor(parts: FederationParts) {
    this.#parts = parts;
    this.relationships = parts.relationships;
  }

  /** Makes a relationship and tries it once. It stands also when that fails. @throws MeshError SLV-2190, SLV-2191 */
  async create(asked: CreateFederation, by: string): Promise<Relationship> {
    const { trust, audit, context } = this.#parts;
    const relationship = newRelationship(asked, trust.bundle.trustDomain, context.clock());
    const { trustDomain, url, profile } = relationship;
    if (this.#parts.isShared === true) await this.relationships.reload();
    await this.relationships.create(relationship);
    await audit.append({ event: 'federation-created', trustDomain, url, profile: profile.kind, remote: by });
    await trust.refresh();
    await this.refresh(trustDomain);
    return this.relationships.get(trustDomain);
  }

  /** Ends a relationship: their SVIDs are valid no more. @throws MeshError SLV-2192 */
  async delete(trustDomain: TrustDomain, by: string): Promise<void> {
    if (this.#parts.isShared === true) await this.relationships.reload();
    await this.relationships.delete(trustDomain);
    this.#due.delete(trustDomain);
    this.#failures.delete(trustDomain);
    await this.#parts.trust.refresh();
    await this.#parts.audit.append({ event: 'federation-deleted', trustDomain, remote: by });
  }

  /** Why the last attempt failed, if it did. */
  failureOf(trustDomain: TrustDomain): Failure | undefined {
    return this.#failures.get(trustDomain);
  }

  /** Fetches one bundle now; a failure is kept for `failureOf`, not thrown. @throws MeshError SLV-2192 */
  refresh(trustDomain: TrustDomain): Promise<void> {
    const relationship = this.relationships.get(trustDomain);
    const underWay = this.#underWay.get(trustDomain);
    if (underWay !== undefined) return underWay;
    const fetching = this.#fetch(relationship).finally(() => this.#underWay.delete(trustDomain));
    this.#underWay.set(trustDomain, fetching);
    return fetching;
  }

  /** Fetches each bundle when it is due, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { context, pause = realPause } = this.#parts;
    const stop = (): void => this.#stopping.abort();
    signal.addEventListener('abort', stop, { once: true });
    while (!signal.aborted) {
      const nowMs = context.clock();
      if (this.#parts.isShared === true) await this.#lookAtOthers();
      const due = this.relationships.list.filter(({ trustDomain }) => (this.#due.get(trustDomain) ?? 0) <= nowMs);
      // In short sleeps by the wall clock: a machine that slept notices, and so does a relationship that was made meanwhile.
      if (due.length === 0) await pause(longestSleepMs, signal);
      else await Promise.all(due.map(({ trustDomain }) => this.refresh(trustDomain)));
    }
    await Promise.all(this.#underWay.values());
  }

  async #lookAtOthers(): Promise<void> {
    try {
      await this.relationships.reload();
    } catch (err) {
      if (!isMeshError(err)) throw err;
      this.#parts.context.log.warn({ err }, 'relationships that other processes changed are not known yet');
    }
  }

  async #fetch(relationship: Relationship): Promise<void> {
    const { trust, audit, context, webRoots } = this.#parts;
    const { trustDomain } = relationship;
    const own = trust.bundle;
    try {
      const bundle = await fetchBundle(relationship, {
        bundleOf: (domain) => (domain === own.trustDomain ? own : this.relationships.bundleOf(domain)),
        webRoots,
        clock: context.clock,
        signal: this.#stopping.signal,
      });
      if (await this.relationships.take(relationship, bundle, context.clock())) {
        await audit.append({ event: 'federated-bundle-changed', trustDomain, bundleSequence: bundle.sequence });
        context.log.info({ trustDomain, sequence: bundle.sequence }, 'federated bundle changed');
        await trust.refresh();
      }
      this.#failures.delete(trustDomain);
    } catch (err) {
      if (this.#stopping.signal.aborted) return;
      const failure = new MeshError('SLV-2193', `The bundle of ${trustDomain} was not taken: ${reasonOf(err)}`, {
        cause: err,
      });
      this.#failures.set(trustDomain, { atMs: context.clock(), reason: reasonOf(err) });
      context.log[isMeshError(err) ? 'warn' : 'error']({ err: failure }, 'federated bundle: the last one stays in use');
    } finally {
      this.#due.set(trustDomain, context.clock() + this.#intervalMs(trustDomain));
    }
  }

  #intervalMs(trustDomain: TrustDomain): number {
    const hint = this.relationships.bundleOf(trustDomain)?.refreshHintSeconds ?? defaultRefreshHintSeconds;
    const seconds = Math.min(refreshSeconds.most, Math.max(refreshSeconds.least, hint));
    return seconds * 1_000 * (0.9 + 0.1 * this.#parts.context.random());
  }
}
