import type { SignedBundleSource } from '#runtime/consul-ca.ts';
import { signBundle } from '#runtime/svid/sign-bundle.ts';
import type { MiniCa } from './mini-ca.ts';

/** A signed bundle that a test changes, as identity would. */
export class SignedBundles implements SignedBundleSource {
  #jws: string | undefined;
  readonly #listeners = new Set<() => void>();

  /** @param signer whose issuing CA signs; its root is the active one */
  async publish(signer: MiniCa, others: readonly MiniCa[], sequence: number, nowMs = Date.now()): Promise<void> {
    const svid = signer.issue({ spiffeId: `spiffe://${signer.trustDomain}/ns/default/dc/dc1/svc/selvedge-identity` });
    const x509Authorities = [signer, ...others].map(({ root }) => root.certificate);
    const bundle = { ...signer.bundle, sequence, x509Authorities };
    this.#jws = await signBundle({ bundle, revoked: { serials: [], spiffeIds: [] }, svid, nowMs });
    for (const listener of this.#listeners) listener();
  }

  current(): string | undefined {
    return this.#jws;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
