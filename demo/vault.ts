import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Bao, findBao, startBao } from '#test/bao.ts';
import { prepareVaultPki } from '#test/vault-pki.ts';

/** A real Vault-API server as the CA of the demo: prepared as an operator would, used with a restricted AppRole. */
export interface DemoVault extends AsyncDisposable {
  readonly version: string;
  readonly address: string;
  readonly rootToken: string;
  /** Flags of `serve identity` that make it the CA. */
  readonly identityFlags: readonly string[];
}

/** Starts OpenBao in memory on a free loopback port and prepares its PKI for the trust domain. Throws when no `bao` can be had. */
export async function startVault(directory: string, trustDomain: string): Promise<DemoVault> {
  const found = await findBao();
  if (found.path === undefined) throw new Error(found.reason);
  const bao: Bao = await startBao();
  const pki = await prepareVaultPki(bao, { trustDomain });
  const secret = (name: string, text: string): string => {
    const file = join(directory, name);
    writeFileSync(file, text, { mode: 0o600 });
    chmodSync(file, 0o600);
    return file;
  };
  const health = await bao.call('GET', 'sys/health');
  return {
    version: String(health.body['version']),
    address: bao.address,
    rootToken: bao.rootToken,
    identityFlags: [
      ...['--backend', 'vault-leaf', '--vault-addr', bao.address, '--vault-mount', pki.mount, '--vault-role', pki.role],
      ...['--vault-issuer', pki.issuerRef, '--vault-approle-mount', pki.approleMount],
      ...['--vault-role-id-file', secret('vault.role-id', pki.roleId)],
      ...['--vault-secret-id-file', secret('vault.secret-id', await pki.secretId())],
    ],
    [Symbol.asyncDispose]: () => bao[Symbol.asyncDispose](),
  };
}
