import { z } from 'zod';
import { readSecretFile } from './secret-file.ts';
import { VaultError, type VaultTransport } from './transport.ts';
import { vaultPath } from './vault-path.ts';
import { WrappedSecretId, type WrappedSecretIdFiles } from './wrapped-secret-id.ts';

/** How the service proves itself to Vault. Files are read again at every login, so a new secret needs no restart. */
export type VaultAuth =
  | { readonly kind: 'token'; readonly tokenFile: string }
  | { readonly kind: 'approle'; readonly mount: string; readonly roleIdFile: string; readonly secretIdFile: string }
  | ({ readonly kind: 'approle-wrapped'; readonly roleIdFile: string } & WrappedSecretIdFiles)
  | { readonly kind: 'kubernetes' | 'jwt'; readonly mount: string; readonly role: string; readonly jwtFile: string }
  | {
      readonly kind: 'cert';
      readonly mount: string;
      /** Name of the entry to match; absent: Vault tries all. */
      readonly role?: string;
      /** PEM files, shown in TLS in every call: Vault binds the token to the certificate. */
      readonly certFile: string;
      readonly keyFile: string;
    };

/** A token as Vault granted it. */
export interface Lease {
  readonly token: string;
  /** 0: it never expires. */
  readonly ttlMs: number;
  readonly renewable: boolean;
}

/** A way to tokens. */
export interface VaultLogin {
  readonly kind: VaultAuth['kind'];
  /** One login. Throws VaultError, MeshError SLV-1005 (files), SLV-2145 (a wrapped secret was tampered with). */
  obtain(): Promise<Lease>;
  /** True when the token was given by file and the file holds another by now. Throws SLV-1005. */
  isSuperseded(lease: Lease): Promise<boolean>;
}

const seconds = z.number().int().min(0).max(315_360_000);
const lookupSchema = z.looseObject({ ttl: seconds, renewable: z.boolean() });
const grantSchema = z.looseObject({
  client_token: z.string().min(1).max(4_096),
  lease_duration: seconds,
  renewable: z.boolean(),
});

/** The login of a kind; nothing is sent yet. */
export function vaultLogin(transport: VaultTransport, auth: VaultAuth): VaultLogin {
  if (auth.kind === 'token') return tokenFileLogin(transport, auth.tokenFile);
  const credentials = credentialsOf(transport, auth);
  return {
    kind: auth.kind,
    async obtain() {
      const body = await credentials();
      const path = vaultPath('auth', auth.mount, 'login');
      const reply = await transport.write(path, body, { secrets: Object.values(body) });
      const granted = grantSchema.safeParse(reply.auth);
      if (!granted.success) throw new VaultError('the answer to the login is not of the known form');
      const { client_token: token, lease_duration: ttl, renewable } = granted.data;
      return { token, ttlMs: ttl * 1_000, renewable };
    },
    isSuperseded: async () => false,
  };
}

function tokenFileLogin(transport: VaultTransport, tokenFile: string): VaultLogin {
  return {
    kind: 'token',
    async obtain() {
      const token = await readSecretFile(tokenFile);
      const found = lookupSchema.safeParse((await transport.read('auth/token/lookup-self', { token })).data);
      if (!found.success) throw new VaultError('the answer to lookup-self is not of the known form');
      return { token, ttlMs: found.data.ttl * 1_000, renewable: found.data.renewable };
    },
    isSuperseded: async ({ token }) => (await readSecretFile(tokenFile)) !== token,
  };
}

type LoginBody = () => Promise<Readonly<Record<string, string>>>;

function credentialsOf(transport: VaultTransport, auth: Exclude<VaultAuth, { kind: 'token' }>): LoginBody {
  switch (auth.kind) {
    case 'approle':
      return async () => ({
        role_id: await readSecretFile(auth.roleIdFile),
        secret_id: await readSecretFile(auth.secretIdFile),
      });
    case 'approle-wrapped': {
      const wrapped = new WrappedSecretId(auth);
      return async () => ({
        role_id: await readSecretFile(auth.roleIdFile),
        secret_id: await wrapped.read(transport),
      });
    }
    case 'kubernetes':
    case 'jwt':
      return async () => ({ role: auth.role, jwt: await readSecretFile(auth.jwtFile) });
    case 'cert':
      return async () => (auth.role === undefined ? {} : { name: auth.role });
  }
}
