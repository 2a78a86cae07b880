import { z } from 'zod';
import type { SpiffeId } from '#policies/spiffe-id.ts';
import { type FeedAck, type FeedResource, feedMessageSchema } from '#policies/wire/feed.ts';
import { meshRequest, meshStream } from '#runtime/mesh-http.ts';
import { pause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { MeshIdentity } from '#runtime/svid/mesh-identity.ts';
import { isCatalogOf } from '../catalog-identity.ts';
import type { Rejected, ServiceView } from './service-view.ts';

const connectTimeoutMs = 10_000;
const firstRetryMs = 200;
const longestRetryMs = 15_000;
/** Bounds of the interval at which the catalog promises lines. */
const keepAliveBoundsMs = [100, 600_000] as const;
/** Refusals named in one acknowledgement; the log has them all. */
const maxRejectedTold = 100;

/** How the feed of one service stands, for the admin API and metrics. */
export type FeedState =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'live' }
  | { readonly kind: 'lost'; readonly reason: string };

/**
 * Follows the catalog's feed for one local service, for ever: applies what comes, saves it, acknowledges it, and connects again with jittered back-off when the
 * line breaks or falls silent. Traffic never waits for it.
 */
export class FeedClient {
  state: FeedState = { kind: 'connecting' };
  readonly #options: FeedClientOptions;
  #proxyId: string;
  readonly #expect: (id: SpiffeId) => boolean;
  readonly #ended: Promise<void>;
  /** The newest acknowledgement that the catalog does not have yet. */
  #ack: FeedAck | undefined;
  #acking = false;
  /** Closes the present line. */
  #hangUp: (() => void) | undefined;
  /** Another set of upstreams is to be followed than the present line carries. */
  #stale = false;

  constructor(options: FeedClientOptions) {
    this.#options = options;
    this.#proxyId = options.proxyId;
    this.#expect = isCatalogOf(options.identity.trustDomain);
    this.#ended = this.#follow();
  }

  /** The upstreams to follow have changed: connects anew, at once where the line is there. What comes together meanwhile costs one connection. */
  renew(): void {
    this.#stale = true;
    this.#hangUp?.();
  }

  /**
   * A successor follows under the name of this proxy: from here on this line has another one, or each would close the other's. @returns takes that back
   */
  stepAside(): () => void {
    const { proxyId, context } = this.#options;
    // There may be another that still drains.
    this.#proxyId = `${proxyId}~${Buffer.from(context.randomBytes(4)).toString('hex')}`;
    this.renew();
    return () => {
      this.#proxyId = proxyId;
      this.renew();
    };
  }

  /** Resolves once the signal has aborted and the line is closed. */
  async ended(): Promise<void> {
    await this.#ended;
  }

  async #follow(): Promise<void> {
    const { signal, context, log } = { ...this.#options, log: this.#options.context.log };
    let failures = 0;
    while (!signal.aborted) {
      try {
        await this.#connectOnce(() => {
          failures = 0;
        });
        if (this.#stale) continue;
        this.state = { kind: 'lost', reason: 'the catalog closed the feed' };
      } catch (error) {
        if (signal.aborted) return;
        this.state = { kind: 'lost', reason: error instanceof Error ? error.message : String(error) };
        if (failures === 0)
          log.warn({ err: error, service: this.#options.view.service }, 'feed lost: going on with what is known');
      }
      // The catalog may have cut the line because of a bundle that it could not tell any more: one that revokes our SVID.
      this.#options.identity.refreshTrustSoon?.();
      failures += 1;
      const ceiling = Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(failures, 10));
      await pause(ceiling * (0.5 + context.random() / 2), signal);
    }
  }

  async #connectOnce(onLive: () => void): Promise<void> {
    const { catalogUrl, context, signal } = this.#options;
    this.#stale = false;
    const stream = await meshStream({
      url: `${catalogUrl}/v1/mesh/feed?${this.#subscription()}`,
      ...this.#credentials(),
      clock: context.clock,
      timeoutMs: connectTimeoutMs,
      signal,
    });
    let silent = false;
    // A dead line that TCP has not noticed. Until the catalog has said how often it speaks, as long as for connecting.
    const silence = (ms: number) =>
      setTimeout(() => {
        silent = true;
        stream.close();
      }, ms);
    let watchdog = silence(connectTimeoutMs);
    this.#hangUp = () => stream.close();
    if (this.#stale) stream.close();
    try {
      if (stream.status !== 200) throw new Error(`the catalog answered ${stream.status} to the feed`);
      for await (const line of stream.lines) {
        const keepAliveMs = await this.#take(JSON.parse(line));
        if (keepAliveMs === undefined) {
          watchdog.refresh();
          continue;
        }
        clearTimeout(watchdog);
        watchdog = silence(keepAliveMs * 2);
        this.state = { kind: 'live' };
        onLive();
        this.#options.onLive();
      }
      if (silent) throw new Error('the catalog fell silent');
    } finally {
      this.#hangUp = undefined;
      clearTimeout(watchdog);
      stream.close();
    }
  }

  /** What to ask for now. What of the view is no upstream any more is forgotten. */
  #subscription(): URLSearchParams {
    const { view } = this.#options;
    const upstreams = this.#options.upstreams();
    view.keepUpstreams(new Set(upstreams));
    const continues = view.revision > 0 && view.origin === 'feed';
    return new URLSearchParams([
      ['proxy', this.#proxyId],
      ['service', view.service],
      ...upstreams.map((name) => ['upstream', name]),
      ['limits', '1'],
      ...(this.#options.meshNames ? [['names', 'mesh']] : []),
      ...(continues ? [['since', String(view.revision)]] : []),
      ...(continues ? upstreams.filter((name) => !view.upstreams.has(name)).map((name) => ['new', name]) : []),
    ]);
  }

  /** @returns of a hello: how often a line will come, ms */
  async #take(line: unknown): Promise<number | undefined> {
    const parsed = feedMessageSchema.safeParse(line);
    if (!parsed.success) return this.#takeWhatIsUnderstood(line);
    const { data: message } = parsed;
    if (message.type === 'hello') return boundedKeepAlive(message.keepAliveMs);
    if (message.type === 'update') await this.#apply(message, []);
    else this.#confirm(message.revision);
    return undefined;
  }

  /** All that was sent is here, up to this revision. */
  #confirm(revision: number): void {
    const { view, context, onApplied } = this.#options;
    view.confirmedAtMs = context.clock();
    view.revision = revision;
    onApplied();
    if (this.#ack !== undefined) this.#acknowledge(this.#ack);
  }

  /**
   * A newer catalog may send what this version does not know. Each resource is judged on its own: those understood are applied, the others are named in the
   * acknowledgement and what was in force for them stays.
   */
  async #takeWhatIsUnderstood(line: unknown): Promise<number | undefined> {
    const message = unknownLine.safeParse(line);
    if (!message.success) throw new Error('the catalog sent a line that is not of the feed');
    const { type, keepAliveMs, revision } = message.data;
    if (type === 'hello' && keepAliveMs !== undefined) return boundedKeepAlive(keepAliveMs);
    if (type === 'keepalive' && revision !== undefined) this.#confirm(revision);
    if (type !== 'update') return undefined;
    const { resources, reset } = message.data;
    if (revision === undefined || resources === undefined) throw new Error('the catalog sent half an update');
    const known: FeedResource[] = [];
    const rejected: Rejected[] = [];
    for (const resource of resources) {
      // Of these, each is parsed strictly where it is applied, which keeps what was in force when that fails.
      if (knownKinds.has(resource.kind)) known.push(resource as FeedResource);
      else
        rejected.push({ kind: resource.kind.slice(0, 64), name: resource.name.slice(0, 256), reason: 'unknown kind' });
    }
    await this.#apply({ revision, reset: reset === true, resources: known }, rejected);
    return undefined;
  }

  async #apply(
    update: { revision: number; reset: boolean; resources: readonly FeedResource[] },
    alreadyRejected: Rejected[],
  ): Promise<void> {
    const { view, identity, context, onApplied } = this.#options;
    for (const resource of update.resources) {
      if (resource.kind !== 'bundle') continue;
      const accepted = typeof resource.jws === 'string' && (await identity.trust.acceptSigned(resource.jws));
      if (!accepted)
        context.log.warn(
          { trustDomain: resource.name },
          'trust bundle in the feed not accepted: not signed by identity, or older',
        );
    }
    const rejected = [...alreadyRejected, ...view.apply(update, 'feed')];
    for (const { kind, name, reason } of rejected)
      context.log.error({ kind, name, reason }, 'resource in the feed refused');
    view.confirmedAtMs = context.clock();
    onApplied();
    this.#acknowledge({
      proxy: this.#proxyId,
      revision: update.revision,
      rejected: rejected.slice(0, maxRejectedTold),
      bundleSequence: identity.trust.sequence,
    });
  }

  /** One acknowledgement is under way at a time; of those that wait only the newest is sent. One that fails goes again with the next line. */
  #acknowledge(ack: FeedAck): void {
    this.#ack = ack;
    if (this.#acking) return;
    this.#acking = true;
    this.#sendAcks()
      .catch((error: unknown) => this.#options.context.log.debug({ err: error }, 'feed not acknowledged'))
      .finally(() => {
        this.#acking = false;
      });
  }

  async #sendAcks(): Promise<void> {
    while (this.#ack !== undefined) {
      const ack = this.#ack;
      const { status } = await meshRequest({
        url: `${this.#options.catalogUrl}/v1/mesh/feed/ack`,
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(ack),
        ...this.#credentials(),
        clock: this.#options.context.clock,
        timeoutMs: connectTimeoutMs,
        signal: this.#options.signal,
      });
      if (status >= 500) throw new Error(`the catalog answered ${status}`);
      if (status >= 400) this.#options.context.log.warn({ status }, 'the catalog refused an acknowledgement');
      if (this.#ack === ack) this.#ack = undefined;
    }
  }

  #credentials(): Pick<Parameters<typeof meshRequest>[0], 'expect' | 'svid' | 'trust'> {
    const { catalogUrl, identity, view } = this.#options;
    if (!catalogUrl.startsWith('https:')) return {};
    const svid = identity.svid(view.service).current;
    return { expect: this.#expect, trust: identity.trust, ...(svid === undefined ? {} : { svid }) };
  }
}

/** Kinds of resources that this version knows. */
const knownKinds: ReadonlySet<string> = new Set([
  'intentions',
  'upstream',
  'mesh-names',
  'limits',
  'bundle',
] satisfies FeedResource['kind'][]);

/** What must at least be there of a line that a newer catalog sends. */
const unknownLine = z.looseObject({
  type: z.string(),
  keepAliveMs: z.number().optional(),
  revision: z.number().optional(),
  reset: z.boolean().optional(),
  resources: z.array(z.looseObject({ kind: z.string(), name: z.string() })).optional(),
});

function boundedKeepAlive(ms: number): number {
  const [least, most] = keepAliveBoundsMs;
  return Math.min(most, Math.max(least, ms));
}

export interface FeedClientOptions {
  readonly view: ServiceView;
  /** Whether to ask for where names of the mesh lead. */
  readonly meshNames: boolean;
  /** What to follow now; `renew` when it changed. */
  readonly upstreams: () => readonly string[];
  readonly catalogUrl: string;
  readonly identity: MeshIdentity;
  readonly context: ProcessContext;
  readonly signal: AbortSignal;
  /** Names this proxy and service to the catalog: `<node>/<service>`. */
  readonly proxyId: string;
  /** The line is there, for the first time or again. */
  readonly onLive: () => void;
  /** After every change of the view: save it. */
  readonly onApplied: () => void;
}
