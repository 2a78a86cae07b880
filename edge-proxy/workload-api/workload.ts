import { status } from '@grpc/grpc-js';
import type { TrustDomain } from '#policies/spiffe-id.ts';
import { trustDomainOf } from '#policies/spiffe-id.ts';
import type { TrustBundle } from '#policies/trust-bundle.ts';
import type { Svid, SvidSource } from '#runtime/svid/svid.ts';
import type { TrustSource } from '#runtime/svid/trust.ts';
import { RpcError } from './rpc-error.ts';

/** What one workload may know now. */
export interface WorkloadState {
  readonly svid: Svid;
  /** Of the SVID's own trust domain. */
  readonly bundle: TrustBundle;
  /** Of the others, side by side: never merged. */
  readonly federated: readonly TrustBundle[];
}

/** The workload behind a socket: one service, its SVID and whom it trusts. Who reaches the socket is it. */
export class Workload {
  readonly service: string;
  readonly #svid: SvidSource;
  readonly #trust: TrustSource;

  constructor(options: { service: string; svid: SvidSource; trust: TrustSource }) {
    this.service = options.service;
    this.#svid = options.svid;
    this.#trust = options.trust;
  }

  /**
   * The whole state now.
   * @throws RpcError UNAVAILABLE while there is no SVID that is valid (the client tries again), PERMISSION_DENIED when it has been revoked
   */
  state(): WorkloadState {
    const svid = this.#svid.current;
    if (svid === undefined) throw new RpcError(status.UNAVAILABLE, `there is no valid SVID of ${this.service} yet`);
    if (this.#trust.isRevoked(svid.serialHex, svid.spiffeId))
      throw new RpcError(status.PERMISSION_DENIED, 'no identity issued: it has been revoked');
    const own = trustDomainOf(svid.spiffeId);
    const bundle = this.#trust.bundleOf(own);
    if (bundle === undefined) throw new RpcError(status.UNAVAILABLE, `the trust bundle of ${own} is not there yet`);
    return { svid, bundle, federated: this.#bundlesOf((this.#trust.federated ?? []).filter((name) => name !== own)) };
  }

  /** Calls `listener` when the state may be another. @returns the end of it */
  onChange(listener: () => void): () => void {
    const ends = [this.#svid.onChange(listener), this.#trust.onChange(listener)];
    return () => {
      for (const end of ends) end();
    };
  }

  #bundlesOf(names: readonly TrustDomain[]): readonly TrustBundle[] {
    return names.flatMap((name) => this.#trust.bundleOf(name) ?? []);
  }
}

/** A trust domain as a SPIFFE ID, by which the Workload API and SDS name bundles. */
export function trustDomainId(trustDomain: TrustDomain): string {
  return `spiffe://${trustDomain}`;
}
