import type { SourcePolicy } from '#policies/intention-decision.ts';
import { type SpiffeId, serviceIdentityOf, trustDomainOf } from '#policies/spiffe-id.ts';
import type { VerifiedPeer } from '#runtime/svid/verify-peer.ts';
import type { InboundView, ServiceView } from '../view/service-view.ts';

/**
 * A verified peer at the other end of a connection, and what the local service's intentions say of it. Made from the leaf and nothing else.
 */
export class Caller {
  readonly peer: VerifiedPeer;
  /** The service that it is, when it is one of our own trust domain. */
  readonly service: string | undefined;
  readonly #view: ServiceView;
  #inbound: InboundView | undefined;
  #policy: SourcePolicy | undefined;

  constructor(peer: VerifiedPeer, view: ServiceView, own: SpiffeId) {
    this.peer = peer;
    const identity = serviceIdentityOf(peer.spiffeId);
    // Intentions name services of the own trust domain; a peer's come with federation.
    this.service =
      identity !== undefined && trustDomainOf(peer.spiffeId) === trustDomainOf(own) ? identity.service : undefined;
    this.#view = view;
  }

  /** For metrics and logs: the service, or `unknown`. */
  get label(): string {
    return this.service ?? 'unknown';
  }

  /** What holds for this caller now; undefined when the local service knows no intentions yet, which denies. Cheap when nothing changed. */
  get policy(): SourcePolicy | undefined {
    const inbound = this.#view.inbound;
    if (inbound !== this.#inbound) {
      this.#inbound = inbound;
      this.#policy = inbound?.intentions.forSource(this.service);
    }
    return this.#policy;
  }
}
