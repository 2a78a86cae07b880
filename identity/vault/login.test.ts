import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { inspect } from 'node:util';
import { SignJWT } from 'jose';
import { pino } from 'pino';
import { toPem } from '#policies/der-writer.ts';
import type { ErrorCode } from '#policies/errors/catalogue.ts';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { systemContext } from '#runtime/process-context.ts';
import { type Bao, findBao, startBao } from '#test/bao.ts';
import { makeCa } from '#test/mini-ca.ts';
import { waitFor } from '#test/wait-for.ts';
import { openVaultConnection, type VaultConnection, type VaultConnectionConfig } from './connection.ts';
import type { VaultAuth } from './login.ts';

const { skip } = await findBao();
/** Everything that was logged or thrown in this file, as deep as it goes. */
let spoken = '';
const listener = new Writable({
  write(chunk, _encoding, done) {
    spoken += String(chunk);
    done();
  },
});
const deep = (error: unknown): string => inspect(error, { depth: 20, showHidden: true });
const context = systemContext(pino({ level: 'trace', serializers: { err: deep } }, listener));
/** What must never be spoken. */
const secrets = new Set<string>();
const secret = (text: string): string => {
  secrets.add(text);
  return text;
};

const code =
  (expected: ErrorCode, says: RegExp = /./) =>
  (error: unknown) => {
    spoken += deep(error);
    assert.ok(isMeshError(error, expected), deep(error));
    assert.match(error.message, says);
    return true;
  };

const ca = makeCa('vault.test');
const serverSvid = ca.issue({ spiffeId: 'spiffe://vault.test/server', dns: ['localhost'] });

describe('logging in, on a real bao', { skip }, () => {
  let bao: Bao;
  let folder = '';
  const file = (name: string): string => join(folder, name);
  const write = async (name: string, text: string): Promise<string> => {
    await writeFile(file(name), text);
    return file(name);
  };
  before(async () => {
    bao = await startBao({ tls: { certPem: serverSvid.chainPem, keyPem: serverSvid.keyPem } });
    folder = await mkdtemp(join(tmpdir(), 'selvedge-login-'));
    await bao.must('POST', 'sys/policies/acl/self', {
      policy:
        'path "auth/token/lookup-self" { capabilities = ["read"] }\npath "auth/token/renew-self" { capabilities = ["update"] }',
    });
    await bao.must('POST', 'sys/auth/approle', { type: 'approle' });
    await bao.must('POST', 'auth/approle/role/selvedge', { token_policies: ['self'], token_ttl: '20m' });
    await write('role-id', String((await bao.must('GET', 'auth/approle/role/selvedge/role-id'))['role_id']));
  });
  after(async () => {
    await bao?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  /** Logs in, runs, closes. */
  async function withVault<T>(
    auth: VaultAuth,
    run: (vault: VaultConnection) => Promise<T>,
    more: Partial<VaultConnectionConfig> = {},
  ): Promise<T> {
    const vault = openVaultConnection({ address: bao.address, timeoutMs: 20_000, auth, ...more }, context);
    try {
      return await run(vault);
    } finally {
      vault.close();
    }
  }
  /** The token of a session. */
  const tokenOf = async ({ session }: VaultConnection): Promise<string> =>
    secret(await session.call(async (token) => token));
  /** A token works: Vault knows it. */
  const lookUp = ({ session, transport }: VaultConnection): Promise<unknown> =>
    session.call((token) => transport.read('auth/token/lookup-self', { token }));
  const newToken = async (options: object = {}): Promise<string> => {
    const made = await bao.call('POST', 'auth/token/create', { policies: ['self'], ...options });
    return secret(String((made.body['auth'] as Record<string, unknown>)['client_token']));
  };
  const newSecretId = async (): Promise<string> =>
    secret(String((await bao.must('POST', 'auth/approle/role/selvedge/secret-id', {}))['secret_id']));

  test('token file: another token in it is taken up, though the one before still lives', async () => {
    for (const ttl of [{ ttl: '1h' }, { ttl: '1h', renewable: false }, { policies: ['root'] }]) {
      const tokenFile = await write('token', await newToken(ttl));
      await withVault({ kind: 'token', tokenFile }, async (vault) => {
        await lookUp(vault);
        const next = await newToken();
        await writeFile(tokenFile, `${next}\n`);
        await waitFor('the new token', async () => (await tokenOf(vault)) === next);
        await lookUp(vault);
      });
    }
  });

  test('AppRole whose tokens can not be renewed (batch), or not for long: logs in again before the end', async () => {
    /** @returns after how many milliseconds */
    const relogin = async (role: string, limits: object): Promise<number> => {
      const path = `auth/approle/role/${role}`;
      await bao.must('POST', path, { token_policies: ['self'], ...limits });
      const roleIdFile = await write(`${role}-role-id`, String((await bao.must('GET', `${path}/role-id`))['role_id']));
      const { secret_id } = await bao.must('POST', `${path}/secret-id`, {});
      const secretIdFile = await write(`${role}-secret-id`, secret(String(secret_id)));
      return withVault({ kind: 'approle', mount: 'approle', roleIdFile, secretIdFile }, async (vault) => {
        const first = await tokenOf(vault);
        const before = performance.now();
        await waitFor('another login', async () => (await tokenOf(vault)) !== first, 20_000);
        const tookMs = performance.now() - before;
        await lookUp(vault);
        return tookMs;
      });
    };
    const [tookMs] = await Promise.all([
      relogin('batch', { token_type: 'batch', token_ttl: '6s' }),
      relogin('short', { token_type: 'service', token_ttl: '2s', token_max_ttl: '3s' }),
    ]);
    assert.ok(tookMs < 6_000, 'before the first token ended');
  });

  describe('wrapped secret id', () => {
    const wrap = async (path: string, body: object = {}): Promise<string> => {
      const response = await fetch(`${bao.address}/v1/${path}`, {
        method: 'POST',
        headers: { 'x-vault-token': bao.rootToken, 'x-vault-wrap-ttl': '120s' },
        body: JSON.stringify(body),
      });
      return secret(((await response.json()) as { wrap_info: { token: string } }).wrap_info.token);
    };
    const authOf = (wrappedSecretIdFile: string, keptSecretIdFile: string): VaultAuth => ({
      kind: 'approle-wrapped',
      mount: 'approle',
      roleIdFile: file('role-id'),
      wrappedSecretIdFile,
      keptSecretIdFile,
    });

    test('is opened once, kept for the next start (0600), and replaced by a fresh one', async () => {
      const wrapped = await write('wrapped', await wrap('auth/approle/role/selvedge/secret-id'));
      const auth = authOf(wrapped, file('kept'));
      await withVault(auth, lookUp);
      const kept = JSON.parse(await readFile(file('kept'), 'utf8')) as { secretId: string };
      secret(kept.secretId);
      await withVault(auth, lookUp);
      await rm(wrapped);
      await withVault(auth, lookUp);
      await writeFile(wrapped, await wrap('auth/approle/role/selvedge/secret-id'));
      await withVault(auth, lookUp);
      const next = JSON.parse(await readFile(file('kept'), 'utf8')) as { secretId: string };
      assert.notEqual(secret(next.secretId), kept.secretId);
    });

    test('opened by somebody else: an alarm, and no login', async () => {
      const token = await wrap('auth/approle/role/selvedge/secret-id');
      assert.equal((await bao.call('POST', 'sys/wrapping/unwrap', {}, token)).status, 200);
      const auth = authOf(await write('stolen', token), file('stolen-kept'));
      await assert.rejects(withVault(auth, lookUp), code('SLV-2145', /opened already/));
      assert.match(spoken, /ALARM/);
    });

    test('wrapped anew by somebody on the way: an alarm, and it stays closed', async () => {
      const token = await wrap('sys/wrapping/wrap', { secret_id: await newSecretId() });
      const auth = authOf(await write('rewrapped', token), file('rewrapped-kept'));
      await assert.rejects(withVault(auth, lookUp), code('SLV-2145', /made by "sys\/wrapping\/wrap"/));
      assert.equal((await bao.call('POST', 'sys/wrapping/lookup', { token })).status, 200, 'not opened');
    });

    test('of another mount: an alarm', async () => {
      await bao.must('POST', 'sys/auth/other', { type: 'approle' });
      await bao.must('POST', 'auth/other/role/selvedge', {});
      const auth = authOf(await write('other', await wrap('auth/other/role/selvedge/secret-id')), file('other-kept'));
      await assert.rejects(withVault(auth, lookUp), code('SLV-2145', /auth\/other/));
    });

    test('Vault away: no alarm, and the token stays good', async () => {
      const auth = authOf(await write('later', await wrap('auth/approle/role/selvedge/secret-id')), file('later-kept'));
      await bao.seal();
      await assert.rejects(withVault(auth, lookUp), code('SLV-2140', /sealed/));
      await bao.unseal();
      await withVault(auth, lookUp);
    });
  });

  test('JWT: by its signature and audience; a wrong one is refused by name', async () => {
    const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const strange = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    await bao.must('POST', 'sys/auth/jwt', { type: 'jwt' });
    const publicKey = keys.publicKey.export({ format: 'pem', type: 'spki' });
    await bao.must('POST', 'auth/jwt/config', { jwt_validation_pubkeys: [publicKey], bound_issuer: 'test' });
    await bao.must('POST', 'auth/jwt/role/mesh', {
      role_type: 'jwt',
      user_claim: 'sub',
      bound_audiences: ['vault'],
      token_policies: ['self'],
    });
    const sign = async (by: typeof keys): Promise<string> =>
      secret(
        await new SignJWT({ sub: 'selvedge', aud: 'vault', iss: 'test' })
          .setProtectedHeader({ alg: 'ES256' })
          .setIssuedAt()
          .setNotBefore('0s')
          .setExpirationTime('5m')
          .sign(by.privateKey),
      );
    const jwtFile = await write('jwt', await sign(keys));
    const auth = { kind: 'jwt', mount: 'jwt', role: 'mesh', jwtFile } as const;
    await withVault(auth, lookUp);
    await writeFile(jwtFile, await sign(strange));
    await assert.rejects(withVault(auth, lookUp), code('SLV-2144', /refused the jwt login/));
    await assert.rejects(
      withVault({ ...auth, jwtFile: file('none') }, lookUp),
      code('SLV-1005', /none does not exist/),
    );
  });

  test('Kubernetes: the service account by the TokenReview of the cluster (here a stand-in for its API server)', async () => {
    const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');
    const account = { namespace: 'mesh', serviceaccount: { name: 'identity', uid: 'u1' } };
    const claims = { iss: 'kubernetes', sub: 'system:serviceaccount:mesh:identity', 'kubernetes.io': account };
    const jwt = secret(
      `${encode({ alg: 'RS256', typ: 'JWT' })}.${encode(claims)}.${Buffer.alloc(64, 7).toString('base64url')}`,
    );
    const cluster = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
      const review = JSON.parse(Buffer.concat(chunks).toString('utf8')) as { spec: { token: string } };
      const user = { username: claims.sub, uid: 'u1', groups: ['system:serviceaccounts'] };
      const status = review.spec.token === jwt ? { authenticated: true, user } : { authenticated: false };
      response.writeHead(201, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', status }));
    });
    await new Promise<void>((resolve) => cluster.listen(0, '127.0.0.1', resolve));
    try {
      await bao.must('POST', 'sys/auth/kubernetes', { type: 'kubernetes' });
      await bao.must('POST', 'auth/kubernetes/config', {
        kubernetes_host: `http://127.0.0.1:${(cluster.address() as AddressInfo).port}`,
        token_reviewer_jwt: jwt,
        disable_iss_validation: true,
        disable_local_ca_jwt: true,
        kubernetes_ca_cert: toPem('CERTIFICATE', ca.root.certificate),
      });
      await bao.must('POST', 'auth/kubernetes/role/mesh', {
        bound_service_account_names: ['identity'],
        bound_service_account_namespaces: ['mesh'],
        token_policies: ['self'],
      });
      const jwtFile = await write('service-account', jwt);
      const auth = { kind: 'kubernetes', mount: 'kubernetes', role: 'mesh', jwtFile } as const;
      await withVault(auth, lookUp);
      await writeFile(jwtFile, secret(`${jwt}x`));
      await assert.rejects(withVault(auth, lookUp), code('SLV-2144', /refused the kubernetes login/));
    } finally {
      cluster.closeAllConnections();
      cluster.close();
    }
  });

  test('TLS certificate: shown to the https listener; renewed in its files without a restart; without it, or with a foreign one, refused', async () => {
    const caFile = await write('vault-ca.pem', toPem('CERTIFICATE', ca.root.certificate));
    const clients = makeCa('mesh.test');
    await bao.must('POST', 'sys/auth/cert', { type: 'cert' });
    await bao.must('POST', 'auth/cert/certs/mesh', {
      certificate: toPem('CERTIFICATE', clients.root.certificate),
      allowed_uri_sans: ['spiffe://mesh.test/ns/*'],
      token_policies: ['self'],
      token_ttl: '20m',
    });
    const show = async (from: typeof clients, spiffeId: string): Promise<void> => {
      // Vault names the login by the common name: a certificate without one gets a 500.
      const svid = from.issue({ spiffeId, commonName: 'identity' });
      await write('client.pem', svid.chainPem);
      await write('client.key', secret(svid.keyPem));
    };
    const auth = {
      kind: 'cert',
      mount: 'cert',
      role: 'mesh',
      certFile: file('client.pem'),
      keyFile: file('client.key'),
    } as const;
    const https = { address: bao.tlsAddress, caFile };
    await show(clients, 'spiffe://mesh.test/ns/default/dc/dc1/svc/identity');
    await withVault(
      auth,
      async (vault) => {
        await lookUp(vault);
        const first = await tokenOf(vault);
        await show(clients, 'spiffe://mesh.test/ns/default/dc/dc1/svc/identity');
        await bao.must('POST', 'auth/token/revoke', { token: first });
        await lookUp(vault);
        assert.notEqual(await tokenOf(vault), first);
      },
      https,
    );
    await assert.rejects(
      withVault(auth, lookUp, { address: bao.tlsAddress }),
      code('SLV-2140', /could not be reached/),
    );
    await assert.rejects(withVault(auth, lookUp), code('SLV-2144', /refused the cert login/));
    await show(makeCa('mesh.test'), 'spiffe://mesh.test/ns/default/dc/dc1/svc/identity');
    await assert.rejects(withVault(auth, lookUp, https), code('SLV-2144', /refused the cert login/));
    await show(clients, 'spiffe://mesh.test/other');
    await assert.rejects(withVault(auth, lookUp, https), code('SLV-2144'));
  });

  test('a namespace holds for login and calls', async () => {
    await bao.must('POST', 'sys/namespaces/team', {});
    const inTeam = async (method: string, path: string, body?: object): Promise<Record<string, unknown>> =>
      bao.must(method, `team/${path}`, body);
    await inTeam('POST', 'sys/auth/approle', { type: 'approle' });
    await inTeam('POST', 'auth/approle/role/selvedge', {});
    const roleIdFile = await write(
      'team-role',
      String((await inTeam('GET', 'auth/approle/role/selvedge/role-id'))['role_id']),
    );
    const made = await inTeam('POST', 'auth/approle/role/selvedge/secret-id', {});
    const secretIdFile = await write('team-secret', secret(String(made['secret_id'])));
    const auth = { kind: 'approle', mount: 'approle', roleIdFile, secretIdFile } as const;
    await withVault(auth, lookUp, { namespace: 'team' });
    await assert.rejects(withVault(auth, lookUp), code('SLV-2144', /invalid role/));
  });

  test('no token, secret id, JWT or key was spoken, in no log line and no error', () => {
    assert.ok(spoken.includes('logged in to Vault') && secrets.size > 15, `${secrets.size}`);
    for (const each of secrets) assert.equal(spoken.includes(each), false, `spoken: ${each.slice(0, 6)}…`);
  });
});
