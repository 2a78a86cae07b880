import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { test } from 'node:test';
import { exportJWK, SignJWT } from 'jose';
import { readJwks } from '#policies/jwks.ts';
import { tokenAlgorithms } from '#policies/jwt-token.ts';
import type { FeedJwtProvider } from '#policies/wire/feed.ts';
import { findToken } from './token-location.ts';
import { TokenProvider } from './token-provider.ts';

const pairs = {
  RSA: generateKeyPairSync('rsa', { modulusLength: 2_048 }),
  'P-256': generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'P-384': generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  'P-521': generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  Ed25519: generateKeyPairSync('ed25519'),
};
const pairOf = (alg: string) =>
  alg === 'EdDSA'
    ? pairs.Ed25519
    : alg.startsWith('ES')
      ? pairs[`P-${alg === 'ES512' ? '521' : alg.slice(2)}` as 'P-256']
      : pairs.RSA;

const nowMs = 1_700_000_000_000;
const claims = { iss: 'https://issuer.test', aud: ['orders', 'billing'], exp: nowMs / 1_000 + 600, role: 'admin' };
const signed = (
  alg: string,
  said: object = claims,
  header: object = { kid: alg },
  key: KeyObject = pairOf(alg).privateKey,
) => new SignJWT({ ...said }).setProtectedHeader({ alg, ...header }).sign(key);

async function providerOf(change: Partial<FeedJwtProvider> = {}, clock = () => nowMs): Promise<TokenProvider> {
  const keys = await Promise.all(
    tokenAlgorithms.map(async (alg) => ({ ...(await exportJWK(pairOf(alg).publicKey)), kid: alg, alg, use: 'sig' })),
  );
  const text = JSON.stringify({
    keys: [
      ...keys,
      { kty: 'oct', k: 'c2VjcmV0', kid: 'HS256' },
      { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA', kid: 'short' },
    ],
  });
  const provider: FeedJwtProvider = {
    name: 'okta',
    issuer: 'https://issuer.test',
    audiences: ['billing'],
    locations: [],
    clockSkewSeconds: 30,
    cacheSize: 2,
    keys: readJwks(text) as FeedJwtProvider['keys'],
    ...change,
  };
  return new TokenProvider(provider, clock);
}

test('tokens of every algorithm, by the key that they name', async () => {
  const provider = await providerOf();
  for (const alg of tokenAlgorithms) {
    const verified = provider.verify(await signed(alg));
    assert.ok(typeof verified !== 'string', `${alg}: ${String(verified)}`);
    assert.equal(verified.claims['role'], 'admin');
  }
  const unnamed = provider.verify(await signed('ES256', claims, {}));
  assert.ok(typeof unnamed !== 'string');
});

test('what is wrong with a token, it is refused for', async () => {
  const provider = await providerOf();
  const good = await signed('ES256');
  const [header = '', payload = '', signature = ''] = good.split('.');
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const rs = part({ alg: 'RS256', kid: 'ES256' });
  const hs = part({ alg: 'HS256', kid: 'RS256' });
  // The public key as if it were a secret.
  const secret = pairs.RSA.publicKey.export({ type: 'spki', format: 'pem' });
  const cases: readonly [token: string, flaw: RegExp][] = [
    [`${header}.${part({ ...claims, role: 'root' })}.${signature}`, /signature/],
    [
      `${rs}.${payload}.${sign('sha256', Buffer.from(`${rs}.${payload}`), pairs.RSA.privateKey).toString('base64url')}`,
      /no such key/,
    ],
    [`${hs}.${payload}.${createHmac('sha256', secret).update(`${hs}.${payload}`).digest('base64url')}`, /algorithm/],
    [`${part({ alg: 'none' })}.${payload}.AA`, /algorithm/],
    [`${header}.${payload}.`, /compact/],
    [`${header}.${payload}`, /compact/],
    [`${good}=`, /compact/],
    [`${part({ alg: 'ES256', crit: ['x'], x: 1 })}.${payload}.${signature}`, /extensions/],
    [`${Buffer.from('{"alg":"ES256","alg":"ES256"}').toString('base64url')}.${payload}.${signature}`, /one meaning/],
    [await signed('ES256', { ...claims, iss: 'https://other.test' }), /another issuer/],
    [await signed('ES256', { ...claims, aud: 'orders' }), /another audience/],
    [await signed('ES256', { ...claims, exp: nowMs / 1_000 - 31 }), /expired/],
    [await signed('ES256', { ...claims, exp: undefined }), /no exp/],
    [await signed('ES256', { ...claims, nbf: nowMs / 1_000 + 31 }), /not valid yet/],
    [await signed('ES256', claims, { kid: 'gone' }), /no such key/],
    [
      await signed('ES256', claims, { kid: 'ES256' }, generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey),
      /signature/,
    ],
    ['x'.repeat(20_000), /longer/],
  ];
  for (const [token, flaw] of cases) {
    for (const _ of [1, 2]) {
      const said = provider.verify(token);
      assert.match(typeof said === 'string' ? said : 'accepted', flaw, token.slice(0, 60));
    }
  }
  for (const exp of [nowMs / 1_000 - 29, nowMs / 1_000 + 1])
    assert.ok(typeof provider.verify(await signed('ES256', { ...claims, exp })) !== 'string');
  const without = await providerOf({ keys: [], flaw: 'its key set was not fetched yet' });
  assert.equal(without.verify(good), 'its key set was not fetched yet');
});

test('a verified token is remembered until it ends, and no longer', async () => {
  let time = nowMs;
  const provider = await providerOf({}, () => time);
  const token = await signed('ES256');
  const first = provider.verify(token);
  assert.equal(provider.verify(token), first);
  time = claims.exp * 1_000 + 30_000;
  assert.match(String(provider.verify(token)), /expired/);
  time = nowMs;
  for (const role of ['a', 'b', 'c']) provider.verify(await signed('ES256', { ...claims, role }));
  assert.notEqual(provider.verify(token), first); // room for two
});

test('the one token of a request: from a header with its prefix, the query, a cookie; two that differ are none', () => {
  const header = { header: { name: 'authorization', valuePrefix: 'Bearer ', forward: false } };
  const locations = [header, { queryParam: 'access_token' }, { cookie: 'jwt' }];
  const cases: readonly [headers: string[], query: string, found: string | undefined][] = [
    [['Authorization', 'Bearer a.b.c'], '', 'a.b.c'],
    [['Authorization', 'bearer a'], '', undefined],
    [['Authorization', 'Basic a'], '?access_token=q', 'q'],
    [['Cookie', 'x=1; jwt="c"; y=2'], '', 'c'],
    [['Cookie', 'jwt=c', 'Cookie', 'jwt=d'], '', 'flaw'],
    [['Authorization', 'Bearer a', 'authorization', 'Bearer b'], '', 'flaw'],
    [['Authorization', 'Bearer a'], '?access_token=b', 'flaw'],
    [['Authorization', 'Bearer a'], '?access_token=a', 'a'],
    [[], '?access_token=a&access_token=b', 'flaw'],
    [[], '', undefined],
  ];
  for (const [headers, query, expected] of cases) {
    const found = findToken(locations, { headers, query });
    assert.equal(
      found === undefined ? undefined : 'token' in found ? found.token : 'flaw',
      expected,
      JSON.stringify([headers, query]),
    );
  }
});
