import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { resolveConfiguration } from '#runtime/configuration.ts';
import { vaultBackend, vaultOptions } from './vault-options.ts';

const kept = '/data/vault-secret-id.json';
const backendOf = async (kind: Parameters<typeof vaultBackend>[0], flags: Readonly<Record<string, string>>) =>
  vaultBackend(kind, await resolveConfiguration(vaultOptions, flags, {}, Object.keys(vaultOptions)), kept);
const vaultAddr = 'http://127.0.0.1:8200';

describe('Vault options', () => {
  const logins: readonly [flags: Readonly<Record<string, string>>, auth: object][] = [
    [{ vaultTokenFile: 't' }, { kind: 'token', tokenFile: 't' }],
    [
      { vaultRoleIdFile: 'r', vaultSecretIdFile: 's', vaultApproleMount: 'm' },
      { kind: 'approle', mount: 'm', roleIdFile: 'r', secretIdFile: 's' },
    ],
    [
      { vaultRoleIdFile: 'r', vaultWrappedSecretIdFile: 'w' },
      {
        kind: 'approle-wrapped',
        mount: 'approle',
        roleIdFile: 'r',
        wrappedSecretIdFile: 'w',
        keptSecretIdFile: kept,
      },
    ],
    [
      { vaultKubernetesRole: 'k' },
      {
        kind: 'kubernetes',
        mount: 'kubernetes',
        role: 'k',
        jwtFile: '/var/run/secrets/kubernetes.io/serviceaccount/token',
      },
    ],
    [
      { vaultJwtRole: 'j', vaultJwtFile: 'f' },
      { kind: 'jwt', mount: 'jwt', role: 'j', jwtFile: 'f' },
    ],
    [
      { vaultCertFile: 'c', vaultKeyFile: 'k' },
      { kind: 'cert', mount: 'cert', certFile: 'c', keyFile: 'k' },
    ],
    [
      { vaultCertFile: 'c', vaultKeyFile: 'k', vaultCertRole: 'e' },
      { kind: 'cert', mount: 'cert', certFile: 'c', keyFile: 'k', role: 'e' },
    ],
  ];
  for (const [flags, auth] of logins) {
    test(`${Object.keys(flags).join(', ')}: one login`, async () => {
      for (const kind of ['vault-leaf', 'vault-intermediate'] as const)
        assert.deepEqual((await backendOf(kind, { vaultAddr, ...flags })).auth, auth);
    });
  }

  const refused: readonly [flags: Readonly<Record<string, string>>, says: RegExp][] = [
    [{ vaultTokenFile: 't' }, /--vault-addr is needed/],
    [{ vaultAddr }, /give one way to log in to Vault:/],
    [{ vaultAddr, vaultRoleIdFile: 'r' }, /give one way/],
    [{ vaultAddr, vaultCertFile: 'c' }, /give one way/],
    [{ vaultAddr, vaultTokenFile: 't', vaultKubernetesRole: 'k' }, /there are token and kubernetes/],
    [
      { vaultAddr, vaultRoleIdFile: 'r', vaultSecretIdFile: 's', vaultWrappedSecretIdFile: 'w' },
      /there are approle and approle-wrapped/,
    ],
  ];
  for (const [flags, says] of refused) {
    test(`${Object.keys(flags).join(', ')}: refused`, async () => {
      await assert.rejects(
        () => backendOf('vault-leaf', flags),
        (error) => isMeshError(error, 'SLV-1003') && says.test(error.message),
      );
    });
  }

  test('each backend gets its own places', async () => {
    const flags = { vaultAddr, vaultTokenFile: 't', vaultNamespace: 'team', vaultIssuer: 'i', vaultRootIssuer: 'r' };
    const common = { address: vaultAddr, namespace: 'team', auth: { kind: 'token', tokenFile: 't' } };
    assert.deepEqual(await backendOf('vault-leaf', flags), {
      kind: 'vault-leaf',
      ...common,
      mount: 'pki_int',
      role: 'svid',
      issuerRef: 'i',
    });
    assert.deepEqual(await backendOf('vault-intermediate', { ...flags, issuingCaTtl: '2d' }), {
      kind: 'vault-intermediate',
      ...common,
      rootMount: 'pki_root',
      rootIssuerRef: 'r',
      issuingCaTtlSeconds: 172_800,
    });
  });
});
