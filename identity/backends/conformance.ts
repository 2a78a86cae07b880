import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { parseSpiffeId, type TrustDomain } from '#policies/spiffe-id.ts';
import { readCertificate } from '#policies/svid-leaf.ts';
import type { Clock } from '#runtime/clock.ts';
import type { CaBackend } from '../ca-backend.ts';
import { readCertificateRequest } from '../certificate-request.ts';
import { parseDnsNameRule } from '../dns-name-rule.ts';
import { forgeRequest, goodKeyKinds, testKey } from '../testing/forge-request.ts';
import { verifyIssued } from '../verify-issued.ts';

/** What a CA that asks who may be called what is to be told. */
export const conformanceDnsNames = ['web=web.example.com', '{service}.service.consul'].map(parseDnsNameRule);

/**
 * What every CA backend must do, whoever signs. Run by each backend's test on the real thing.
 *
 * @param options.open a backend for `trustDomain` whose CA lets `conformanceDnsNames` into leaves, and what to do with it afterwards
 * @param options.clock the clock that the backend was given
 */
export function caBackendConformance(
  name: string,
  options: {
    readonly trustDomain: TrustDomain;
    readonly clock: Clock;
    readonly skip?: string | false;
    open(): Promise<{ backend: CaBackend; close(): Promise<void> }>;
  },
): void {
  const { trustDomain, clock } = options;
  const id = parseSpiffeId(`spiffe://${trustDomain}/ns/default/dc/dc1/svc/web`);

  describe(`CA backend ${name}`, { skip: options.skip ?? false }, () => {
    let opened: { backend: CaBackend; close(): Promise<void> } | undefined;
    const backend = (): CaBackend => opened?.backend ?? assert.fail('not open');
    before(async () => {
      opened = await options.open();
    });
    after(() => opened?.close());

    for (const ttlSeconds of [60, 3_600, 14_400]) {
      test(`signs for the asked ID, key and ${ttlSeconds} s, by a chain that peers accept`, async () => {
        const request = await readCertificateRequest(forgeRequest());
        const order = { request, spiffeId: id, ttlSeconds };
        const nowMs = clock();
        const signed = await backend().sign(order);
        const doneMs = clock();
        const issued = await verifyIssued(signed, order, backend().roots, doneMs);
        /** Whole seconds, from when it was asked until it was there. */
        const isAt = (ms: number, afterMs: number) => ms > nowMs + afterMs - 1_000 && ms <= doneMs + afterMs + 1_000;
        assert.ok(isAt(issued.notAfterMs, ttlSeconds * 1_000));
        assert.ok(isAt(issued.notBeforeMs, -30_000), 'back-dated by 30 s');
        const [leaf, ...signers] = signed.chain.map(readCertificate);
        assert.deepEqual(leaf?.uriSans, [id]);
        assert.equal(leaf?.subjectEmpty && leaf.sanCritical, true);
        assert.equal(signers.length > 0 && signers.every((signer) => signer.isCa), true);
      });
    }

    test('signs what OpenSSL follows, too: each is issued by the next, by name and key identifier, up to a root; none comes twice', async () => {
      const request = await readCertificateRequest(forgeRequest());
      const { chain } = await backend().sign({ request, spiffeId: id, ttlSeconds: 60 });
      const path = chain.map((der) => new X509Certificate(der));
      const roots = backend().roots.map((der) => new X509Certificate(der));
      for (const [at, certificate] of path.entries()) {
        const next = path[at + 1];
        const isIssued = (next === undefined ? roots : [next]).some(
          (signer) => certificate.checkIssued(signer) && certificate.verify(signer.publicKey),
        );
        assert.ok(isIssued, `${at}: ${certificate.issuer}`);
      }
      assert.equal(new Set(path.map(({ fingerprint256 }) => fingerprint256)).size, path.length);
    });

    for (const kind of goodKeyKinds) {
      test(`signs for a key of ${kind}`, async () => {
        const key = testKey(kind);
        const order = { request: await readCertificateRequest(forgeRequest({ key })), spiffeId: id, ttlSeconds: 60 };
        const signed = await backend().sign(order);
        await verifyIssued(signed, order, backend().roots, clock());
        const leaf = new X509Certificate(signed.chain[0] ?? new Uint8Array());
        assert.ok(leaf.publicKey.equals(key.publicKey));
      });
    }

    for (const dnsSans of [['web.example.com'], ['web.service.consul', 'web.example.com']]) {
      test(`puts the DNS names of the order beside the ID: ${dnsSans.join(', ')}`, async () => {
        const order = { request: await readCertificateRequest(forgeRequest()), spiffeId: id, dnsSans, ttlSeconds: 60 };
        const signed = await backend().sign(order);
        await verifyIssued(signed, order, backend().roots, clock());
        const leaf = readCertificate(signed.chain[0] ?? new Uint8Array());
        assert.deepEqual([leaf.uriSans, leaf.dnsSans.toSorted()], [[id], dnsSans.toSorted()]);
        assert.equal(leaf.subjectEmpty && leaf.sanCritical, true);
      });
    }

    test('takes nothing but the key from the request', async () => {
      const key = testKey();
      const wishes = {
        key,
        commonName: 'admin',
        dnsSans: ['admin.example'],
        uriSans: [`${id}-other`, 'spiffe://evil.test/x'],
        isCa: true,
      };
      const order = { request: await readCertificateRequest(forgeRequest(wishes)), spiffeId: id, ttlSeconds: 60 };
      const signed = await backend().sign(order);
      await verifyIssued(signed, order, backend().roots, clock());
      const leaf = readCertificate(signed.chain[0] ?? new Uint8Array());
      assert.deepEqual([leaf.uriSans, leaf.dnsSans, leaf.otherSanCount, leaf.isCa], [[id], [], 0, false]);
      assert.deepEqual(Buffer.from(leaf.spkiDer), key.publicKey.export({ format: 'der', type: 'spki' }));
    });

    test('gives every leaf a serial number of its own, many at once', async () => {
      const request = await readCertificateRequest(forgeRequest());
      const signed = await Promise.all(
        Array.from({ length: 16 }, () => backend().sign({ request, spiffeId: id, ttlSeconds: 60 })),
      );
      assert.equal(
        new Set(signed.map(({ chain }) => readCertificate(chain[0] ?? new Uint8Array()).serialHex)).size,
        16,
      );
    });

    test('hands out no root in the chain, and roots that are CAs of the trust domain', async () => {
      const request = await readCertificateRequest(forgeRequest());
      const { chain } = await backend().sign({ request, spiffeId: id, ttlSeconds: 60 });
      for (const der of chain) assert.equal(new X509Certificate(der).checkIssued(new X509Certificate(der)), false);
      assert.ok(backend().roots.length > 0);
      for (const root of backend().roots) {
        const facts = readCertificate(root);
        assert.deepEqual(
          [facts.isCa, facts.keyUsage?.keyCertSign, facts.uriSans],
          [true, true, [`spiffe://${trustDomain}`]],
        );
      }
    });

    test('says that it is well and until when its CA is good', () => {
      assert.deepEqual(backend().health, { state: 'healthy' });
      assert.ok((backend().issuingCaNotAfterMs ?? 0) > clock() + 86_400_000);
    });
  });
}
