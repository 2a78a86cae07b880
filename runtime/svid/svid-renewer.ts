import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import { serviceIdentityOf } from '#policies/spiffe-id.ts';
import type { Issued } from '#policies/wire/identity-api.ts';
import type { pause } from '../pause.ts';
import type { ProcessContext } from '../process-context.ts';
import { makeCsr } from './csr.ts';
import { delayAfter, type IdentityClient } from './identity-client.ts';
import { generateKey, type KeyType } from './key-type.ts';
import { privateKeyPem } from './node-key.ts';
import { type NodeState, type ObtainedSvid, svidOfPem } from './node-state.ts';
import { certificatesOfPem } from './pem.ts';
import { hasteMs, type RenewalPlan, renewalPlan } from './renewal-plan.ts';
import { type Svid, type SvidSource, svidHolder } from './svid.ts';
import { isToBeRenewed } from './tainted.ts';
import type { TrustStore } from './trust-store.ts';
import { clockSkewMs, verifyChain } from './verify-peer.ts';

/** What one service's SVID is obtained by. */
export interface SvidRenewerOptions {
  readonly service: string;
  readonly datacenter: string;
  readonly ttlSeconds: number | undefined;
  readonly keyType: KeyType;
  /** The node's id; undefined in `dev`, where nobody joins. */
  readonly nodeId: () => string | undefined;
  readonly client: IdentityClient;
  readonly trust: TrustStore;
  readonly state: NodeState;
  readonly context: ProcessContext;
  readonly pause: typeof pause;
}

/**
 * Keeps one service's SVID fresh, for ever: from the state directory if it is still good, renewed at a third of its life, retried until it works, also
 * long after it lapsed. Everything is decided by the wall clock at each waking, so a clock that jumps or a machine that slept changes nothing else.
 */
export class SvidRenewer implements SvidSource {
  readonly #options: SvidRenewerOptions;
  readonly #holder = svidHolder();
  #obtained: ObtainedSvid | undefined;
  #plan: RenewalPlan | undefined;
  #failures = 0;
  /** How long `run` waits before it asks again. */
  #putOffMs = 0;
  /** Ends the present sleep. */
  #wake = new AbortController();

  constructor(options: SvidRenewerOptions) {
    this.#options = options;
  }

  get current(): Svid | undefined {
    const svid = this.#holder.current;
    return svid !== undefined && this.#options.context.clock() <= svid.notAfterMs ? svid : undefined;
  }

  onChange(listener: (svid: Svid) => void): () => void {
    return this.#holder.onChange(listener);
  }

  /** Takes what the state directory holds, if it is this service's, verifies and is still valid. */
  async restore(): Promise<void> {
    const { state, service, context } = this.#options;
    const stored = await state.loadSvid(service);
    if (stored === undefined) return;
    try {
      this.#check(stored.svid);
      this.#use(stored);
    } catch (err) {
      if (!isMeshError(err)) throw err;
      context.log.info({ err, service }, 'the SVID of the last run is of no more use');
    }
  }

  /** Obtains a new SVID now. Rejects as IdentityClient does, or with SLV-2013 when what came back is not what was asked for; then nothing changes. */
  async renew(): Promise<void> {
    const { service, ttlSeconds, keyType, client, trust, state, context } = this.#options;
    const key = await generateKey(keyType);
    const request = { service, csr: makeCsr(key), ...(ttlSeconds === undefined ? {} : { ttlSeconds }) };
    // Every other attempt goes without the SVID in hand: should that be what the server refuses, the node's key alone may do.
    const svid = this.#failures % 2 === 0 ? this.current : undefined;
    const issued = await client.issue(request, { nodeId: this.#options.nodeId(), svid });
    await trust.acceptSigned(issued.bundle); // first: it may hold the very root that the new chain needs
    const obtained = { svid: this.#receive(issued, privateKeyPem(key)), obtainedAtMs: context.clock() };
    this.#use(obtained);
    this.#failures = 0;
    context.log.info({ spiffeId: issued.spiffeId, serial: issued.serial, notAfter: issued.notAfter }, 'SVID obtained');
    try {
      await state.saveSvid(service, obtained);
    } catch (err) {
      context.log.error({ err, service }, 'the new SVID is in use but could not be stored'); // a full disk must not end the mesh
    }
  }

  /**
   * Counts a failure of `renew`: `run` asks again when the service said (Retry-After), or after a while.
   * @returns after how long
   */
  putOff(error: unknown): number {
    this.#failures += 1;
    this.#putOffMs = delayAfter(error, this.#failures, this.#lifetimeMs(), this.#options.context.random);
    return this.#putOffMs;
  }

  /** Renews until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { context, service, pause, trust } = this.#options;
    const stop = trust.onChange(() => this.#hasten());
    signal.addEventListener('abort', stop, { once: true });
    this.#hasten();
    while (!signal.aborted) {
      if (this.#putOffMs > 0) {
        const delayMs = this.#putOffMs;
        this.#putOffMs = 0;
        await pause(delayMs, signal);
        continue;
      }
      const waitMs = this.#untilDueMs();
      if (waitMs > 0) {
        if (this.#wake.signal.aborted) this.#wake = new AbortController();
        const woken = AbortSignal.any([signal, this.#wake.signal]);
        await pause(Math.min(waitMs, this.#plan?.longestSleepMs ?? waitMs), woken);
        continue;
      }
      try {
        await this.renew();
      } catch (err) {
        if (signal.aborted) return;
        const lapsed = this.current === undefined;
        const delayMs = this.putOff(err);
        const facts = {
          err,
          service,
          failures: this.#failures,
          retryInMs: Math.round(delayMs),
          validUntil: this.#validUntil(),
        };
        if (lapsed) context.log.error(facts, 'no SVID: this service can neither call nor be called; still trying');
        else context.log.warn(facts, 'SVID not renewed; the one in hand stays in use');
      }
    }
  }

  #use(obtained: ObtainedSvid): void {
    this.#obtained = obtained;
    this.#plan = renewalPlan(
      { obtainedAtMs: obtained.obtainedAtMs, notAfterMs: obtained.svid.notAfterMs },
      this.#options.context.random,
    );
    this.#holder.set(obtained.svid);
    this.#hasten();
  }

  /** Renews soon what the trust bundle asks to be renewed: not all at the same moment, and not later than it would have been. */
  #hasten(): void {
    const { trust, context } = this.#options;
    const [obtained, plan, lifetimeMs] = [this.#obtained, this.#plan, this.#lifetimeMs()];
    if (obtained === undefined || plan === undefined || lifetimeMs === undefined) return;
    if (!isToBeRenewed(obtained.svid, trust, context.clock())) return;
    // A fresh one that is tainted (it was under way, or the server is confused) is not asked for again in a loop.
    const soonestMs = obtained.obtainedAtMs + hasteMs(lifetimeMs, () => 1);
    const dueAtMs = Math.max(soonestMs, context.clock() + hasteMs(lifetimeMs, context.random));
    if (dueAtMs >= plan.dueAtMs) return;
    this.#plan = { ...plan, dueAtMs };
    this.#wake.abort();
  }

  /** 0: now. A clock that went back to before the SVID began makes it due as well. */
  #untilDueMs(): number {
    const nowMs = this.#options.context.clock();
    if (this.#obtained === undefined || this.#plan === undefined) return 0;
    return nowMs < this.#obtained.svid.notBeforeMs - clockSkewMs ? 0 : Math.max(0, this.#plan.dueAtMs - nowMs);
  }

  #lifetimeMs(): number | undefined {
    return this.#obtained === undefined ? undefined : this.#obtained.svid.notAfterMs - this.#obtained.obtainedAtMs;
  }

  #validUntil(): string | undefined {
    return this.#obtained === undefined ? undefined : new Date(this.#obtained.svid.notAfterMs).toISOString();
  }

  /** Never used unverified (invariant 2), whoever issued it. */
  #receive(issued: Issued, keyPem: string): Svid {
    try {
      const svid = svidOfPem(issued.chain, keyPem);
      this.#check(svid);
      return svid;
    } catch (cause) {
      const reason = cause instanceof MeshError ? cause.message : 'it cannot be read';
      throw new MeshError('SLV-2013', `The SVID issued for ${this.#options.service} is refused: ${reason}`, { cause });
    }
  }

  /** The asked identity, our key, and a chain that a peer with our bundle accepts. */
  #check(svid: Svid): void {
    const { service, datacenter, trust, context } = this.#options;
    const chain = certificatesOfPem(svid.chainPem);
    verifyChain({ chain, trust, nowMs: context.clock() });
    const is = serviceIdentityOf(svid.spiffeId);
    if (is?.service !== service || is.trustDomain !== trust.own || is.datacenter !== datacenter) {
      throw new MeshError('SLV-2013', `it is of ${svid.spiffeId}, not of ${service} in ${datacenter} of ${trust.own}`);
    }
    const leaf = new X509Certificate(chain[0] ?? new Uint8Array());
    if (!createPublicKey(createPrivateKey(svid.keyPem)).equals(leaf.publicKey))
      throw new MeshError('SLV-2013', 'it is of another key');
  }
}
