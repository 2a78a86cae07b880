import type { DnsName } from './protocol.ts';

/** One instance of a service, as DNS sees it. */
export interface DnsInstance {
  /** Name of its node; undefined where that is no DNS name. */
  readonly node: DnsName | undefined;
  readonly tags: readonly string[];
  readonly port: number;
  readonly status: 'passing' | 'warning' | 'critical';
  /** Of SRV (Consul: Weights.Passing or Weights.Warning, by status). */
  readonly weight: number;
  readonly reach: Reach;
}

/** Where an instance is reached: at its node, at an address of its own, or at a host that other DNS servers know. */
export type InstanceAddress =
  | { readonly kind: 'node' | 'own'; readonly ip: Uint8Array; readonly hex: string }
  | { readonly kind: 'host'; readonly host: string };

/** The addresses of a host with both families are told by tags (Consul: lan_ipv4, lan_ipv6); without them all three are the same. */
export interface Reach {
  readonly address: InstanceAddress;
  readonly forA: InstanceAddress;
  readonly forAaaa: InstanceAddress;
}

/** A node, as DNS sees it. */
export interface DnsNode {
  readonly name: string;
  readonly reach: Reach;
  readonly meta: Readonly<Record<string, string>>;
}

/** Whom an address belongs to. */
export interface AddressHolder {
  readonly kind: 'node' | 'service';
  readonly name: string;
}

/**
 * What DNS answers from: a catalog's state, or a copy of it. Names are asked in lower case and found whatever their case is. Answers are at hand: nothing
 * here waits, but for `fetchMissing`, so a store that is gone costs freshness only.
 */
export interface DnsView {
  /** Grows with each change: the serial of the zones. */
  readonly revision: number;
  /** False: what is answered may be old. */
  readonly current: boolean;
  instances(service: string): readonly DnsInstance[];
  /** Proxies of a service and instances native to the mesh. */
  meshInstances(service: string): readonly DnsInstance[];
  node(name: string): DnsNode | undefined;
  /** @param hex 8 or 32 lower-case digits */
  holderOf(hex: string): AddressHolder | undefined;
  /** The address of 127.64.0.0/10 at which edge proxies listen for a service, once it has one. */
  meshAddress(service: string): Uint8Array | undefined;
  /**
   * Of a view that has not everything at hand: what was looked for in this turn and is not there yet. Resolves once it is, rejects when it can't be had;
   * undefined: nothing is missing. Absent: everything is always there.
   */
  fetchMissing?(): Promise<void> | undefined;
}
