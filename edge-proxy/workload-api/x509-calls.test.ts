import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { describe, test } from 'node:test';
import { Metadata, status } from '@grpc/grpc-js';
import type { MessageOf } from '#runtime/protobuf/message.ts';
import { certificatesOfPem } from '#runtime/svid/pem.ts';
import { makeCa } from '#test/mini-ca.ts';
import { waitFor } from '#test/wait-for.ts';
import { header, openStream, startScene, webId } from './testing/scene.ts';
import * as wire from './wire/spiffe-workload-api.ts';

const svidPath = '/SpiffeWorkloadAPI/FetchX509SVID';
const svidTypes = { request: wire.x509SvidRequest, response: wire.x509SvidResponse };
const bundlesPath = '/SpiffeWorkloadAPI/FetchX509Bundles';
const bundleTypes = { request: wire.x509BundlesRequest, response: wire.x509BundlesResponse };

describe('FetchX509SVID', () => {
  test('the whole state at once: chain, key and roots in DER', async (t) => {
    const { client, svid, ca } = await startScene(t);
    const received = openStream(client(), svidPath, svidTypes, {});
    const { svids, crl, federatedBundles } = await received.message(1);
    assert.equal(svids.length, 1);
    const [first] = svids;
    assert.ok(first !== undefined && svid.current !== undefined);
    assert.equal(first.spiffeId, webId);
    assert.deepEqual(Buffer.from(first.x509Svid), Buffer.concat(certificatesOfPem(svid.current.chainPem)));
    assert.deepEqual(Buffer.from(first.bundle), Buffer.from(ca.root.certificate));
    const key = createPrivateKey({ key: Buffer.from(first.x509SvidKey), format: 'der', type: 'pkcs8' });
    // Reads the first of the concatenated certificates: the leaf.
    assert.ok(createPublicKey(key).equals(new X509Certificate(first.x509Svid).publicKey));
    assert.equal(first.hint, '');
    assert.equal(crl.length, 0);
    assert.equal(federatedBundles.size, 0);
  });

  test('rotation, new roots and federation are pushed; what changes nothing is not', async (t) => {
    const { client, svid, trust, ca, issue } = await startScene(t);
    const received = openStream(client(), svidPath, svidTypes, {});
    const before = await received.message(1);
    svid.set(issue());
    const after = await received.message(2);
    assert.notDeepEqual(after.svids[0]?.x509Svid, before.svids[0]?.x509Svid);
    trust.revoke('ffff'); // a change of trust that is none for this workload
    const other = makeCa('mesh.test');
    trust.set({ ...ca.bundle, x509Authorities: [ca.root.certificate, other.root.certificate] });
    const twoRoots = await received.message(3);
    assert.deepEqual(
      Buffer.from(twoRoots.svids[0]?.bundle ?? []),
      Buffer.concat([ca.root.certificate, other.root.certificate]),
    );
    const partner = makeCa('partner.test');
    trust.set(ca.bundle, partner.bundle);
    const federated = await received.message(4);
    assert.deepEqual([...federated.federatedBundles.keys()], ['spiffe://partner.test']);
    trust.set(ca.bundle);
    assert.equal((await received.message(5)).federatedBundles.size, 0); // absence is redaction
    assert.equal(received.messages.length, 5);
  });

  test('UNAVAILABLE while there is no SVID; then the client gets it', async (t) => {
    const { client, svid, issue } = await startScene(t, { svid: null });
    const refused = await openStream(client(), svidPath, svidTypes, {}).ended();
    assert.equal(refused?.code, status.UNAVAILABLE);
    assert.match(refused.details, /no valid SVID of web yet/);
    svid.set(issue());
    await openStream(client(), svidPath, svidTypes, {}).message(1);
  });

  test('a revoked SVID ends the stream: PERMISSION_DENIED', async (t) => {
    const { client, svid, trust } = await startScene(t);
    const received = openStream(client(), svidPath, svidTypes, {});
    await received.message(1);
    trust.revoke(svid.current?.serialHex ?? '');
    const error = await received.ended();
    assert.equal(error?.code, status.PERMISSION_DENIED);
    assert.match(error.details, /^no identity issued/);
  });

  for (const [name, metadata] of [
    ['none', new Metadata()],
    ['another value', header('True')],
    ['empty', header('')],
    ['twice', header('true', 'true')],
  ] as const)
    test(`security header: ${name}`, async (t) => {
      const { client } = await startScene(t);
      const error = await openStream(client(), svidPath, svidTypes, {}, metadata).ended();
      assert.equal(error?.code, status.INVALID_ARGUMENT);
      assert.equal(error.details, 'security header missing from request');
    });
});

test('FetchX509Bundles: all bundles side by side, by the SPIFFE ID of their trust domain', async (t) => {
  const { client, trust, ca } = await startScene(t);
  const received = openStream(client(), bundlesPath, bundleTypes, {});
  assert.deepEqual(
    [...(await received.message(1)).bundles].map(([name, der]) => [name, Buffer.from(der)]),
    [['spiffe://mesh.test', Buffer.from(ca.root.certificate)]],
  );
  const partner = makeCa('partner.test');
  trust.set(ca.bundle, partner.bundle);
  assert.deepEqual(
    Buffer.from((await received.message(2)).bundles.get('spiffe://partner.test') ?? []),
    Buffer.from(partner.root.certificate),
  );
});

describe('many clients', () => {
  test('more streams than the limit are shed with UNAVAILABLE; one that ends makes room', async (t) => {
    const { client, api } = await startScene(t, { limits: { connections: 8, streams: 2 } });
    const one = client();
    const streams = [1, 2].map(() => openStream(one, svidPath, svidTypes, {}));
    for (const stream of streams) await stream.message(1);
    assert.equal(api.openStreams, 2);
    const shed = await openStream(client(), svidPath, svidTypes, {}).ended();
    assert.equal(shed?.code, status.UNAVAILABLE);
    streams[0]?.cancel();
    await waitFor('the stream to be gone', () => api.openStreams === 1);
    await openStream(client(), svidPath, svidTypes, {}).message(1);
  });

  test('a vanished connection takes its streams along', async (t) => {
    const { client, api } = await startScene(t);
    const one = client();
    const received = openStream(one, svidPath, svidTypes, {});
    await received.message(1);
    received.cancel();
    one.close();
    await waitFor('no stream', () => api.openStreams === 0);
  });

  test('closing ends all streams with UNAVAILABLE', async (t) => {
    const { client, api } = await startScene(t);
    const received = openStream(client(), svidPath, svidTypes, {});
    await received.message(1);
    await api.close();
    const error = await received.ended();
    assert.equal(error?.code, status.UNAVAILABLE);
    assert.equal(api.openStreams, 0);
  });

  test('one that reads slowly is not queued for: when it reads again it gets what is newest', async (t) => {
    const { client, trust, ca } = await startScene(t);
    const one = client();
    const call = one.makeServerStreamRequest(
      bundlesPath,
      () => Buffer.alloc(0),
      (bytes) => wire.x509BundlesResponse.decode(bytes),
      {},
      header('true'),
    );
    const sizes: number[] = [];
    call.on('error', () => {}); // cancelled below
    call.on('data', ({ bundles }: MessageOf<typeof wire.x509BundlesResponse>) => {
      sizes.push(bundles.get('spiffe://mesh.test')?.length ?? 0);
      if (sizes.length === 1) call.pause();
    });
    await waitFor('the first message', () => sizes.length === 1);
    const most = 200;
    for (let size = 1; size <= most; size++) {
      trust.set({ ...ca.bundle, x509Authorities: [new Uint8Array(100_000 + size)] });
      await new Promise(setImmediate);
    }
    call.resume();
    await waitFor('the newest', () => sizes.at(-1) === 100_000 + most);
    assert.ok(sizes.length < most / 2, `${sizes.length} messages`);
    call.cancel();
  });

  test('requests are bounded; what is no protobuf is refused', async (t) => {
    const { client, api } = await startScene(t);
    for (const [size, fill, code] of [
      [1_100_000, 0, status.RESOURCE_EXHAUSTED],
      [64, 0xff, status.INTERNAL],
    ] as const) {
      const received = openStream(
        client(),
        svidPath,
        { ...svidTypes, request: { ...wire.x509SvidRequest, encode: () => new Uint8Array(size).fill(fill) } },
        {},
      );
      assert.equal((await received.ended())?.code, code);
    }
    await waitFor('no stream', () => api.openStreams === 0);
  });
});
