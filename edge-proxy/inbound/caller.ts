import type { SourcePolicy } from '#policies/intention-decision.ts';
import { type SpiffeId, serviceIdentityOf, trustDomainOf } from '#policies/spiffe-id.ts';
import type { VerifiedPeer } from '#runtime/svid/verify-peer.ts';
import type { SourceCalls } from '../calls/recent-calls.ts';
import type { EdgeTraffic } from '../traffic.ts';
import type { InboundView } from '../view/service-view.ts';
import type { InboundContext } from './inbound-context.ts';

/**
 * A verified peer at the other end of a connection, and what the local service's intentions say of it. Made from the leaf and nothing else.
 */
export class Caller {
  readonly peer: VerifiedPeer;
  /** The service that it is, when it is one of our own trust domain. */
  readonly service: string | undefined;
  readonly #context: InboundContext;
  #edge: EdgeTraffic | undefined;
  #calls: SourceCalls | undefined;
  #inbound: InboundView | undefined;
  #policy: SourcePolicy | undefined;

  constructor(peer: VerifiedPeer, context: InboundContext, own: SpiffeId) {
    this.peer = peer;
    const identity = serviceIdentityOf(peer.spiffeId);
    // Intentions name services of the own trust domain; a peer's come with federation.
    this.service =
      identity !== undefined && trustDomainOf(peer.spiffeId) === trustDomainOf(own) ? identity.service : undefined;
    this.#context = context;
  }

  /** What its requests and connections are counted in, known from the first of them on. */
  get edge(): EdgeTraffic {
    const { traffic, view } = this.#context;
    this.#edge ??= traffic.edge('inbound', this.service ?? 'unknown', view.service);
    return this.#edge;
  }

  /** What it has called, to be told to the catalog. */
  get calls(): SourceCalls {
    this.#calls ??= this.#context.calls.from(this.service);
    return this.#calls;
  }

  /** What holds for this caller now; undefined when the local service knows no intentions yet, which denies. Cheap when nothing changed. */
  get policy(): SourcePolicy | undefined {
    const inbound = this.#context.view.inbound;
    if (inbound !== this.#inbound) {
      this.#inbound = inbound;
      this.#policy = inbound?.intentions.forSource(this.service);
    }
    return this.#policy;
  }
}
