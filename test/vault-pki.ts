import { openVaultTransport } from '#identity/vault/transport.ts';
import { type SetupPlan, setupDefaults } from '#identity/vault-setup/setup-plan.ts';
import { runVaultSetup } from '#identity/vault-setup/vault-setup.ts';
import { parseTrustDomain } from '#policies/spiffe-id.ts';
import type { Bao } from './bao.ts';

/** A server of a test, prepared by the very code of `selvedge identity vault-setup`. */
export interface VaultPki {
  readonly plan: SetupPlan;
  readonly rootMount: string;
  readonly rootIssuerRef: string;
  readonly mount: string;
  readonly role: string;
  readonly issuerRef: string;
  /** Mount of the AppRole method. */
  readonly approleMount: string;
  readonly roleId: string;
  /** PEM of the root, as an operator would pin it. */
  readonly rootPem: string;
  /** Name of the minimal policy. */
  readonly policy: string;
  /** A fresh secret id of the AppRole. */
  secretId(): Promise<string>;
  /** A service token that may do what the policy says. */
  token(options?: { ttl?: string; explicitMaxTtl?: string }): Promise<string>;
}

/** A plan with short names. */
export function testPlan(mode: SetupPlan['mode'], trustDomain: string): SetupPlan {
  const names = { rootIssuer: 'r1', issuer: 'i1', trustDomain: parseTrustDomain(trustDomain) };
  return { ...setupDefaults, ...names, mode, rootExists: false };
}

/** Mounts, root, issuing CA and role (`vault-leaf`), policy and AppRole. */
export async function prepareVaultPki(
  bao: Bao,
  options: {
    trustDomain: string;
    mode?: SetupPlan['mode'];
    dnsNames?: SetupPlan['dnsNames'];
    /** Other names than those of `testPlan`, or a predecessor. */
    plan?: Partial<SetupPlan>;
    tokenTtl?: string;
    tokenMaxTtl?: string;
  },
): Promise<VaultPki> {
  const names = { ...testPlan(options.mode ?? 'vault-leaf', options.trustDomain), ...options.plan };
  const plan = { ...names, dnsNames: options.dnsNames ?? [] };
  const { rootMount, rootIssuer, mount, role, issuer, approleMount, approle, policy } = plan;
  const transport = openVaultTransport({ address: bao.address, timeoutMs: 10_000 });
  const admin = { transport, token: bao.rootToken };
  const { roleId, rootPem } = await runVaultSetup(admin, plan, { files: {}, clock: Date.now });
  transport.close();
  const approlePath = `auth/${approleMount}/role/${approle}`;
  if (options.tokenTtl !== undefined || options.tokenMaxTtl !== undefined) {
    const { tokenTtl = '20m', tokenMaxTtl = '1h' } = options;
    await bao.must('POST', approlePath, { token_ttl: tokenTtl, token_max_ttl: tokenMaxTtl });
  }
  return {
    plan,
    rootMount,
    rootIssuerRef: rootIssuer,
    mount,
    role,
    issuerRef: issuer,
    approleMount,
    roleId,
    rootPem,
    policy,
    secretId: async () => String((await bao.must('POST', `${approlePath}/secret-id`, {}))['secret_id']),
    async token(of = {}) {
      const made = await bao.call('POST', 'auth/token/create', {
        policies: [policy],
        no_default_policy: true,
        ttl: of.ttl ?? '1h',
        ...(of.explicitMaxTtl === undefined ? {} : { explicit_max_ttl: of.explicitMaxTtl }),
      });
      return String((made.body['auth'] as Record<string, unknown>)['client_token']);
    },
  };
}
