import assert from 'node:assert/strict';
import { createHmac, randomUUID, sign } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import { toPem } from '#policies/der-writer.ts';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { makeKeyPair } from '#runtime/svid/node-key.ts';
import { issuerKey, JwtIssuer } from '#test/jwt-issuer.ts';
import { makeCa } from '#test/mini-ca.ts';
import { attest, codeOf, startAttesting } from '../testing/attesting.ts';
import type { RunningService } from '../testing/running-service.ts';
import { IssuerKeys } from './jwks.ts';

/** What a JWT must be to attest a node. In one file: it is a table of what is refused. */

const folder = mkdtempSync(join(tmpdir(), 'selvedge-jwt-'));
after(() => rmSync(folder, { recursive: true }));
let logged = '';
const log = pino(
  { level: 'debug' },
  {
    write(line: string) {
      logged += line;
    },
  },
);

const kubernetes = (name: string, more: object = {}) => ({
  sub: `system:serviceaccount:prod:${name}`,
  'kubernetes.io': { namespace: 'prod', pod: { name: `${name}-0` }, serviceaccount: { name }, ...more },
});
const mappings = [
  {
    match: { 'kubernetes.io/namespace': 'prod' },
    node: '{{ kubernetes.io/pod/name }}',
    services: ['{{ kubernetes.io/serviceaccount/name }}', 'prod.{{ kubernetes.io/serviceaccount/name }}.*'],
  },
  { match: { groups: ['ops', 'dev'], email_verified: true }, node: '{{ email | before "@" }}', services: ['tools-*'] },
];

describe('attestation by JWT', () => {
  let issuer: JwtIssuer;
  let service: RunningService;
  const clock = { aheadMs: 0 };
  before(async () => {
    issuer = await JwtIssuer.start(join(folder, 'ca.pem'), issuerKey('k1'), issuerKey('r1', 'RS256'));
    service = await startAttesting(
      [
        {
          method: 'jwt',
          issuer: issuer.url,
          audience: 'selvedge',
          'ca-file': issuer.caFile,
          'clock-skew': '30s',
          mappings,
        },
      ],
      {},
      { clock: () => Date.now() + clock.aheadMs, log },
    );
  });
  after(async () => {
    await service?.[Symbol.asyncDispose]();
    await issuer?.[Symbol.asyncDispose]();
  });
  const show = (token: string, key = makeKeyPair()) => attest(service, { method: 'jwt', token }, key);

  test('a pod of Kubernetes becomes the node and gets the grant that the mapping makes, and SVIDs within it', async () => {
    const key = makeKeyPair();
    const answer = await show(await issuer.token(kubernetes('web')), key);
    const { nodeId, ...rest } = answer.body;
    assert.deepEqual(rest, { trustDomain: 'mesh.test', datacenter: 'dc1', services: ['web', 'prod.web.*'] });
    const node = { key, nodeId: String(nodeId) };
    assert.equal((await service.issue(node, { service: 'web' })).status, 200);
    assert.equal((await service.issue(node, { service: 'prod.web.admin' })).status, 200);
    assert.equal(codeOf(await service.issue(node, { service: 'db' })), '403 SLV-2120');
    const shown = (await service.operate(`/v1/identity/nodes/${nodeId}`)).body;
    assert.equal(shown['name'], 'web-0');
    assert.equal(shown['attestation'], 'jwt');
    assert.equal(shown['source'], issuer.url);
    assert.equal(shown['subject'], 'system:serviceaccount:prod:web');
    assert.match(
      await service.auditLog(),
      /"event":"node-joined".*"name":"web-0".*"method":"jwt"|"method":"jwt".*"name":"web-0"/,
    );
  });

  test('RS256 too, and the second mapping, by a list and a truth', async () => {
    const token = await issuer.token(
      { email: 'kim@example.test', email_verified: true, groups: ['all', 'dev'] },
      issuer.keys[1],
    );
    assert.deepEqual((await show(token)).body['services'], ['tools-*']);
  });

  const flip = (token: string): string => `${token.slice(0, -6)}${token.slice(-6) === 'AAAAAA' ? 'BBBBBB' : 'AAAAAA'}`;
  const unsigned = (header: object, claims: object): string =>
    [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
  /** In seconds, of the service. */
  const now = (): number => Math.floor((Date.now() + clock.aheadMs) / 1_000);
  const good = () => ({ iss: issuer.url, aud: 'selvedge', exp: now() + 600, ...kubernetes('evil') });
  const refused: readonly [what: string, token: () => Promise<string> | string, code: string, says: RegExp][] = [
    [
      'another issuer',
      () => issuer.token({ ...good(), iss: 'https://evil.test' }),
      '401 SLV-2107',
      /issuer "https:\/\/evil.test" is not/,
    ],
    ['no issuer', () => unsigned({ alg: 'ES256' }, { sub: 'x' }).concat('.AAAA'), '401 SLV-2107', /issuer "" is not/],
    [
      'another audience',
      () => issuer.token({ ...good(), aud: 'vault' }),
      '401 SLV-2107',
      /not for the audience "selvedge"/,
    ],
    ['several audiences without ours', () => issuer.token({ ...good(), aud: ['a', 'b'] }), '401 SLV-2107', /audience/],
    ['expired', () => issuer.token({ ...good(), exp: now() - 31 }), '401 SLV-2107', /has expired/],
    ['not valid yet', () => issuer.token({ ...good(), nbf: now() + 45 }), '401 SLV-2107', /not valid yet/],
    ['no end', () => issuer.token({ ...good(), exp: undefined as never }), '401 SLV-2107', /has no "exp"/],
    ['good for a year', () => issuer.token({ ...good(), exp: now() + 31_536_000 }), '401 SLV-2107', /max-token-life/],
    ['no subject', () => issuer.token({ ...good(), sub: undefined as never }), '401 SLV-2107', /has no "sub"/],
    ['alg none', () => `${unsigned({ alg: 'none' }, good())}.`, '401 SLV-2107', /"none"; RS256, ES256 are accepted/],
    [
      'HS256 with the public key for a secret',
      () => {
        const body = unsigned({ alg: 'HS256', kid: 'k1' }, good());
        const secret = issuer.keys[0]?.publicKey.export({ type: 'spki', format: 'pem' }) ?? '';
        return `${body}.${createHmac('sha256', secret).update(body).digest('base64url')}`;
      },
      '401 SLV-2107',
      /"HS256"; RS256, ES256 are accepted/,
    ],
    [
      'a header that brings its own key',
      async () => {
        const own = issuerKey('k1');
        const [, payload] = (await issuer.token(good(), own)).split('.');
        const jwk = own.publicKey.export({ format: 'jwk' });
        const body = `${Buffer.from(JSON.stringify({ alg: 'ES256', kid: 'k1', jwk })).toString('base64url')}.${payload}`;
        return `${body}.${sign('sha256', Buffer.from(body), { key: own.privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
      },
      '401 SLV-2107',
      /signature does not verify/,
    ],
    [
      'another key under a known name',
      () => issuer.token(good(), issuerKey('k1')),
      '401 SLV-2107',
      /signature does not verify/,
    ],
    [
      'a signature that was touched',
      async () => flip(await issuer.token(good())),
      '401 SLV-2107',
      /signature|verified/,
    ],
    [
      'an algorithm of another key type',
      () => issuer.token(good(), { ...issuerKey('r1'), alg: 'ES256' }),
      '401 SLV-2107',
      /has no key "r1" for ES256/,
    ],
    [
      'a critical header that nobody knows',
      () => `${unsigned({ alg: 'ES256', kid: 'k1', crit: ['x'], x: 1 }, good())}.AAAA`,
      '401 SLV-2107',
      /no JWT that can be verified/,
    ],
    ['no JWT', () => 'not.a.jwt.at.all.really', '401 SLV-2107', /can not be read as a JWT/],
    ['a token of 17 KiB', () => `a.${'b'.repeat(17_000)}.c`, '400 SLV-1009', /"token"/],
    ['line breaks in it', async () => `${await issuer.token(good())}\n`, '400 SLV-1009', /white space/],
    [
      'nobody that a mapping is for',
      () => issuer.token({ ...good(), ...kubernetes('evil', { namespace: 'dev' }) }),
      '403 SLV-2106',
      /no mapping is for one like it/,
    ],
    [
      'a match by a text that only looks true',
      () =>
        issuer.token({ ...good(), 'kubernetes.io': 0 as never, email: 'a@b', email_verified: 'yes', groups: ['dev'] }),
      '403 SLV-2106',
      /no mapping/,
    ],
    [
      'a missing claim',
      () => issuer.token({ ...good(), 'kubernetes.io': { namespace: 'prod' } }),
      '403 SLV-2106',
      /there is no kubernetes.io\/serviceaccount\/name/,
    ],
    [
      'a * in a claim',
      () => issuer.token({ ...good(), ...kubernetes('x', { serviceaccount: { name: '*' } }) }),
      '403 SLV-2106',
      /characters that no name has/,
    ],
    [
      'a slash in a claim',
      () => issuer.token({ ...good(), ...kubernetes('x', { pod: { name: '../etc' } }) }),
      '403 SLV-2106',
      /characters that no name has/,
    ],
    [
      'the catalog',
      () => issuer.token({ ...good(), ...kubernetes('selvedge-catalog') }),
      '403 SLV-2106',
      /name of the control plane/,
    ],
  ];
  for (const [what, token, code, says] of refused) {
    test(`refused: ${what}`, async () => {
      const answer = await show(await token());
      assert.equal(codeOf(answer), code, JSON.stringify(answer.body));
      assert.match(String(answer.body['detail']), says);
    });
  }

  test('a claim that is there twice is refused, whichever the issuer meant', async () => {
    const key = issuer.keys[0];
    assert.ok(key);
    const payload = JSON.stringify(good()).replace('"sub"', '"sub":"a","sub"');
    const body = `${Buffer.from(JSON.stringify({ alg: 'ES256', kid: 'k1' })).toString('base64url')}.${Buffer.from(payload).toString('base64url')}`;
    const signature = sign('sha256', Buffer.from(body), { key: key.privateKey, dsaEncoding: 'ieee-p1363' });
    const answer = await show(`${body}.${signature.toString('base64url')}`);
    assert.equal(codeOf(answer), '401 SLV-2107');
    assert.match(String(answer.body['detail']), /twice/);
  });

  test('a token is bound to the first node key, over 16 at once, a restart, and with its other signature', async () => {
    const token = await issuer.token(kubernetes('once'));
    const keys = Array.from({ length: 16 }, makeKeyPair);
    const answers = await Promise.all(keys.map((key) => show(token, key)));
    assert.equal(answers.filter(({ status }) => status === 200).length, 1);
    assert.deepEqual(
      [...new Set(answers.map(codeOf))].sort().filter((code) => code !== '429 SLV-2160'),
      ['200', '403 SLV-2109'],
    );
    const winner = keys[answers.findIndex(({ status }) => status === 200)];
    await service.restart();
    assert.equal(codeOf(await show(token)), '403 SLV-2109');
    assert.equal(codeOf(await show(otherSignature(token))), '403 SLV-2109');
    const again = await show(token, winner);
    assert.equal(again.status, 200, 'an answer that was lost is had again');
    const nodes = (await service.operate('/v1/identity/nodes')).body as unknown as { name: string }[];
    assert.equal(nodes.filter(({ name }) => name === 'once-0').length, 1);
  });

  test('keys are had again for a key id that is new, not more often than every 30 s', async () => {
    const next = issuerKey('k2');
    await show(await issuer.token(kubernetes('warm')));
    clock.aheadMs += 31_000;
    assert.equal(
      codeOf(await show(await issuer.token(kubernetes('early'), next))),
      '401 SLV-2107',
      'not published yet',
    );
    const before = issuer.fetched;
    issuer.keys = [...issuer.keys, next];
    for (let tries = 0; tries < 20; tries++) {
      const made = await issuer.token(kubernetes('flood'), issuerKey(randomUUID()));
      assert.equal(codeOf(await show(made)), '401 SLV-2107');
    }
    assert.equal(issuer.fetched, before, 'made-up key ids make no load');
    clock.aheadMs += 31_000;
    const fresh = { ...kubernetes('rotated'), exp: now() + 700 };
    assert.equal(codeOf(await show(await issuer.token(fresh, next))), '200');
    assert.equal(issuer.fetched, before + 1);
    issuer.keys = [next];
  });

  test('while the issuer is away its keys stay in use', async () => {
    issuer.failWith = 503;
    clock.aheadMs += 3_600_000;
    const token = await issuer.token({ ...kubernetes('away'), exp: now() + 600 });
    assert.equal(codeOf(await show(token)), '200');
    issuer.failWith = undefined;
  });

  test('the name of a revoked node is barred, also for a new key with a fresh token, until it is readmitted', async () => {
    const fresh = () =>
      issuer.token({
        ...kubernetes('bad'),
        jti: randomUUID(),
        exp: now() + 600,
      });
    const { body } = await show(await fresh());
    const path = `/v1/identity/nodes/${body['nodeId']}`;
    await service.operate(path, { method: 'DELETE' });
    const barred = await show(await fresh());
    assert.equal(codeOf(barred), '403 SLV-2121');
    assert.match(String(barred.body['detail']), /selvedge identity node readmit/);
    assert.equal((await service.operate(`${path}/readmit`, { method: 'POST' })).status, 204);
    assert.equal((await show(await fresh())).status, 200);
    await service.operate(path, { method: 'DELETE' });
    assert.equal((await show(await fresh())).status, 200, 'revoking the old one once more bars nobody');
  });

  test('no token is stored or logged, whole or in part', async () => {
    const token = await issuer.token({
      ...kubernetes('secret'),
      exp: now() + 600,
    });
    assert.equal((await show(token)).status, 200);
    await show(flip(token));
    const stored = (await service.store.range('')).kvs.map(({ value }) => Buffer.from(value).toString('utf8')).join();
    assert.ok(logged.length > 0);
    for (const text of [stored, await service.auditLog(), logged]) {
      for (const part of token.split('.').slice(1)) assert.equal(text.includes(part.slice(0, 40)), false);
    }
  });
});

describe('where the keys of an issuer are', () => {
  test('at a URL, in a file, and not at a server that its CA file does not know', async () => {
    await using issuer = await JwtIssuer.start(join(folder, 'ca2.pem'), issuerKey('k1'));
    const keysFile = join(folder, 'jwks.json');
    writeFileSync(keysFile, await issuer.jwks());
    const strangers = join(folder, 'stranger.pem');
    writeFileSync(strangers, toPem('CERTIFICATE', makeCa('stranger.test').root.certificate));
    const cases = [
      [{ 'jwks-url': `${issuer.url}/jwks`, 'ca-file': issuer.caFile }, '200'],
      [{ 'jwks-file': keysFile }, '200'],
      [{ 'jwks-file': join(folder, 'none.json') }, '503 SLV-2108'],
      [{ 'jwks-file': issuer.caFile }, '503 SLV-2108'],
      [{ 'jwks-url': `${issuer.url}/jwks`, 'ca-file': strangers }, '503 SLV-2108'],
      [{ 'jwks-url': `${issuer.url}/jwks` }, '503 SLV-2108'],
      [{ 'jwks-url': `${issuer.url}/nothing`, 'ca-file': issuer.caFile }, '503 SLV-2108'],
    ] as const;
    await using service = await startAttesting(
      cases.map(([where], at) => ({ method: 'jwt', issuer: `i${at}`, audience: 'selvedge', mappings, ...where })),
    );
    for (const [at, [where, expected]] of cases.entries()) {
      const token = await issuer.token({ ...kubernetes('web'), iss: `i${at}` });
      const answer = await attest(service, { method: 'jwt', token });
      assert.equal(codeOf(answer), expected, JSON.stringify([where, answer.body]));
    }
  });

  test('what was had once is used for a day without the issuer, and asked for again every 30 s', async () => {
    await using issuer = await JwtIssuer.start(join(folder, 'ca5.pem'), issuerKey('k1'));
    let nowMs = 1_000_000;
    const world = { clock: () => nowMs, log: pino({ level: 'silent' }) };
    const keys = new IssuerKeys({ kind: 'url', url: `${issuer.url}/jwks`, caFile: issuer.caFile }, world);
    const find = () =>
      keys.find({ alg: 'ES256', kid: 'k1' }, { payload: '', signature: '' }).then(
        () => 'found',
        (error: unknown) => (isMeshError(error) ? error.code : String(error)),
      );
    assert.deepEqual(await Promise.all([find(), find(), find()]), ['found', 'found', 'found']);
    assert.equal(issuer.fetched, 1, 'one at a time');
    issuer.failWith = 500;
    nowMs += 86_400_000;
    assert.equal(await find(), 'found');
    nowMs += 1;
    assert.equal(await find(), 'SLV-2108');
    assert.equal(issuer.fetched, 2);
    issuer.failWith = undefined;
    nowMs += 30_000;
    assert.equal(await find(), 'found');
    issuer.keys = [];
    nowMs += 600_001;
    assert.equal(await find(), 'SLV-2107', 'a key that the issuer took back');
  });

  test('a discovery document of another issuer is not believed', async () => {
    await using issuer = await JwtIssuer.start(join(folder, 'ca3.pem'), issuerKey('k1'));
    issuer.posesAs = 'https://other.test';
    await using service = await startAttesting([
      { method: 'jwt', issuer: issuer.url, audience: 'selvedge', 'ca-file': issuer.caFile, mappings },
    ]);
    const answer = await attest(service, { method: 'jwt', token: await issuer.token(kubernetes('web')) });
    assert.equal(codeOf(answer), '503 SLV-2108');
    assert.match(String(answer.body['detail']), /is of "https:\/\/other.test"/);
  });

  test('over the rate: 429 with Retry-After; a method that is not configured: 400 that says which are', async () => {
    await using issuer = await JwtIssuer.start(join(folder, 'ca4.pem'), issuerKey('k1'));
    const rate = { perSecond: 0.01, burst: 3 };
    const plenty = { perSecond: 1_000, burst: 1_000 };
    await using service = await startAttesting(
      [{ method: 'jwt', issuer: issuer.url, audience: 'selvedge', 'ca-file': issuer.caFile, mappings }],
      { rates: { join: { perCaller: rate, global: plenty }, issue: { perCaller: plenty, global: plenty } } },
    );
    const vault = await attest(service, { method: 'vault-token', token: 'hvs.0123456789abcdef' });
    assert.equal(codeOf(vault), '400 SLV-2112');
    assert.match(String(vault.body['detail']), /takes join-token, jwt/);
    assert.equal(codeOf(await service.ask('/v1/identity/attest/challenge', { method: 'POST' })), '400 SLV-2112');
    assert.equal(codeOf(await attest(service, { method: 'ssh', token: 'x' })), '400 SLV-1009');
    assert.equal((await attest(service, { method: 'jwt', token: await issuer.token(kubernetes('web')) })).status, 200);
    const over = await attest(service, { method: 'jwt', token: await issuer.token(kubernetes('db')) });
    assert.equal(codeOf(over), '429 SLV-2160');
    assert.ok(Number(over.headers['retry-after']) >= 1);
  });
});

/** The other signature of ECDSA over the same (r, n - s): a different token to whoever compares whole ones. */
function otherSignature(token: string): string {
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
  const signature = Buffer.from(token.slice(token.lastIndexOf('.') + 1), 'base64url');
  const s = order - BigInt(`0x${signature.subarray(32).toString('hex')}`);
  const other = Buffer.concat([signature.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, '0'), 'hex')]);
  return `${token.slice(0, token.lastIndexOf('.'))}.${other.toString('base64url')}`;
}
