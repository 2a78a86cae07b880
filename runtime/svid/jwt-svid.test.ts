import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { CompactSign, FlattenedSign, SignJWT } from 'jose';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { readJwtAuthority } from '#policies/jwt-authority.ts';
import { jwtSvidAlgorithms } from '#policies/jwt-svid.ts';
import { parseTrustDomain } from '#policies/spiffe-id.ts';
import type { TrustBundle } from '#policies/trust-bundle.ts';
import { staticTrust } from '#test/mini-ca.ts';
import { validateJwtSvid } from './jwt-svid.ts';

const nowMs = Date.parse('2026-11-23T12:00:00Z');
const now = nowMs / 1_000;
const sub = 'spiffe://mesh.test/ns/default/dc/dc1/svc/web';
const good = { sub, aud: ['db'], exp: now + 300, iat: now };

const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve });
const keys = {
  p256: ec('P-256'),
  p384: ec('P-384'),
  p521: ec('P-521'),
  rsa: generateKeyPairSync('rsa', { modulusLength: 2_048 }),
  foreign: ec('P-256'),
} as const;

function bundleOf(domain: string, kids: readonly (keyof typeof keys)[]): TrustBundle {
  return {
    trustDomain: parseTrustDomain(domain),
    sequence: 1,
    refreshHintSeconds: 60,
    x509Authorities: [],
    jwtAuthorities: kids.flatMap((kid) => {
      return readJwtAuthority({ ...keys[kid].publicKey.export({ format: 'jwk' }), kid }) ?? [];
    }),
  };
}
const trust = staticTrust(bundleOf('mesh.test', ['p256', 'p384', 'p521', 'rsa']), bundleOf('other.test', ['foreign']));

interface Forged {
  readonly claims?: object;
  readonly header?: Record<string, unknown> & { alg: string };
  readonly key?: KeyObject;
}

function forge({ claims = good, header = { alg: 'ES256', kid: 'p256', typ: 'JWT' }, key }: Forged = {}) {
  return new CompactSign(Buffer.from(JSON.stringify(claims)))
    .setProtectedHeader(header)
    .sign(key ?? keys.p256.privateKey);
}

const validate = (token: string, audience = 'db') => validateJwtSvid(token, { audience, trust, nowMs });

async function ruleOf(token: string): Promise<unknown> {
  try {
    await validate(token);
    return 'accepted';
  } catch (error) {
    assert.ok(isMeshError(error, 'SLV-2195'), String(error));
    return error.detail['rule'];
  }
}

const encode = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
/** A token whose signature nobody gets to: what is wrong is found before. */
const unsigned = (header: unknown, claims: unknown = good) => `${encode(header)}.${encode(claims)}.AAAA`;
const h = { alg: 'ES256', kid: 'p256' };

describe('tokens that are good', () => {
  test('every algorithm of the specification, by a key that fits it', async () => {
    const keyOf = { RS: 'rsa', PS: 'rsa', ES256: 'p256', ES384: 'p384', ES512: 'p521' } as const;
    for (const alg of jwtSvidAlgorithms) {
      const kid = alg.startsWith('ES') ? keyOf[alg as 'ES256'] : keyOf[alg.slice(0, 2) as 'RS'];
      const facts = await validate(await forge({ header: { alg, kid }, key: keys[kid].privateKey }));
      assert.equal(facts.spiffeId, sub);
    }
  });

  test('what they say is handed on', async () => {
    const claims = { ...good, aud: 'db', jti: 'x', roles: ['a'] };
    const facts = await validate(await forge({ claims, header: { alg: 'ES256', kid: 'p256', typ: 'JOSE' } }));
    assert.deepEqual([facts.audience, facts.expiresAtMs, facts.claims], [['db'], nowMs + 300_000, claims]);
  });

  test('clocks may differ by a minute', async () => {
    await validate(await forge({ claims: { ...good, exp: now - 60, nbf: now + 60, iat: now + 60 } }));
    assert.equal(await ruleOf(await forge({ claims: { ...good, exp: now - 61 } })), 'expired');
    assert.equal(await ruleOf(await forge({ claims: { ...good, nbf: now + 61 } })), 'not-yet-valid');
    assert.equal(await ruleOf(await forge({ claims: { ...good, iat: now + 61 } })), 'not-yet-valid');
  });

  test("one of another trust domain is valid under that domain's keys only", async () => {
    const claims = { ...good, sub: 'spiffe://other.test/ns/default/dc/dc1/svc/web' };
    const header = { alg: 'ES256', kid: 'foreign' };
    const { spiffeId } = await validate(await forge({ claims, header, key: keys.foreign.privateKey }));
    assert.equal(spiffeId, claims.sub);
    assert.equal(await ruleOf(await forge({ claims })), 'unknown-key');
    assert.equal(await ruleOf(await forge({ header, key: keys.foreign.privateKey })), 'unknown-key');
    assert.equal(
      await ruleOf(await forge({ claims: { ...good, sub: 'spiffe://third.test/a' } })),
      'unknown-trust-domain',
    );
  });

  test('an ID that was revoked is refused, whatever its token', async () => {
    const token = await forge();
    const revoking = staticTrust(bundleOf('mesh.test', ['p256']));
    await validateJwtSvid(token, { audience: 'db', trust: revoking, nowMs });
    revoking.revoke(sub);
    await assert.rejects(
      validateJwtSvid(token, { audience: 'db', trust: revoking, nowMs }),
      (error) => isMeshError(error, 'SLV-2195') && error.detail['rule'] === 'revoked',
    );
  });
});

describe('tokens that are wrong', () => {
  const without = (...names: readonly string[]) =>
    Object.fromEntries(Object.entries(good).filter(([name]) => !names.includes(name)));

  const table: readonly (readonly [what: string, token: string, rule: string])[] = [
    ['nothing', '', 'not-compact'],
    ['two parts', `${encode(h)}.${encode(good)}`, 'not-compact'],
    ['four parts', `${unsigned(h)}.AAAA`, 'not-compact'],
    ['no signature', `${encode(h)}.${encode(good)}.`, 'not-compact'],
    ['padding', `${unsigned(h)}=`, 'not-compact'],
    ['standard base64', unsigned(h).replace(/AAAA$/, 'AA+/'), 'not-compact'],
    ['stray bits', unsigned(h).replace(/AAAA$/, 'AB'), 'not-compact'],
    ['white space', ` ${unsigned(h)}`, 'not-compact'],
    ['too long', unsigned(h, { ...good, filler: 'x'.repeat(16_384) }), 'too-large'],
    ['header no JSON', unsigned('{'), 'malformed-header'],
    ['header no UTF-8', `${Buffer.of(0x22, 0xff, 0x22).toString('base64url')}.e30.AAAA`, 'malformed-header'],
    ['header an array', unsigned([]), 'malformed-header'],
    ['header null', unsigned('null'), 'malformed-header'],
    ['alg twice', unsigned('{"alg":"ES256","alg":"ES256","kid":"p256"}'), 'malformed-header'],
    ['alg none', unsigned({ ...h, alg: 'none' }), 'algorithm'],
    ['alg HS256', unsigned({ ...h, alg: 'HS256' }), 'algorithm'],
    ['alg EdDSA', unsigned({ ...h, alg: 'EdDSA' }), 'algorithm'],
    ['alg es256', unsigned({ ...h, alg: 'es256' }), 'algorithm'],
    ['alg absent', unsigned({ kid: 'p256' }), 'algorithm'],
    ['alg an array', unsigned({ ...h, alg: ['ES256'] }), 'algorithm'],
    ['typ at+jwt', unsigned({ ...h, typ: 'at+jwt' }), 'type'],
    ['typ wit+jwt', unsigned({ ...h, typ: 'wit+jwt' }), 'type'],
    ['typ jwt', unsigned({ ...h, typ: 'jwt' }), 'type'],
    ['typ null', unsigned({ ...h, typ: null }), 'type'],
    ['kid absent', unsigned({ alg: 'ES256' }), 'no-key-id'],
    ['kid empty', unsigned({ ...h, kid: '' }), 'no-key-id'],
    ['kid a number', unsigned({ ...h, kid: 1 }), 'no-key-id'],
    ['jku', unsigned({ ...h, jku: 'https://evil.test/keys' }), 'unknown-header'],
    ['jwk', unsigned({ ...h, jwk: {} }), 'unknown-header'],
    ['x5c', unsigned({ ...h, x5c: [] }), 'unknown-header'],
    ['crit', unsigned({ ...h, crit: ['b64'], b64: false }), 'unknown-header'],
    ['cty', unsigned({ ...h, cty: 'JWT' }), 'unknown-header'],
    ['claims no JSON', unsigned(h, 'sub'), 'malformed-claims'],
    ['claims an array', unsigned(h, []), 'malformed-claims'],
    ['sub twice', unsigned(h, `{"sub":"${sub}","sub":"${sub}","aud":"db","exp":${now}}`), 'malformed-claims'],
    ['sub absent', unsigned(h, without('sub')), 'subject'],
    ['sub no SPIFFE ID', unsigned(h, { ...good, sub: 'web' }), 'subject'],
    ['sub with a dot segment', unsigned(h, { ...good, sub: 'spiffe://mesh.test/a/../b' }), 'subject'],
    ['sub in capitals', unsigned(h, { ...good, sub: 'SPIFFE://mesh.test/a' }), 'subject'],
    ['aud absent', unsigned(h, without('aud')), 'audience'],
    ['aud empty', unsigned(h, { ...good, aud: [] }), 'audience'],
    ['aud another', unsigned(h, { ...good, aud: ['other'] }), 'audience'],
    ['aud a prefix', unsigned(h, { ...good, aud: 'db2' }), 'audience'],
    ['aud in capitals', unsigned(h, { ...good, aud: 'DB' }), 'audience'],
    ['aud an object', unsigned(h, { ...good, aud: { db: 1 } }), 'audience'],
    ['aud with a number', unsigned(h, { ...good, aud: ['db', 1] }), 'audience'],
    ['exp absent', unsigned(h, without('exp')), 'expiry'],
    ['exp a text', unsigned(h, { ...good, exp: String(now + 300) }), 'expiry'],
    ['exp beyond time', unsigned(h, { ...good, exp: 1e300 }), 'expiry'],
    ['exp negative', unsigned(h, { ...good, exp: -1 }), 'expiry'],
    ['exp long ago', unsigned(h, { ...good, exp: 1 }), 'expired'],
    ['nbf a text', unsigned(h, { ...good, nbf: 'now' }), 'malformed-claims'],
    ['kid unknown', unsigned({ ...h, kid: 'p257' }), 'unknown-key'],
    ['kid of the object prototype', unsigned({ ...h, kid: '__proto__' }), 'unknown-key'],
    ['signature of nobody', unsigned(h), 'bad-signature'],
  ];
  for (const [what, token, rule] of table) {
    test(`${what}: ${rule}`, async () => assert.equal(await ruleOf(token), rule));
  }

  test('signed by another key, or changed after signing', async () => {
    assert.equal(await ruleOf(await forge({ key: keys.foreign.privateKey })), 'bad-signature');
    const [head, , signature] = (await forge()).split('.');
    assert.equal(await ruleOf(`${head}.${encode({ ...good, jti: 'y' })}.${signature}`), 'bad-signature');
  });

  test('an algorithm that is not that of the key', async () => {
    for (const [alg, kid] of [
      ['ES384', 'p256'],
      ['RS256', 'p256'],
      ['ES256', 'rsa'],
      ['ES256', 'p521'],
    ] as const) {
      assert.equal(await ruleOf(unsigned({ alg, kid })), 'bad-signature', `${alg} ${kid}`);
    }
    // The classic: the public key taken for the secret of an HMAC.
    const secret = Buffer.from(keys.p256.publicKey.export({ type: 'spki', format: 'pem' }));
    const hmac = await new SignJWT({ ...good }).setProtectedHeader({ alg: 'HS256', kid: 'p256' }).sign(secret);
    assert.equal(await ruleOf(hmac), 'algorithm');
  });

  test('JSON serialisation', async () => {
    const flattened = await new FlattenedSign(Buffer.from(JSON.stringify(good)))
      .setProtectedHeader(h)
      .sign(keys.p256.privateKey);
    assert.equal(await ruleOf(JSON.stringify(flattened)), 'not-compact');
  });
});

test('whatever comes is refused with a reason, and nothing else happens', async () => {
  const token = await forge();
  const chars = 'ABCDEFGHabcdefgh0123456789-_.={}"';
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.string({ unit: 'binary', maxLength: 300 }),
        fc.tuple(fc.json(), fc.json()).map(([header, claims]) => unsigned(header, claims)),
        fc.record({ header: fc.object(), claims: fc.object() }).map(({ header, claims }) => {
          return unsigned({ ...h, ...header }, { ...good, ...claims });
        }),
        fc
          .tuple(fc.nat(token.length - 1), fc.constantFrom(...chars))
          .filter(([at, char]) => token[at] !== char)
          .map(([at, char]) => token.slice(0, at) + char + token.slice(at + 1)),
        fc.nat(token.length - 1).map((end) => token.slice(0, end)),
      ),
      async (text) => {
        assert.notEqual(await ruleOf(text), 'accepted');
      },
    ),
    { numRuns: 600 },
  );
});
