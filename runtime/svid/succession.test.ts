import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CompactSign, importPKCS8 } from 'jose';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { formatSpiffeBundle, type TrustBundle } from '#policies/trust-bundle.ts';
import { type MiniCa, makeCa, type Recipe } from '#test/mini-ca.ts';
import { signBundle } from './sign-bundle.ts';
import { signSuccession } from './sign-succession.ts';
import { openSuccession } from './succession.ts';
import type { Svid } from './svid.ts';

const dayMs = 86_400_000;
const nowMs = Date.now();
const longAgo: Recipe = { notBeforeMs: nowMs - 400 * dayMs, notAfterMs: nowMs + 400 * dayMs };
const id = (service: string, domain = 'mesh.test') => `spiffe://${domain}/ns/default/dc/dc1/svc/${service}`;

/** A root that has been there for a year, with an issuing CA of as long. */
function oldCa(domain = 'mesh.test', recipe: Recipe = {}): MiniCa {
  const ca = makeCa(domain, { ...longAgo, ...recipe });
  return { ...ca, ...ca.root.intermediate({ ...longAgo, pathLength: 0 }) };
}
const [a, b, c, stranger] = [oldCa(), oldCa(), oldCa(), oldCa()];
const elsewhere = oldCa('other.test');
const heldRoots = bundleOf([a], 10);

function bundleOf(cas: readonly MiniCa[], sequence: number, domain = a.bundle.trustDomain): TrustBundle {
  const x509Authorities = cas.map(({ root }) => root.certificate);
  return { ...a.bundle, trustDomain: domain, sequence, x509Authorities };
}

/** The identity service's SVID of an hour around `atMs`. */
function svidOf(ca: MiniCa, atMs: number, recipe: Recipe & { spiffeId?: string } = {}): Svid {
  return ca.issue({
    spiffeId: id('selvedge-identity', ca.trustDomain),
    notBeforeMs: atMs - 1_800_000,
    notAfterMs: atMs + 1_800_000,
    ...recipe,
  });
}

interface StepOptions {
  readonly sequence?: number;
  readonly daysAgo?: number;
  readonly recipe?: Recipe & { spiffeId?: string };
  /** Days ago that its signer was valid; default `daysAgo`. */
  readonly signerDaysAgo?: number;
  readonly domain?: MiniCa;
}
function step(signer: MiniCa, to: readonly MiniCa[], options: StepOptions = {}): Promise<string> {
  const { sequence = 11, daysAgo = 40, recipe, signerDaysAgo = daysAgo, domain = a } = options;
  const bundle = bundleOf(to, sequence, domain.bundle.trustDomain);
  const svid = svidOf(signer, nowMs - signerDaysAgo * dayMs, recipe);
  return signSuccession({ bundle, svid, nowMs: nowMs - daysAgo * dayMs });
}
const held = { bundle: heldRoots, isRevoked: () => false };
const roots = (bundle: TrustBundle) => bundle.x509Authorities.map((der) => Buffer.from(der).toString('hex'));

describe('a succession of roots', () => {
  const first = () => step(a, [a, b]);
  const second = () => step(b, [b, c], { sequence: 20, daysAgo: 5 });

  test('leads from the roots in hand to those of today, by signers that have long run out', async () => {
    const bundle = await openSuccession([await first(), await second()], held, nowMs);
    assert.deepEqual(roots(bundle), roots(bundleOf([b, c], 20)));
    assert.equal(bundle.sequence, 20);
  });

  test('what is behind the bundle in hand is passed over', async () => {
    const later = { ...held, bundle: bundleOf([a, b], 15) };
    const bundle = await openSuccession([await first(), await second()], later, nowMs);
    assert.deepEqual(roots(bundle), roots(bundleOf([b, c], 20)));
  });

  /** Swaps payload or signature of one step for that of another. */
  const spliced = (head: string, tail: string, part: 1 | 2) =>
    head
      .split('.')
      .with(part, tail.split('.')[part] ?? '')
      .join('.');
  const rsaHeader = Buffer.from('{"alg":"none","typ":"selvedge-succession","x5c":["AAAA"]}').toString('base64url');

  const forgeries: readonly [what: string, steps: () => Promise<readonly string[]>, why: RegExp][] = [
    ['nothing', async () => [], /no step of it follows/],
    ['only what is known already', async () => [await step(a, [a], { sequence: 10 })], /no step of it follows/],
    ['signed under a root that is not held', async () => [await step(stranger, [b])], /not signed under the roots/],
    ['signed under the new root itself', async () => [await step(b, [a, b])], /not signed under the roots/],
    ['the first step left out', async () => [await second()], /not signed under the roots/],
    ['the steps in the wrong order', async () => [await second(), await first()], /not signed under/],
    ['one step twice', async () => [await first(), await first()], /its sequence does not grow/],
    [
      'a second step with a lower sequence',
      async () => [await step(a, [a, b], { sequence: 20 }), await step(b, [c], { sequence: 19 })],
      /its sequence does not grow/,
    ],
    [
      'signed by a service that is no identity service',
      async () => [await step(a, [b], { recipe: { spiffeId: id('web') } })],
      /no identity service/,
    ],
    [
      'signed by the identity service of another trust domain',
      async () => [await step(elsewhere, [b])],
      /not signed under the roots/,
    ],
    ['of another trust domain', async () => [await step(a, [b], { domain: elsewhere })], /of the trust domain other/],
    ['91 days old', async () => [await step(a, [b], { daysAgo: 91 })], /more than 90 days ago/],
    ['of tomorrow', async () => [await step(a, [b], { daysAgo: -1 })], /in the future/],
    [
      'by an SVID that had run out when it signed',
      async () => [await step(a, [b], { daysAgo: 40, signerDaysAgo: 41 })],
      /not signed under the roots/,
    ],
    [
      'by an SVID that was not yet valid when it signed',
      async () => [await step(a, [b], { daysAgo: 40, signerDaysAgo: 39 })],
      /not signed under the roots/,
    ],
    ['to no root', async () => [await step(a, [])], /has no roots/],
    [
      'with the roots of another',
      async () => [spliced(await first(), await step(a, [c]), 1)],
      /signature does not ver/,
    ],
    [
      'with the signature of another',
      async () => [spliced(await first(), await second(), 2)],
      /signature does not ver/,
    ],
    ['unsigned', async () => [(await first()).split('.').with(0, rsaHeader).join('.')], /malformed/],
    ['rubbish', async () => ['a.b.c'], /malformed/],
    ['too large', async () => ['a'.repeat(70_000)], /larger than/],
    ['too many', async () => Array.from({ length: 17 }, () => ''), /more than 16 steps/],
    [
      'a signed bundle, which anybody can have kept',
      async () => [
        await signBundle({
          bundle: bundleOf([a, b], 11),
          revoked: { serials: [], spiffeIds: [] },
          svid: svidOf(a, nowMs),
          nowMs,
        }),
      ],
      /malformed/,
    ],
    [
      'with more in it than a step has',
      async () => {
        const svid = svidOf(a, nowMs);
        const [header = ''] = (await first()).split('.');
        const { alg, typ } = JSON.parse(Buffer.from(header, 'base64url').toString());
        const x5c = [...svid.chainPem.matchAll(/-----BEGIN CERTIFICATE-----([^-]+)/g)].map(([, body = '']) =>
          body.replace(/\s/g, ''),
        );
        const content = {
          trust_domain: 'mesh.test',
          iat: nowMs / 1_000,
          bundle: formatSpiffeBundle(bundleOf([b], 11)),
        };
        const payload = Buffer.from(JSON.stringify({ ...content, iat: Math.floor(content.iat), revoked: {} }));
        const key = await importPKCS8(svid.keyPem, 'ES256');
        return [await new CompactSign(payload).setProtectedHeader({ alg, typ, x5c }).sign(key)];
      },
      /malformed/,
    ],
  ];
  for (const [what, steps, why] of forgeries) {
    test(`is refused: ${what}`, async () => {
      await assert.rejects(openSuccession(await steps(), held, nowMs), (error) => {
        assert.ok(isMeshError(error, 'SLV-2015'), String(error));
        assert.match(error.message, why);
        return true;
      });
    });
  }

  test('is refused from a signer that the node knows to be revoked', async () => {
    const revoked = { ...held, isRevoked: (_: string, spiffeId: string) => spiffeId === id('selvedge-identity') };
    await assert.rejects(openSuccession([await first()], revoked, nowMs), /is revoked/);
  });

  test('is refused from a root that had ended when the step was signed', async () => {
    const ended = oldCa('mesh.test', { notAfterMs: nowMs - 50 * dayMs });
    const known = { ...held, bundle: bundleOf([ended], 10) };
    await assert.rejects(openSuccession([await step(ended, [b])], known, nowMs), /not signed under the roots/);
    const bundle = await openSuccession([await step(ended, [b], { daysAgo: 60 })], known, nowMs);
    assert.equal(bundle.sequence, 11, 'its end since does not matter');
  });
});
