import { MeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';
import { parseServiceName } from '#policies/service-name.ts';
import { parseTrustDomain, type TrustDomain } from '#policies/spiffe-id.ts';
import type { SocketAddress } from '#runtime/socket-address.ts';
import type { CaConfig } from './backends/ca-config.ts';
import type { DnsNameRule } from './dns-name-rule.ts';
import type { WebCertificate } from './federation/web-endpoint.ts';
import type { AttestationConfig } from './node-attestation/attestation-config.ts';
import type { Rate } from './rate-limit.ts';
import type { Rotation } from './rotation/rotation.ts';
import type { RotationTimes } from './rotation/rotation-times.ts';

/** Bounds on the lifetime of SVIDs, in seconds (blueprint section 6). */
export const svidTtlBounds = { floor: 60, default: 14_400, ceiling: 86_400 } as const;

/** What the process is told. */
export interface IdentityConfig {
  /** IP literal to listen on. */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** CA keys, own SVID, audit log, operator token. Undefined: in memory only (`dev`). */
  readonly dataDir: string | undefined;
  readonly trustDomain: string;
  readonly datacenter: string;
  /** Lifetime of SVIDs where nothing else is asked: 60 to 86,400. */
  readonly svidTtlSeconds: number;
  /** DNS names that may stand in SVIDs, where a request asks for them; absent: none. */
  readonly dnsNames?: readonly DnsNameRule[];
  /** `dev`: plain HTTP, no tokens, no attestation; on loopback only. */
  readonly open: boolean;
  /** Another than the one in use takes over from it, in a rotation of the root. */
  readonly backend: CaConfig;
  /** Where it takes over: at once, before the service has an SVID of its own. The one in use is lost, and with it nobody would wait for anything. */
  readonly takeoverNow?: boolean;
  /** Bundle endpoint for other trust domains, and how theirs are met; absent: no endpoint behind Web PKI. */
  readonly federation?: {
    /** Serves the bundle, and nothing else, behind a certificate of Web PKI. */
    readonly endpoint?: { readonly address: SocketAddress; readonly certificate: WebCertificate } | undefined;
    /** PEM file; more roots of Web PKI for the endpoints of others. */
    readonly webRootsFile?: string | undefined;
  };
  /** Where several processes share a store: the operator token of this data directory holds for all of them from now on. */
  readonly replaceOperatorToken?: boolean;
  /** What attests nodes besides join tokens; absent: nothing. */
  readonly attestation?: readonly AttestationConfig[];
  /** Rates of joining and issuing; absent: `defaultRates`. */
  readonly rates?: IdentityRates;
  /** Wait for the disk before an issue is answered. Off: the operating system writes the audit log when it does. */
  readonly auditSync?: boolean;
  /** Asked during a rotation who has the new trust bundle; absent: nobody is, it waits by time. Of a catalog that starts later: what says its URL once it is there. */
  readonly catalogUrl?: string | (() => string | undefined) | undefined;
  /** What differs from `defaultRotationTimes`. */
  readonly rotation?: Partial<RotationTimes>;
  /** Called after each state of a rotation was written down and synced. */
  readonly onRotation?: (rotation: Rotation) => void;
}

/** Per caller (address) and for all together. */
export interface IdentityRates {
  readonly join: { readonly perCaller: Rate; readonly global: Rate };
  readonly issue: { readonly perCaller: Rate; readonly global: Rate };
}

/** Room for a cold start of 2,000 proxies within a minute; a caller is a host, which may carry a hundred services. */
export const defaultRates: IdentityRates = {
  join: { perCaller: { perSecond: 5, burst: 100 }, global: { perSecond: 100, burst: 2_000 } },
  issue: { perCaller: { perSecond: 50, burst: 500 }, global: { perSecond: 500, burst: 2_000 } },
};

/** The configuration, checked. */
export type CheckedConfig = Omit<IdentityConfig, 'trustDomain'> & { readonly trustDomain: TrustDomain };

/** @throws MeshError SLV-1002, SLV-5001, SLV-5002 naming what can't be */
export function checkConfig(config: IdentityConfig): CheckedConfig {
  const { svidTtlSeconds: ttl, open, host } = config;
  if (!Number.isInteger(ttl) || ttl < svidTtlBounds.floor || ttl > svidTtlBounds.ceiling) {
    throw new MeshError(
      'SLV-1002',
      `A lifetime of SVIDs of ${ttl} s can not be: ${svidTtlBounds.floor} s to ${svidTtlBounds.ceiling} s are.`,
    );
  }
  if (open && !/^(?:127\.\d{1,3}\.\d{1,3}\.\d{1,3}|::1)$/.test(host)) {
    throw new MeshError(
      'SLV-1002',
      `Without tokens and TLS the service listens on loopback only, not on ${quote(host)}.`,
    );
  }
  parseServiceName(config.datacenter);
  return { ...config, trustDomain: parseTrustDomain(config.trustDomain) };
}
