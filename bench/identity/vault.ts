import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { IdentityConfig } from '#identity/main.ts';
import { toPem } from '#policies/der-writer.ts';
import { type Bao, startBao } from '#test/bao.ts';
import { makeCa } from '#test/mini-ca.ts';
import { prepareVaultPki } from '#test/vault-pki.ts';
import type { LoadPlan } from './load.ts';

/** What a reader must know of the server to judge the numbers. */
export const vaultNote =
  'OpenBao, one node, raft storage on disk, TLS, audit device off, service token; root and issuing CA EC P-256, as `selvedge identity vault-setup` makes them';

/** A real OpenBao, prepared by `vault-setup`. */
export interface BenchVault extends AsyncDisposable {
  readonly pid: number;
  /** What it has logged since it was started. */
  log(): string;
  backend(kind: 'vault-leaf' | 'vault-intermediate'): IdentityConfig['backend'];
  /** Its own sign endpoint, asked as `vault-leaf` asks it. `no_store` is our role; `default` is the same role as Vault has it by default, which stores. */
  anchor(role: 'no_store' | 'default'): Pick<LoadPlan, 'url' | 'ca' | 'headers'> & { fields: Record<string, unknown> };
}

/** @param directory for the files that the service reads: the token, the CA of the server's certificate */
export async function openBenchVault(directory: string, trustDomain: string): Promise<BenchVault> {
  const ca = makeCa('vault.test');
  const server = ca.issue({ spiffeId: 'spiffe://vault.test/server', dns: ['localhost'] });
  const bao: Bao = await startBao({ storage: 'disk', tls: { certPem: server.chainPem, keyPem: server.keyPem } });
  try {
    const { plan, mount, issuerRef, role, rootMount, rootIssuerRef } = await prepareVaultPki(bao, { trustDomain });
    const ours = await bao.must('GET', `${mount}/roles/${role}`);
    await bao.must('POST', `${mount}/roles/stored`, { ...ours, no_store: false });
    const paths = [`${mount}/issuer/+/sign/+`, `${plan.rootMount}/root/sign-intermediate`, 'auth/token/renew-self'];
    const policy = paths.map((path) => `path "${path}" { capabilities = ["update"] }`).join('\n');
    const lookUp = 'path "auth/token/lookup-self" { capabilities = ["read"] }';
    await bao.must('POST', 'sys/policies/acl/bench', { policy: `${policy}\n${lookUp}` });
    const made = await bao.call('POST', 'auth/token/create', {
      policies: ['bench'],
      no_default_policy: true,
      period: '24h',
    });
    const token = String((made.body['auth'] as Record<string, unknown>)['client_token']);
    const file = (name: string, text: string): string => {
      const path = join(directory, name);
      writeFileSync(path, text, { mode: 0o600 });
      return path;
    };
    const caPem = toPem('CERTIFICATE', ca.root.certificate);
    const connection = {
      address: bao.tlsAddress,
      caFile: file('vault-ca.pem', caPem),
      auth: { kind: 'token', tokenFile: file('vault-token', token) },
    } as const;
    return {
      pid: bao.pid,
      log: () => bao.log(),
      backend: (kind) =>
        kind === 'vault-leaf'
          ? { kind, ...connection, mount, role, issuerRef }
          : { kind, ...connection, rootMount, rootIssuerRef },
      anchor: (stored) => ({
        url: `${bao.tlsAddress}/v1/${mount}/issuer/${issuerRef}/sign/${stored === 'default' ? 'stored' : role}`,
        ca: caPem,
        headers: { 'x-vault-token': token },
        fields: {
          uri_sans: `spiffe://${trustDomain}/ns/default/dc/dc1/svc/web`,
          ttl: '14400s',
          exclude_cn_from_sans: true,
          format: 'pem',
        },
      }),
      [Symbol.asyncDispose]: () => bao[Symbol.asyncDispose](),
    };
  } catch (error) {
    await bao[Symbol.asyncDispose]();
    throw error;
  }
}
