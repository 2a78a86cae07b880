import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { exportJWK, SignJWT } from 'jose';
import { readJwks } from '#policies/jwks.ts';
import type { FeedJwtProvider } from '#policies/wire/feed.ts';
import { intention, type Mesh, startMesh } from '#test/sidecars.ts';
import { waitFor } from '#test/wait-for.ts';

/** Tokens that intentions ask for, from a caller through two proxies to the application. */

const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const token = (claims: object = {}) =>
  new SignJWT({ exp: Math.floor(Date.now() / 1_000) + 600, role: 'user', ...claims })
    .setProtectedHeader({ alg: 'ES256', kid: 'k' })
    .sign(pair.privateKey);
const okta = async (change: Partial<FeedJwtProvider> = {}): Promise<FeedJwtProvider> => ({
  name: 'okta',
  audiences: [],
  locations: [
    { header: { name: 'authorization', valuePrefix: 'Bearer ', forward: false } },
    { queryParam: 'access_token' },
  ],
  clockSkewSeconds: 30,
  cacheSize: 100,
  keys: readJwks(
    JSON.stringify({ keys: [{ ...(await exportJWK(pair.publicKey)), kid: 'k' }] }),
  ) as FeedJwtProvider['keys'],
  ...change,
});
const jwt = { providers: [{ name: 'okta' }] };
const admin = { providers: [{ name: 'okta', verifyClaims: [{ path: ['role'], value: 'admin' }] }] };
/** Answers with the headers that reach it. */
const mirror = () => createServer((request, response) => response.end(JSON.stringify(request.rawHeaders)));
const ask = (mesh: Mesh, path: string, more = '') =>
  mesh.ask(`GET ${path} HTTP/1.1\r\nHost: db\r\nConnection: close\r\n${more}\r\n`);

test('identity and token, at the destination and in a permission; the application sees the claims and not the token', async (t) => {
  const permissions = [
    { action: 'allow', http: { pathPrefix: '/admin' }, jwt: admin },
    { action: 'allow', http: { pathPrefix: '/orders' } },
  ] as const;
  const provider = await okta({ forwarding: { headerName: 'x-claims', pad: true } });
  const mesh = await startMesh(t, {
    applications: [mirror()],
    intentions: [intention({ source: 'web', permissions, jwt })],
    jwtProviders: [provider],
  });
  const bearer = async (claims?: object) => `Authorization: Bearer ${await token(claims)}\r\n`;
  for (const [path, more, status] of [
    ['/orders', '', 403],
    ['/orders', 'Authorization: Bearer a.b.c\r\n', 403],
    ['/orders', await bearer(), 200],
    ['/admin', await bearer(), 403],
    ['/admin', await bearer({ role: 'admin' }), 200],
    [`/admin?access_token=${await token({ role: 'admin' })}`, '', 200],
    ['/admin', await bearer({ role: 'admin', exp: 1 }), 403],
    ['/other', await bearer({ role: 'admin' }), 403],
  ] as const) {
    assert.equal((await ask(mesh, path, more)).status, status, `${path} ${more.slice(0, 30)}`);
  }
  assert.match(mesh.decisions.at(-1)?.reason ?? '', /^web -> db needs a token: okta: the request carries no token\.$/);
  const seen = (await ask(mesh, '/orders', `${await bearer()}X-Claims: forged\r\n`)).text;
  assert.ok(!/forged|Bearer/.test(seen), seen);
  const [, encoded = ''] = /"x-claims","([^"]+)"/.exec(seen) ?? [];
  assert.equal(encoded.length % 4, 0);
  assert.equal(JSON.parse(Buffer.from(encoded, 'base64url').toString('utf8')).role, 'user');
  // Another source has no part in it, whatever it shows.
  mesh.feedIntentions([intention({ source: 'api', action: 'allow', jwt })]);
  assert.equal((await ask(mesh, '/orders', await bearer({ role: 'admin' }))).status, 403);
});

test('what is still open when its token ends is cut', async (t) => {
  const mesh = await startMesh(t, {
    applications: [createServer((_, response) => response.write('begun'))],
    intentions: [intention({ source: 'web', action: 'allow', jwt })],
    jwtProviders: [await okta({ clockSkewSeconds: 0 })],
  });
  const exp = Math.floor(Date.now() / 1_000) + 60;
  const open = async (claims: object) => {
    const client = mesh
      .dial()
      .send(`GET / HTTP/1.1\r\nHost: db\r\nAuthorization: Bearer ${await token(claims)}\r\n\r\n`);
    await client.until('begun');
    return client;
  };
  const [ending, lasting] = [await open({ exp }), await open({})];
  assert.ok(!ending.ended && !ending.closed);
  mesh.pass(60_000);
  await waitFor('the cut', () => ending.ended || ending.closed);
  assert.match(mesh.decisions[0]?.reason ?? '', /okta: the token expired/);
  assert.ok(!lasting.ended && !lasting.closed);
});

test('a header that its location forwards stays; without the provider, or without its keys, all is refused', async (t) => {
  const forward = [{ header: { name: 'authorization', valuePrefix: 'Bearer ', forward: true } }];
  const mesh = await startMesh(t, {
    applications: [mirror()],
    intentions: [intention({ source: 'web', action: 'allow', jwt })],
    jwtProviders: [await okta({ locations: forward })],
  });
  const more = `Authorization: Bearer ${await token()}\r\n`;
  const answer = await ask(mesh, '/', more);
  assert.match(answer.text, /200 OK.*Bearer /s);
  const rules = [intention({ source: 'web', action: 'allow', jwt })];
  for (const providers of [[], [await okta({ keys: [], flaw: 'its key set was not fetched yet' })]]) {
    mesh.feedIntentions(rules, 'http', providers);
    assert.equal((await ask(mesh, '/', more)).status, 403);
  }
});
