import type { TrustDomain } from '#policies/spiffe-id.ts';
import { type DnsNameRule, vaultDomains } from '../dns-name-rule.ts';

/** What Vault or OpenBao is to be prepared for. All names are parts of paths: `vaultPath` bounds them. */
export interface SetupPlan {
  readonly mode: 'vault-leaf' | 'vault-intermediate';
  readonly trustDomain: TrustDomain;
  /** PKI mount with the root. */
  readonly rootMount: string;
  /** Issuer in it that signs the issuing CA. */
  readonly rootIssuer: string;
  /** Whether that issuer must be there; else it is generated when it is not. */
  readonly rootExists: boolean;
  /** Issuer of the root mount that this root is to follow, and that certifies it for who knows only the old one; absent: none. */
  readonly predecessor?: string | undefined;
  /** PKI mount with issuing CA and role; `vault-leaf` only, as are the next four. */
  readonly mount: string;
  readonly issuer: string;
  readonly role: string;
  /** DNS names that the role lets into SVIDs; by default none. */
  readonly dnsNames: readonly DnsNameRule[];
  /** Life of the issuing CA that Vault keeps, in seconds. */
  readonly issuingCaTtlSeconds: number;
  readonly approleMount: string;
  readonly approle: string;
  readonly policy: string;
}

/** What setup-plan takes where nothing else is said. */
export const setupDefaults = {
  rootMount: 'pki_root',
  rootIssuer: 'selvedge-root',
  mount: 'pki_int',
  issuer: 'selvedge-issuing',
  role: 'svid',
  dnsNames: [],
  issuingCaTtlSeconds: 365 * 86_400,
  approleMount: 'approle',
  approle: 'selvedge',
  policy: 'selvedge-identity',
} as const;

const rootTtlSeconds = 3_650 * 86_400;

/** A path (as in a policy: `+` stands for one segment) and what must be allowed on it. */
export interface Right {
  readonly path: string;
  readonly capability: 'read' | 'update';
}

/** What the identity service needs, and nothing more (issuers are read without a token). */
export function neededRights(plan: SetupPlan): readonly Right[] {
  const signing =
    plan.mode === 'vault-leaf'
      ? // Any issuer of the mount: a successor needs no new policy.
        `${plan.mount}/issuer/+/sign/${plan.role}`
      : `${plan.rootMount}/root/sign-intermediate`;
  return [
    { path: signing, capability: 'update' },
    { path: 'auth/token/renew-self', capability: 'update' },
    { path: 'auth/token/lookup-self', capability: 'read' },
  ];
}

/** What it must not be able to do: the ways around the role, and to more power. */
export function forbiddenPaths(plan: SetupPlan): readonly string[] {
  const { rootMount, rootIssuer, mount, issuer, role, policy } = plan;
  const ofRoot = [
    `${rootMount}/sign-verbatim`,
    `${rootMount}/issuer/${rootIssuer}/sign-verbatim`,
    `${rootMount}/root/generate/internal`,
    `${rootMount}/issuer/${rootIssuer}`,
    `sys/policies/acl/${policy}`,
  ];
  if (plan.mode === 'vault-intermediate') return ofRoot;
  return [
    `${mount}/sign-verbatim`,
    `${mount}/sign-verbatim/${role}`,
    `${mount}/issuer/${issuer}/sign-verbatim`,
    `${mount}/roles/${role}`,
    `${rootMount}/root/sign-intermediate`,
    ...ofRoot,
  ];
}

/** The minimal policy, HCL. */
export function minimalPolicy(plan: SetupPlan): string {
  return neededRights(plan)
    .map(({ path, capability }) => `path "${path}" { capabilities = ["${capability}"] }\n`)
    .join('');
}

/**
 * The role that signs SVIDs, one per trust domain; durations in seconds. It never takes a name from the request. Of keys it takes any: Vault has no list
 * of kinds, so which are good is checked before it is asked (certificate-request.ts).
 */
export function svidRole({
  trustDomain,
  dnsNames,
}: Pick<SetupPlan, 'trustDomain' | 'dnsNames'>): Readonly<Record<string, unknown>> {
  return {
    allowed_uri_sans: [`spiffe://${trustDomain}/*`],
    allow_any_name: false,
    allowed_domains: vaultDomains(dnsNames),
    allow_bare_domains: dnsNames.some(({ kind }) => kind === 'name'),
    allow_glob_domains: dnsNames.some(({ kind }) => kind === 'per-service'),
    allow_subdomains: false,
    allow_wildcard_certificates: false,
    enforce_hostnames: true,
    use_csr_sans: false,
    use_csr_common_name: false,
    require_cn: false,
    cn_validations: ['disabled'],
    allow_ip_sans: false,
    allow_localhost: false,
    key_type: 'any',
    key_bits: 0,
    key_usage: ['DigitalSignature'],
    server_flag: true,
    client_flag: true,
    basic_constraints_valid_for_non_ca: true,
    not_before_duration: 30,
    ttl: 3_600,
    max_ttl: 86_400,
    not_after_bound: 'forbid',
    not_before_bound: 'forbid',
    no_store: true,
    generate_lease: false,
  };
}

/** The AppRole by which the service logs in; durations in seconds. */
export function appRole(plan: SetupPlan): Readonly<Record<string, unknown>> {
  return { token_policies: [plan.policy], token_no_default_policy: true, token_ttl: 1_200, token_max_ttl: 3_600 };
}

/** Name of the root; the same in all its certificates. */
export function rootName({ rootIssuer, trustDomain }: SetupPlan): Readonly<Record<string, unknown>> {
  return namesOf(trustDomain, `Root ${rootIssuer}`);
}

/** A root that signs issuing CAs, with room for a cross-signed successor between. */
export function rootRequest(plan: SetupPlan): Readonly<Record<string, unknown>> {
  return {
    ...rootName(plan),
    key_type: 'ec',
    key_bits: 256,
    issuer_name: plan.rootIssuer,
    ttl: `${rootTtlSeconds}s`,
    max_path_length: 2,
    // By it the key is named when the predecessor is asked to certify it.
    ...(plan.predecessor === undefined ? {} : { key_name: plan.rootIssuer }),
  };
}

/** Who slept through a root rotation is led to the new root for this long: nodes come back within 30 days. */
export const crossTtlSeconds = 30 * 86_400;

/** Name of the issuer that is the new root as certified by the old one. */
export function crossIssuer({ rootIssuer, predecessor }: SetupPlan): string {
  return `${rootIssuer}-by-${predecessor ?? ''}`;
}

/** Name and key of a CA of the trust domain. */
export function caNames({ trustDomain }: SetupPlan, name: string): Readonly<Record<string, unknown>> {
  return { ...namesOf(trustDomain, name), key_type: 'ec', key_bits: 256 };
}

function namesOf(trustDomain: TrustDomain, name: string): Readonly<Record<string, unknown>> {
  return {
    common_name: `${name} of ${trustDomain}`.slice(0, 64),
    uri_sans: `spiffe://${trustDomain}`,
    exclude_cn_from_sans: true,
  };
}

/** Limits of the mounts, in seconds. */
export const mountTtlSeconds = { root: rootTtlSeconds, issuing: 365 * 86_400 } as const;
