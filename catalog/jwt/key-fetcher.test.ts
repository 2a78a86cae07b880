import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type FeedIntentions, feedMessageSchema } from '#policies/wire/feed.ts';
import { meshStream } from '#runtime/mesh-http.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { issuerKey, JwtIssuer } from '#test/jwt-issuer.ts';
import { waitFor } from '#test/wait-for.ts';
import type { RunningCatalog } from '../main.ts';
import { quietContext, send, startTestCatalog } from '../testing/running-catalog.ts';

interface Provider {
  readonly name: string;
  readonly keys: readonly (string | null)[];
  readonly flaw?: string;
  readonly failure?: string;
  readonly confirmedAgoMs?: number;
}
const providers = async (catalog: RunningCatalog) =>
  (await send(catalog, 'GET', '/v1/mesh/jwt-providers')).json as Provider[];
/** What a proxy of the service gets over the wire; a proxy refuses what is not of the contract. */
async function intentionsInFeed(catalog: RunningCatalog, service: string): Promise<FeedIntentions | undefined> {
  const url = `${catalog.url}/v1/mesh/feed?proxy=p-${service}&service=${service}`;
  const stream = await meshStream({ url, clock: Date.now, timeoutMs: 5_000 });
  try {
    for await (const line of stream.lines) {
      const message = feedMessageSchema.parse(JSON.parse(line));
      if (message.type === 'update') return message.resources.find((one) => one.kind === 'intentions');
    }
    return undefined;
  } finally {
    stream.close();
  }
}
const put = (catalog: RunningCatalog, body: object) => send(catalog, 'PUT', '/v1/config', { body });
const remote = (Name: string, URI: string, roots: string, more: object = {}) => ({
  Kind: 'jwt-provider',
  Name,
  Issuer: 'https://issuer.test',
  JSONWebKeySet: {
    Remote: { URI, JWKSCluster: { TLSCertificates: { TrustedCA: { InlineString: roots } } }, ...more },
  },
});

test('keys are fetched in the background, kept while the issuer is away, also for a catalog that starts then, and their age is shown', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'selvedge-jwks-'));
  t.after(() => rmSync(dir, { recursive: true }));
  await using issuer = await JwtIssuer.start(join(dir, 'issuer.pem'), issuerKey('k1'));
  const roots = readFileSync(issuer.caFile, 'utf8');
  // Two catalogs over one store: the second has asked nobody yet.
  const store = await openSqliteStore({ path: undefined, ...quietContext() });
  const first = await startTestCatalog(t, {}, async () => store);
  assert.equal((await put(first, remote('okta', `${issuer.url}/jwks`, roots))).status, 200);
  await waitFor('the keys', async () => (await providers(first))[0]?.keys.length === 1, 10_000);
  assert.ok(((await providers(first))[0]?.confirmedAgoMs ?? -1) >= 0);
  assert.match(
    (await send(first, 'GET', '/metrics')).text,
    /selvedge_catalog_jwks_age_seconds\{provider="okta"\} [0-9.]+/,
  );

  issuer.failWith = 503;
  const second = await startTestCatalog(t, {}, async () => store);
  await waitFor('a failure', async () => (await providers(second))[0]?.failure !== undefined, 10_000);
  const [shown] = await providers(second);
  assert.deepEqual([shown?.keys, shown?.flaw, shown?.confirmedAgoMs], [['k1'], undefined, undefined]);
  assert.match(shown?.failure ?? '', /answered 503/);
  // What was fetched from there says nothing of another address.
  await put(second, remote('okta', `${issuer.url}/other`, roots));
  const [moved] = await providers(second);
  assert.deepEqual([moved?.keys, moved?.flaw], [[], 'its key set was not fetched yet']);
});

test('nothing is fetched in the clear, by redirect, from metadata addresses, without end, or taken over that is no key set', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'selvedge-jwks-'));
  t.after(() => rmSync(dir, { recursive: true }));
  await using issuer = await JwtIssuer.start(join(dir, 'issuer.pem'), issuerKey('k1'));
  const roots = readFileSync(issuer.caFile, 'utf8');
  const catalog = await startTestCatalog(t);
  const clear = await put(catalog, remote('clear', 'http://127.0.0.1:1/jwks', roots));
  assert.match(
    clear.headers.get('x-selvedge-warning') ?? '',
    /tokens of clear are refused: its key set is fetched by https only/,
  );
  await put(catalog, remote('metadata', 'https://169.254.169.254/latest', roots));
  await put(catalog, remote('mapped', 'https://[::ffff:169.254.169.254]/latest', roots));
  await put(catalog, remote('stranger', `${issuer.url}/jwks`, ''));
  issuer.failWith = 302;
  await put(catalog, remote('redirect', `${issuer.url}/jwks`, roots));
  const failureOf = async (name: string) => (await providers(catalog)).find((one) => one.name === name)?.failure;
  for (const [name, failure] of [
    ['metadata', /link-local or metadata/],
    ['mapped', /link-local or metadata/],
    ['stranger', /UNABLE_TO|SELF_SIGNED|TrustedCA/i],
    ['redirect', /answered 302/],
  ] as const) {
    await waitFor(`${name} is refused`, async () => (await failureOf(name)) !== undefined, 10_000);
    assert.match((await failureOf(name)) ?? '', failure);
  }
  issuer.failWith = undefined;
  for (const [name, body, failure] of [
    ['large', JSON.stringify({ keys: [], more: 'x'.repeat(70_000) }), /larger/],
    ['none', '{"keys":[{"kty":"oct","k":"AA"}]}', /no key of a kind/],
    ['twice', '{"keys":[],"keys":[]}', /one meaning/],
  ] as const) {
    issuer.answerWith = body;
    await put(catalog, remote(name, `${issuer.url}/jwks`, roots));
    await waitFor(`${name} is refused`, async () => (await failureOf(name)) !== undefined, 10_000);
    assert.match((await failureOf(name)) ?? '', failure);
  }
  assert.ok((await providers(catalog)).every(({ keys }) => keys.length === 0));
});

test('intentions name providers that there are; the feed carries them with their keys to whom they concern', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'selvedge-jwks-'));
  t.after(() => rmSync(dir, { recursive: true }));
  await using issuer = await JwtIssuer.start(join(dir, 'issuer.pem'), issuerKey('k1'));
  const catalog = await startTestCatalog(t);
  const JWT = { Providers: [{ Name: 'okta', VerifyClaims: [{ Path: ['role'], Value: 'admin' }] }] };
  const HTTP = { PathPrefix: '/admin' };
  const entry = {
    Kind: 'service-intentions',
    Name: 'db',
    JWT,
    Sources: [{ Name: 'web', Permissions: [{ Action: 'allow', HTTP, JWT }] }],
  };
  const early = await put(catalog, entry);
  assert.deepEqual(
    [early.status, /Referenced JWT Provider does not exist. Provider Name: okta/.test(early.text)],
    [400, true],
  );
  const JWKS = Buffer.from(await issuer.jwks()).toString('base64');
  await put(catalog, { Kind: 'jwt-provider', Name: 'okta', Audiences: ['a'], JSONWebKeySet: { Local: { JWKS } } });
  const written = await put(catalog, entry);
  assert.equal(written.status, 200, written.text);
  assert.match(written.headers.get('x-selvedge-warning') ?? '', /protocol tcp/);
  const shown = (await send(catalog, 'GET', '/v1/config/service-intentions/db')).json as {
    JWT: unknown;
    Sources: { Permissions: { JWT: unknown }[] }[];
  };
  assert.deepEqual([shown.JWT, shown.Sources[0]?.Permissions[0]?.JWT], [JWT, JWT]);
  const exact = (await send(catalog, 'GET', '/v1/connect/intentions/exact?source=web&destination=db')).json;
  assert.deepEqual((exact as { JWT: unknown }).JWT, JWT);
  // It belongs to the destination: written again, one source leaves it as it is, and can't set it.
  const api = '/v1/connect/intentions/exact?source=api&destination=db';
  assert.equal((await send(catalog, 'PUT', api, { body: { Action: 'allow', JWT } })).status, 400);
  assert.equal((await send(catalog, 'PUT', api, { body: { Action: 'allow' } })).status, 200);
  assert.deepEqual(((await send(catalog, 'GET', api)).json as { JWT: unknown }).JWT, JWT);
  const file = (await send(catalog, 'GET', '/v1/mesh/intentions/export')).json as { jwt: unknown };
  assert.deepEqual(file.jwt, {
    db: { providers: [{ name: 'okta', verifyClaims: [{ path: ['role'], value: 'admin' }] }] },
  });
  const again = await send(catalog, 'POST', '/v1/mesh/intentions/import?apply&prune', { body: file });
  assert.deepEqual((again.json as { changes: unknown[]; meta: unknown[] }).changes, []);
  await put(catalog, { Kind: 'service-defaults', Name: 'db', Protocol: 'http' });
  const [forDb, forCache] = await Promise.all(['db', 'cache'].map((service) => intentionsInFeed(catalog, service)));
  assert.deepEqual(
    forDb?.jwtProviders?.map(({ name, audiences, keys }) => [name, audiences, keys.map(({ kid }) => kid)]),
    [['okta', ['a'], ['k1']]],
  );
  assert.equal(forCache?.jwtProviders, undefined);
  for (const [tokens, allowed] of [
    [{}, false],
    [{ okta: { role: 'admin' } }, true],
    [{ okta: {} }, false],
  ] as const) {
    const body = { source: 'web', destination: 'db', path: '/admin', tokens };
    const verdict = (await send(catalog, 'POST', '/v1/mesh/intentions/check', { body })).json as { allowed: boolean };
    assert.equal(verdict.allowed, allowed, JSON.stringify(tokens));
  }
  assert.equal((await send(catalog, 'DELETE', '/v1/config/jwt-provider/okta')).status, 200);
  const found = (await send(catalog, 'GET', '/v1/mesh/intentions/lint')).json as { source: string; problem: string }[];
  assert.deepEqual(found.map(({ source, problem }) => `${source} ${problem}`).sort(), [
    'api no-provider',
    'web no-provider',
  ]);
});
