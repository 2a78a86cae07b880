import type { IdentityConfig } from '#identity/identity-config.ts';
import { vaultName, vaultPath } from '#identity/vault/vault-path.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { OptionSet, OptionValues } from '#runtime/configuration.ts';
import { durationMs, serviceUrl, text } from '#runtime/option-kinds.ts';

/** Where Vault is and what it is called there: the same for the service and for what prepares Vault for it. */
export const vaultPlaceOptions = {
  vaultAddr: { parse: serviceUrl, placeholder: 'url', description: 'Vault or OpenBao; http:// on loopback only' },
  vaultNamespace: { parse: text, placeholder: 'path', description: 'Vault namespace' },
  vaultCaFile: { parse: text, placeholder: 'file', description: 'PEM roots of the Vault server' },
  vaultMount: {
    parse: vaultPath,
    placeholder: 'path',
    default: 'pki_int',
    description: 'PKI mount with the role (vault-leaf)',
  },
  vaultRole: {
    parse: vaultName,
    placeholder: 'name',
    default: 'svid',
    description: 'role that signs SVIDs (vault-leaf)',
  },
  vaultRootMount: {
    parse: vaultPath,
    placeholder: 'path',
    default: 'pki_root',
    description: 'PKI mount with the root that signs the issuing CA (vault-intermediate)',
  },
  vaultRootsFile: {
    parse: text,
    placeholder: 'file',
    description: 'PEM roots that the mesh is to trust; absent: the root of the issuer when first met, then pinned',
  },
  vaultApproleMount: {
    parse: vaultPath,
    placeholder: 'path',
    default: 'approle',
    description: 'mount of the AppRole method',
  },
  vaultRoleIdFile: { parse: text, placeholder: 'file', description: 'AppRole: file with the role id' },
  vaultSecretIdFile: { parse: text, placeholder: 'file', description: 'AppRole: file with the secret id' },
  vaultWrappedSecretIdFile: {
    parse: text,
    placeholder: 'file',
    description: 'AppRole: file with a wrapping token instead; opened once, one that was opened before is an alarm',
  },
} as const satisfies OptionSet;

/** What `serve identity` takes for its Vault backends. Secrets are read from files, and again at each login. */
export const vaultOptions = {
  ...vaultPlaceOptions,
  vaultIssuer: {
    parse: vaultName,
    placeholder: 'ref',
    description: "issuer to sign with (vault-leaf); the mount's default when absent",
  },
  vaultRootIssuer: {
    parse: vaultName,
    placeholder: 'ref',
    description: "issuer that signs the issuing CA (vault-intermediate); the mount's default when absent",
  },
  issuingCaTtl: {
    parse: durationMs,
    placeholder: 'duration',
    default: '7d',
    description: 'life of the issuing CA (vault-intermediate), 1h to 90d; renewed at a third of it',
  },
  vaultTokenFile: {
    parse: text,
    placeholder: 'file',
    description: 'log in with the token in this file (read again when it changes)',
  },
  vaultKubernetesRole: { parse: text, placeholder: 'name', description: 'log in by Kubernetes: the role' },
  vaultKubernetesMount: {
    parse: vaultPath,
    placeholder: 'path',
    default: 'kubernetes',
    description: 'mount of that method',
  },
  vaultKubernetesJwtFile: {
    parse: text,
    placeholder: 'file',
    default: '/var/run/secrets/kubernetes.io/serviceaccount/token',
    description: 'token of the service account',
  },
  vaultJwtRole: { parse: text, placeholder: 'name', description: 'log in by JWT: the role' },
  vaultJwtMount: { parse: vaultPath, placeholder: 'path', default: 'jwt', description: 'mount of that method' },
  vaultJwtFile: { parse: text, placeholder: 'file', description: 'file with the JWT' },
  vaultCertFile: { parse: text, placeholder: 'file', description: 'log in by TLS certificate: PEM chain' },
  vaultKeyFile: { parse: text, placeholder: 'file', description: 'its key, PEM' },
  vaultCertMount: { parse: vaultPath, placeholder: 'path', default: 'cert', description: 'mount of that method' },
  vaultCertRole: { parse: text, placeholder: 'name', description: 'its entry; absent: Vault tries all' },
} as const satisfies OptionSet;

type Backend = Exclude<IdentityConfig['backend'], { kind: 'embedded' }>;
type VaultAuth = Backend['auth'];
type Options = OptionValues<typeof vaultOptions>;

/**
 * The backend that the options describe.
 * @param keptSecretIdFile where an unwrapped secret id is kept
 * @throws MeshError SLV-1003 for what is missing or given twice
 */
export function vaultBackend(kind: Backend['kind'], options: Options, keptSecretIdFile: string): Backend {
  const { vaultAddr: address, vaultNamespace: namespace, vaultCaFile: caFile, vaultRootsFile: rootsFile } = options;
  if (address === undefined) throw new MeshError('SLV-1003', `--vault-addr is needed for --backend ${kind}`);
  const connection = {
    address,
    ...(namespace === undefined ? {} : { namespace }),
    ...(caFile === undefined ? {} : { caFile }),
    ...(rootsFile === undefined ? {} : { rootsFile }),
    auth: vaultAuth(options, keptSecretIdFile),
  };
  switch (kind) {
    case 'vault-leaf': {
      const { vaultMount: mount, vaultRole: role, vaultIssuer: issuerRef } = options;
      return { kind, ...connection, mount, role, ...(issuerRef === undefined ? {} : { issuerRef }) };
    }
    case 'vault-intermediate': {
      const { vaultRootMount: rootMount, vaultRootIssuer: rootIssuerRef, issuingCaTtl } = options;
      const issuingCaTtlSeconds = Math.round(issuingCaTtl / 1_000);
      const issuer = rootIssuerRef === undefined ? {} : { rootIssuerRef };
      return { kind, ...connection, rootMount, ...issuer, issuingCaTtlSeconds };
    }
  }
}

/** The one login for which there is everything. */
function vaultAuth(options: Options, keptSecretIdFile: string): VaultAuth {
  const {
    vaultTokenFile: tokenFile,
    vaultRoleIdFile: roleIdFile,
    vaultSecretIdFile: secretIdFile,
    vaultWrappedSecretIdFile: wrappedSecretIdFile,
    vaultCertFile: certFile,
    vaultKeyFile: keyFile,
    vaultCertRole: certRole,
  } = options;
  const approle = { mount: options.vaultApproleMount, roleIdFile };
  const found: VaultAuth[] = [];
  if (tokenFile !== undefined) found.push({ kind: 'token', tokenFile });
  if (roleIdFile !== undefined && secretIdFile !== undefined)
    found.push({ kind: 'approle', ...approle, roleIdFile, secretIdFile });
  if (roleIdFile !== undefined && wrappedSecretIdFile !== undefined)
    found.push({ kind: 'approle-wrapped', ...approle, roleIdFile, wrappedSecretIdFile, keptSecretIdFile });
  if (options.vaultKubernetesRole !== undefined) {
    const { vaultKubernetesMount: mount, vaultKubernetesRole: role, vaultKubernetesJwtFile: jwtFile } = options;
    found.push({ kind: 'kubernetes', mount, role, jwtFile });
  }
  if (options.vaultJwtRole !== undefined && options.vaultJwtFile !== undefined)
    found.push({
      kind: 'jwt',
      mount: options.vaultJwtMount,
      role: options.vaultJwtRole,
      jwtFile: options.vaultJwtFile,
    });
  if (certFile !== undefined && keyFile !== undefined) {
    const entry = certRole === undefined ? {} : { role: certRole };
    found.push({ kind: 'cert', mount: options.vaultCertMount, certFile, keyFile, ...entry });
  }
  const [auth, ...more] = found;
  if (auth !== undefined && more.length === 0) return auth;
  const which = found.map(({ kind }) => kind).join(' and ');
  throw new MeshError(
    'SLV-1003',
    `give one way to log in to Vault${which === '' ? '' : ` (there are ${which})`}: --vault-token-file; --vault-role-id-file with --vault-secret-id-file or --vault-wrapped-secret-id-file; --vault-kubernetes-role; --vault-jwt-role with --vault-jwt-file; --vault-cert-file with --vault-key-file`,
  );
}
