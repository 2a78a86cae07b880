import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { exportJWK, type JWTPayload, SignJWT } from 'jose';
import { toPem } from '#policies/der-writer.ts';
import { makeCa } from './mini-ca.ts';

/** A key of an issuer of a test. */
export interface IssuerKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** Makes a key; ES256 unless told. */
export function issuerKey(kid: string, alg: 'ES256' | 'RS256' = 'ES256'): IssuerKey {
  const pair =
    alg === 'ES256'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('rsa', { modulusLength: 2_048 });
  return { kid, alg, ...pair };
}

/** An issuer of JWTs as Kubernetes and the clouds have one: discovery and JWKS over real TLS, on loopback. */
export class JwtIssuer implements AsyncDisposable {
  readonly url: string;
  /** PEM file of the CA of its TLS. */
  readonly caFile: string;
  keys: readonly IssuerKey[];
  /** Answers of the JWKS so far. */
  fetched = 0;
  /** Answers this instead of the keys. */
  failWith: number | undefined;
  /** Answers this body instead of the keys. */
  answerWith: string | undefined;
  /** Claims to be another issuer in its discovery document. */
  posesAs: string | undefined;
  readonly #server: ReturnType<typeof createServer>;

  private constructor(server: ReturnType<typeof createServer>, caFile: string, keys: readonly IssuerKey[]) {
    this.#server = server;
    this.caFile = caFile;
    this.keys = keys;
    this.url = `https://localhost:${(server.address() as AddressInfo).port}`;
  }

  /** @param caFile where the CA of its TLS is written */
  static async start(caFile: string, ...keys: readonly IssuerKey[]): Promise<JwtIssuer> {
    const ca = makeCa('issuer.test');
    writeFileSync(caFile, toPem('CERTIFICATE', ca.root.certificate));
    const own = ca.issue({ spiffeId: 'spiffe://issuer.test/oidc', dns: ['localhost'] });
    const server = createServer({ cert: own.chainPem, key: own.keyPem });
    await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
    const issuer = new JwtIssuer(server, caFile, keys);
    server.on('request', (request, response) => {
      issuer.#answer(request.url ?? '').then(
        ({ status, body }) => response.writeHead(status, { location: '/elsewhere' }).end(body),
        (error: unknown) => response.destroy(error as Error),
      );
    });
    return issuer;
  }

  async #answer(path: string): Promise<{ status: number; body: string }> {
    if (path === '/.well-known/openid-configuration') {
      const issuer = this.posesAs ?? this.url;
      return { status: 200, body: JSON.stringify({ issuer, jwks_uri: `${this.url}/jwks` }) };
    }
    if (path !== '/jwks') return { status: 404, body: '' };
    this.fetched += 1;
    if (this.failWith !== undefined) return { status: this.failWith, body: '' };
    return { status: 200, body: this.answerWith ?? (await this.jwks()) };
  }

  /** The public keys. */
  async jwks(): Promise<string> {
    const keys = this.keys.map(async ({ kid, alg, publicKey }) => ({
      ...(await exportJWK(publicKey)),
      kid,
      alg,
      use: 'sig',
    }));
    return JSON.stringify({ keys: await Promise.all(keys) });
  }

  /** A token that is good for ten minutes for the audience `selvedge`, unless `claims` say otherwise; undefined takes a claim away. */
  token(claims: JWTPayload = {}, key: IssuerKey | undefined = this.keys[0]): Promise<string> {
    if (key === undefined) throw new Error('the issuer has no key');
    const nowSeconds = Math.floor(Date.now() / 1_000);
    const all: JWTPayload = {
      iss: this.url,
      aud: 'selvedge',
      sub: 'machine',
      iat: nowSeconds,
      exp: nowSeconds + 600,
      ...claims,
    };
    return new SignJWT(all).setProtectedHeader({ alg: key.alg, kid: key.kid }).sign(key.privateKey);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
