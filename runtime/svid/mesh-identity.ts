import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import { parseServiceName } from '#policies/service-name.ts';
import type { TrustDomain } from '#policies/spiffe-id.ts';
import { readFileBounded } from '../atomic-file.ts';
import { pause as realPause } from '../pause.ts';
import type { ProcessContext } from '../process-context.ts';
import { firstContact, requireProvable } from './first-contact.ts';
import { SuccessionFollower } from './follow-succession.ts';
import { delayAfter, IdentityClient, isLastingRefusal } from './identity-client.ts';
import { IdentityEndpoints } from './identity-endpoints.ts';
import { type JwtSvid, JwtSvids } from './jwt-svids.ts';
import { defaultKeyType, type KeyType } from './key-type.ts';
import type { NodeEvidence } from './node-evidence.ts';
import { type NodeState, openNodeState } from './node-state.ts';
import type { OpenedBundle } from './open-bundle.ts';
import type { Svid, SvidSource } from './svid.ts';
import { SvidRenewer } from './svid-renewer.ts';
import { type SignedTrust, TrustStore } from './trust-store.ts';

/** What a node needs to have SVIDs. */
export interface MeshIdentityOptions {
  /** `https://host:port`; `http://…` only in `dev`: no token, no proof, a warning. Of several processes of one mesh: all, any of them is asked. */
  readonly identityUrl: string | readonly string[];
  /** Services that this node is, by name. */
  readonly services: readonly string[];
  /** Where node key, node id, trust bundle and SVIDs are kept (0700); undefined: nowhere. */
  readonly stateDir: string | undefined;
  /** Needed until the node has joined, or the next. */
  readonly joinTokenFile?: string | undefined;
  /** How the node joins without a join token. */
  readonly attestBy?: NodeEvidence | undefined;
  /** PEM roots by which the identity service is recognised at first contact; or, instead, the pin of a root, `sha256:HEX`. */
  readonly caFile?: string | undefined;
  readonly caPin?: string | undefined;
  readonly nodeName: string;
  readonly context: ProcessContext;
  /** Asked lifetime of SVIDs; the identity service has its bounds. */
  readonly svidTtlSeconds?: number | undefined;
  /** Of the keys of SVIDs; absent: `defaultKeyType`. The node's own key is always EC P-256. */
  readonly keyType?: KeyType;
  /**
   * Hear of a new trust bundle as soon as there is one, at the cost of a connection that waits at the identity service. For the catalog, which tells the
   * proxies; who is told by a catalog asks at the refresh hint.
   */
  readonly awaitBundles?: boolean | undefined;
  /** Stops everything, also an opening that still waits for the identity service. */
  readonly signal: AbortSignal;
  /** How to wait; tests pass their own. */
  readonly pause?: typeof realPause;
}

/** The SVIDs of a node's services and the trust of its trust domain, kept fresh in the background until closed. */
export interface MeshIdentity {
  readonly trust: SignedTrust;
  readonly trustDomain: TrustDomain;
  readonly datacenter: string;
  /** The SVIDs of one of the services named when opening. */
  svid(service: string): SvidSource;
  /**
   * A JWT-SVID of one of those services, for `audience`: one name, if at all possible.
   * @throws MeshError SLV-2011 for another service, else as JwtSvids does
   */
  fetchJwtSvid(service: string, audience: readonly string[], ttlSeconds?: number): Promise<JwtSvid>;
  /**
   * Fetches the trust bundle within a second or two instead of at its refresh hint: for who lost the line by which it is told of new ones, perhaps
   * because of what the new one says. Absent where nothing is fetched.
   */
  refreshTrustSoon?(): void;
  /** Stops renewing and waits until nothing of it runs. */
  close(): Promise<void>;
}

/** Bounds on the bundle's refresh hint. */
const refreshSeconds = { least: 5, most: 3_600 };
const longestSleepMs = 30_000;
/** Of waiting for a bundle: how long at a stretch, how soon again after a failure, and how soon at the least. */
const longestWaitSeconds = 55;
const afterFailureMs = 2_000;
const leastPauseMs = 50;
/** A refresh out of turn comes within this, spread: the whole mesh may want one at the same moment. */
const soonMs = 1_500;

/**
 * Opens the node's identity. What the state directory holds is used as it is, so a start does not need the identity service while the SVIDs are good;
 * otherwise the server is proven (firstContact), the node joins, and an SVID of each service is asked for once. Waits, with retries, for an identity
 * service that is needed and does not answer; rejects with what only an operator can change: SLV-2010 not proven, SLV-2014 refused (the token, the
 * grant), SLV-1002, SLV-1003 and SLV-1005 configuration.
 */
export async function openMeshIdentity(options: MeshIdentityOptions): Promise<MeshIdentity> {
  const endpoints = new IdentityEndpoints(options.identityUrl);
  requireProvable({ ...options, identityUrl: endpoints.preferred });
  const closing = new AbortController();
  const signal = AbortSignal.any([options.signal, closing.signal]);
  const node = new Node({ ...options, signal }, endpoints, await openNodeState(options.stateDir));
  const { trust, datacenter } = await node.establishTrust();
  // Before anything is asked for: the first answer may already bring other roots.
  const stopSaving = trust.onChange(() => node.saveTrust(trust));
  const renewers = await node.obtainSvids(trust, datacenter);
  const renewerOf = (service: string): SvidRenewer => {
    const renewer = renewers.get(service);
    if (renewer === undefined) throw new MeshError('SLV-2011', `This node was not opened as the service ${service}.`);
    return renewer;
  };
  const jwtSvids = node.jwtSvids(trust, datacenter, (service) => renewerOf(service).current);
  const work = [...[...renewers.values()].map((renewer) => renewer.run(signal)), node.refreshTrust(trust)];
  return {
    trust,
    trustDomain: trust.own,
    datacenter,
    svid: renewerOf,
    fetchJwtSvid: (service, audience, ttlSeconds) => jwtSvids.fetch(service, audience, ttlSeconds),
    refreshTrustSoon: () => node.refreshTrustSoon(),
    async close() {
      closing.abort(new Error('closed'));
      stopSaving();
      await Promise.all(work);
      await node.settled();
    },
  };
}

/** The steps of a node's life, in order. */
class Node {
  readonly #options: MeshIdentityOptions;
  readonly #state: NodeState;
  readonly #pause: typeof realPause;
  readonly #endpoints: IdentityEndpoints;
  #nodeId: string | undefined;
  #succession: SuccessionFollower | undefined;
  #saving: Promise<void> = Promise.resolve();
  /** Ends the present wait of refreshTrust. */
  #hurry = new AbortController();

  constructor(options: MeshIdentityOptions, endpoints: IdentityEndpoints, state: NodeState) {
    this.#options = options;
    this.#state = state;
    this.#pause = options.pause ?? realPause;
    this.#endpoints = endpoints;
  }

  /** The trust of the last run, or of first contact. */
  async establishTrust(): Promise<{ trust: TrustStore; datacenter: string }> {
    const { context } = this.#options;
    let opened: OpenedBundle | undefined = await this.#state.loadTrust();
    if (opened === undefined) {
      opened = await this.#persistently(() =>
        this.#endpoints.ask((identityUrl) => firstContact({ ...this.#options, identityUrl })),
      );
      await this.#state.saveTrust(opened.jws);
    }
    const trust = new TrustStore({ opened, clock: context.clock, log: context.log });
    return { trust, datacenter: opened.signer.datacenter };
  }

  /** Joins if that is still to be done, and asks for an SVID of each service that has none that is good. */
  async obtainSvids(trust: TrustStore, datacenter: string): Promise<ReadonlyMap<string, SvidRenewer>> {
    const { context, svidTtlSeconds, keyType = defaultKeyType, services } = this.#options;
    const client = this.#client(trust);
    this.#nodeId = await this.#state.loadNodeId();
    if (this.#nodeId === undefined && !this.#endpoints.isPlain) await this.#join(client);
    const renewers = services.map((service): [string, SvidRenewer] => [
      parseServiceName(service),
      new SvidRenewer({
        service,
        datacenter,
        ttlSeconds: svidTtlSeconds,
        keyType,
        nodeId: () => this.#nodeId,
        client,
        trust,
        state: this.#state,
        context,
        pause: this.#pause,
      }),
    ]);
    for (const [, renewer] of renewers) await this.#begin(renewer, client);
    return new Map(renewers);
  }

  #client(trust: TrustStore): IdentityClient {
    const { context, signal } = this.#options;
    this.#succession ??= new SuccessionFollower({ trust, context, signal });
    const succession = this.#succession;
    return new IdentityClient({
      endpoints: this.#endpoints,
      trust,
      state: this.#state,
      context,
      signal,
      onUnverified: (url) => succession.follow(url),
    });
  }

  /** @param svidOf throws SLV-2011 for what is no service of this node */
  jwtSvids(trust: TrustStore, datacenter: string, svidOf: (service: string) => Svid | undefined): JwtSvids {
    const { context } = this.#options;
    const client = this.#client(trust);
    return new JwtSvids({ client, trust, datacenter, nodeId: () => this.#nodeId, svidOf, context });
  }

  async #begin(renewer: SvidRenewer, client: IdentityClient): Promise<void> {
    await renewer.restore();
    if (renewer.current !== undefined) return;
    try {
      await renewer.renew();
    } catch (error) {
      if (this.#options.signal.aborted) throw error;
      if (
        isMeshError(error, 'SLV-2014') &&
        error.detail['remoteCode'] === 'SLV-2111' &&
        (this.#options.joinTokenFile ?? this.#options.attestBy) !== undefined
      ) {
        // The identity service does not know us (any more), and there is something to join by: join afresh.
        await this.#join(client);
        await renewer.renew();
      } else if (isLastingRefusal(error)) {
        throw error;
      } else {
        const retryInMs = Math.round(renewer.putOff(error));
        this.#options.context.log.warn({ err: error, retryInMs }, 'no SVID yet; still trying');
      }
    }
  }

  async #join(client: IdentityClient): Promise<void> {
    const { attestBy, nodeName, context } = this.#options;
    this.#nodeId =
      attestBy === undefined ? await this.#redeem(client) : await this.#persistently(() => client.attest(attestBy));
    await this.#state.saveNodeId(this.#nodeId);
    context.log.info({ nodeId: this.#nodeId, nodeName, by: attestBy?.kind ?? 'join-token' }, 'joined the mesh');
  }

  async #redeem(client: IdentityClient): Promise<string> {
    const { joinTokenFile, nodeName } = this.#options;
    if (joinTokenFile === undefined) {
      throw new MeshError(
        'SLV-1003',
        `This node has not joined the mesh of ${this.#endpoints.preferred}: give --join-token-file, or one of --attest-….`,
      );
    }
    const token = (await readFileBounded(joinTokenFile, 1_024))?.toString('utf8').trim();
    if (token === undefined) throw new MeshError('SLV-1005', `There is no file ${joinTokenFile} (--join-token-file).`);
    return this.#persistently(() => client.join(token, nodeName));
  }

  /** Fetches the signed bundle at its refresh hint, or waits for it, until closed. A failure waits for the next turn (SPIFFE Federation 5.2.4): no tight loop. */
  async refreshTrust(trust: TrustStore): Promise<void> {
    const { context, signal } = this.#options;
    const client = this.#client(trust);
    // Still trying soon after a failure, where waiting is the rule: a revocation may be among what is missed.
    const nextMs = (failed: boolean): number => {
      if (this.#options.awaitBundles !== true) return this.#nextRefreshMs(trust);
      return context.clock() + (failed ? afterFailureMs * (0.5 + context.random()) : leastPauseMs);
    };
    let dueAtMs = nextMs(false);
    while (!signal.aborted) {
      const nowMs = context.clock();
      if (this.#hurry.signal.aborted) {
        this.#hurry = new AbortController();
        dueAtMs = Math.min(dueAtMs, nowMs + soonMs * (0.1 + context.random()));
      }
      // The second bound: a clock that went back must not put the next turn off.
      const waitMs = Math.min(dueAtMs - nowMs, refreshSeconds.most * 1_100);
      if (waitMs > 0) {
        await this.#pause(Math.min(waitMs, longestSleepMs), AbortSignal.any([signal, this.#hurry.signal]));
        continue;
      }
      let failed = false;
      try {
        const after = { sequence: trust.sequence, waitSeconds: longestWaitSeconds };
        const accepted = await trust.acceptSigned(
          await client.signedBundle(this.#options.awaitBundles === true ? after : undefined),
        );
        failed = !accepted;
      } catch (err) {
        if (!signal.aborted) context.log.warn({ err }, 'trust bundle not refreshed; the one in hand stays in use');
        failed = true;
      }
      dueAtMs = nextMs(failed);
    }
  }

  refreshTrustSoon(): void {
    this.#hurry.abort();
  }

  #nextRefreshMs(trust: TrustStore): number {
    const { clock, random } = this.#options.context;
    const hint = trust.bundleOf(trust.own)?.refreshHintSeconds ?? refreshSeconds.most;
    const seconds = Math.min(refreshSeconds.most, Math.max(refreshSeconds.least, hint));
    return clock() + seconds * 1_000 * (0.9 + 0.2 * random());
  }

  /** Writes the bundle in use, one write after the other. */
  saveTrust(trust: TrustStore): void {
    this.#saving = this.#saving
      .then(() => this.#state.saveTrust(trust.signed))
      .catch((err: unknown) =>
        this.#options.context.log.error({ err }, 'the new trust bundle is in use but could not be stored'),
      );
  }

  /** When all writes have been made. */
  settled(): Promise<void> {
    return this.#saving;
  }

  /** Repeats what fails for want of an answer; gives up on what only an operator can change. */
  async #persistently<T>(attempt: () => Promise<T>): Promise<T> {
    const { context, signal } = this.#options;
    for (let failures = 1; ; failures++) {
      try {
        return await attempt();
      } catch (err) {
        signal.throwIfAborted();
        const passing = isMeshError(err, 'SLV-1006') || (isMeshError(err, 'SLV-2014') && !isLastingRefusal(err));
        if (!passing) throw err;
        const delayMs = delayAfter(err, failures, undefined, context.random);
        context.log.warn({ err, retryInMs: Math.round(delayMs) }, 'the identity service does not answer; still trying');
        // A pause alone does not keep a process alive; at this moment there may be nothing else that does.
        const alive = setInterval(() => undefined, 60_000);
        await this.#pause(delayMs, signal).finally(() => clearInterval(alive));
      }
    }
  }
}
