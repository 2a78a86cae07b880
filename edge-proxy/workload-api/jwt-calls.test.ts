import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe, test } from 'node:test';
import { Metadata, status } from '@grpc/grpc-js';
import { SignJWT } from 'jose';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { type JwtKey, readJwtAuthority } from '#policies/jwt-authority.ts';
import { makeCa } from '#test/mini-ca.ts';
import { ask, openStream, type Scene, startScene, webId } from './testing/scene.ts';
import * as wire from './wire/spiffe-workload-api.ts';

const svidTypes = { request: wire.jwtSvidRequest, response: wire.jwtSvidResponse };
const validateTypes = { request: wire.validateJwtSvidRequest, response: wire.validateJwtSvidResponse };
const bundleTypes = { request: wire.jwtBundlesRequest, response: wire.jwtBundlesResponse };

/** A key that signs JWT-SVIDs, and its public half as a bundle has it. */
function signer(kid: string) {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const authority = readJwtAuthority({ kid, ...(publicKey.export({ format: 'jwk' }) as JwtKey) });
  assert.ok(authority !== undefined);
  const token = (audience: string, seconds = 60) =>
    new SignJWT({ list: [1, { deep: null }], yes: true })
      .setProtectedHeader({ alg: 'ES256', kid })
      .setSubject(webId)
      .setAudience(audience)
      .setExpirationTime(Math.floor(Date.now() / 1_000) + seconds)
      .sign(privateKey);
  return { authority, token };
}

const fetchSvid = (scene: Scene, request: { audience?: readonly string[]; spiffeId?: string }, metadata?: Metadata) =>
  ask(scene.client(), '/SpiffeWorkloadAPI/FetchJWTSVID', svidTypes, request, metadata);
const validate = (scene: Scene, request: { audience?: string; svid?: string }) =>
  ask(scene.client(), '/SpiffeWorkloadAPI/ValidateJWTSVID', validateTypes, request);

describe('FetchJWTSVID', () => {
  test('for the audience that is asked for; of this workload alone', async (t) => {
    const asked: (readonly string[])[] = [];
    const scene = await startScene(t, {
      async fetchJwtSvid(audience) {
        asked.push(audience);
        return 'token';
      },
    });
    for (const spiffeId of ['', webId]) {
      const { svids } = await fetchSvid(scene, { audience: ['orders'], spiffeId });
      assert.deepEqual(svids, [{ spiffeId: webId, svid: 'token', hint: '' }]);
    }
    assert.deepEqual(asked, [['orders'], ['orders']]);
    for (const [request, code] of [
      [{}, status.INVALID_ARGUMENT],
      [{ audience: [''] }, status.INVALID_ARGUMENT],
      [{ audience: Array.from({ length: 17 }, (_, index) => `${index}`) }, status.INVALID_ARGUMENT],
      [{ audience: ['a'], spiffeId: `${webId}2` }, status.PERMISSION_DENIED],
    ] as const)
      await assert.rejects(fetchSvid(scene, request), { code });
    await assert.rejects(fetchSvid(scene, { audience: ['a'] }, new Metadata()), { code: status.INVALID_ARGUMENT });
    assert.equal(asked.length, 2);
  });

  for (const [what, error, code] of [
    ['unreachable', new MeshError('SLV-1006', 'no answer'), status.UNAVAILABLE],
    ['refused', new MeshError('SLV-2014', 'no', { detail: { status: 403 } }), status.PERMISSION_DENIED],
    ['too much', new MeshError('SLV-2014', 'no', { detail: { status: 429 } }), status.UNAVAILABLE],
    ['a fault', new Error('secret'), status.INTERNAL],
  ] as const)
    test(`identity: ${what}`, async (t) => {
      const scene = await startScene(t, { fetchJwtSvid: () => Promise.reject(error) });
      await assert.rejects(fetchSvid(scene, { audience: ['a'] }), (refusal: { code: status; details: string }) => {
        assert.equal(refusal.code, code);
        assert.doesNotMatch(refusal.details, /secret/);
        return true;
      });
    });

  test('no SVID: UNAVAILABLE; no means: UNIMPLEMENTED', async (t) => {
    const none = await startScene(t, { svid: null, fetchJwtSvid: async () => 'token' });
    await assert.rejects(fetchSvid(none, { audience: ['a'] }), { code: status.UNAVAILABLE });
    await assert.rejects(fetchSvid(await startScene(t), { audience: ['a'] }), { code: status.UNIMPLEMENTED });
  });
});

test('FetchJWTBundles: the JWT keys of each trust domain, and no others; a new key is pushed', async (t) => {
  const scene = await startScene(t);
  const received = openStream(scene.client(), '/SpiffeWorkloadAPI/FetchJWTBundles', bundleTypes, {});
  const keysIn = (bundles: ReadonlyMap<string, Uint8Array>) =>
    [...bundles].map(([name, bytes]) => [name, JSON.parse(Buffer.from(bytes).toString())]);
  assert.deepEqual(keysIn((await received.message(1)).bundles), [['spiffe://mesh.test', { keys: [] }]]);
  const { authority } = signer('one');
  const partner = { ...makeCa('partner.test').bundle, jwtAuthorities: [signer('two').authority] };
  scene.trust.set({ ...scene.ca.bundle, jwtAuthorities: [authority] }, partner);
  const [own, other] = keysIn((await received.message(2)).bundles);
  assert.deepEqual(own, ['spiffe://mesh.test', { keys: [{ use: 'jwt-svid', kid: 'one', ...authority.jwk }] }]);
  assert.equal(other?.[1].keys[0].kid, 'two');
});

test('ValidateJWTSVID: subject and claims of a good token; INVALID_ARGUMENT for any other', async (t) => {
  const scene = await startScene(t);
  const { authority, token } = signer('one');
  scene.trust.set({ ...scene.ca.bundle, jwtAuthorities: [authority] });
  const { spiffeId, claims } = await validate(scene, { audience: 'orders', svid: await token('orders') });
  assert.equal(spiffeId, webId);
  assert.equal(claims?.fields.get('sub')?.stringValue, webId);
  assert.equal(claims.fields.get('yes')?.boolValue, true);
  const list = claims.fields.get('list')?.listValue?.values;
  assert.equal(list?.[0]?.numberValue, 1);
  assert.equal(list[1]?.structValue?.fields.get('deep')?.nullValue, 0);
  for (const request of [
    { audience: '', svid: await token('orders') },
    { audience: 'orders', svid: '' },
    { audience: 'other', svid: await token('orders') },
    { audience: 'orders', svid: await token('orders', -600) },
    { audience: 'orders', svid: await signer('one').token('orders') },
    { audience: 'orders', svid: 'x'.repeat(20_000) },
  ])
    await assert.rejects(validate(scene, request), { code: status.INVALID_ARGUMENT });
});

test('WIT-SVIDs are unimplemented', async (t) => {
  const { client } = await startScene(t);
  for (const [path, types] of [
    ['FetchWITSVID', { request: wire.witSvidRequest, response: wire.witSvidResponse }],
    ['FetchWITBundles', { request: wire.witBundlesRequest, response: wire.witBundlesResponse }],
  ] as const) {
    const error = await openStream<object, object>(client(), `/SpiffeWorkloadAPI/${path}`, types, {}).ended();
    assert.equal(error?.code, status.UNIMPLEMENTED);
  }
});
