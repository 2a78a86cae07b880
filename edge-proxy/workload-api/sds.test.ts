import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Metadata, status } from '@grpc/grpc-js';
import { toPem } from '#policies/der-writer.ts';
import type { MessageInput, MessageOf } from '#runtime/protobuf/message.ts';
import { makeCa } from '#test/mini-ca.ts';
import { waitFor } from '#test/wait-for.ts';
import { secretTypeUrl } from './secrets.ts';
import { ask, openStream, type Scene, startScene, webId } from './testing/scene.ts';
import * as sds from './wire/envoy-sds.ts';
import { structOf } from './wire/google.ts';

const service = '/envoy.service.secret.v3.SecretDiscoveryService';
const world = { request: sds.discoveryRequest, response: sds.discoveryResponse };
const delta = { request: sds.deltaRequest, response: sds.deltaResponse };
/** Envoy sends no security header. */
const none = new Metadata();
const plainNode = { id: 'envoy', metadata: structOf({ disable_spiffe_cert_validation: true }) };

function fetch({ client }: Scene, request: MessageInput<typeof sds.discoveryRequest>) {
  return ask(client(), `${service}/FetchSecrets`, world, request, none);
}

function stream({ client }: Scene) {
  return openStream(client(), `${service}/StreamSecrets`, world, undefined, none);
}

function deltaStream({ client }: Scene) {
  return openStream(client(), `${service}/DeltaSecrets`, delta, undefined, none);
}

function secretsIn({ resources }: MessageOf<typeof sds.discoveryResponse>) {
  return resources.map(({ typeUrl, value }) => {
    assert.equal(typeUrl, secretTypeUrl);
    return sds.secret.decode(value);
  });
}

function text(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? []).toString();
}

/** What the SPIFFE validator is told: trust domain and PEM. */
function trustDomainsIn(secret: MessageOf<typeof sds.secret> | undefined): [string, string][] {
  const config = secret?.validationContext?.customValidatorConfig;
  assert.equal(config?.name, 'envoy.tls.cert_validator.spiffe');
  const { trustDomains } = sds.spiffeValidator.decode(config.typedConfig?.value ?? new Uint8Array());
  return trustDomains.map(({ name, trustBundle }) => [name, text(trustBundle?.inlineBytes)]);
}

describe('what each name holds', () => {
  test('default and the SPIFFE ID: chain and key', async (t) => {
    const scene = await startScene(t);
    const secrets = secretsIn(await fetch(scene, { resourceNames: ['default', webId] }));
    assert.deepEqual(
      secrets.map(({ name }) => name),
      ['default', webId],
    );
    for (const { tlsCertificate, validationContext } of secrets) {
      assert.equal(text(tlsCertificate?.certificateChain?.inlineBytes), scene.svid.current?.chainPem);
      assert.equal(text(tlsCertificate?.privateKey?.inlineBytes), scene.svid.current?.keyPem);
      assert.equal(validationContext, undefined);
    }
  });

  test('ROOTCA, the trust domain, a federated one, ALL: the SPIFFE validator, each trust domain under its own roots', async (t) => {
    const scene = await startScene(t);
    const partner = makeCa('partner.test');
    scene.trust.set(scene.ca.bundle, partner.bundle);
    const own = ['mesh.test', toPem('CERTIFICATE', scene.ca.root.certificate)];
    const other = ['partner.test', toPem('CERTIFICATE', partner.root.certificate)];
    const names = ['ROOTCA', 'spiffe://mesh.test', 'spiffe://partner.test', 'ALL'];
    const secrets = secretsIn(await fetch(scene, { resourceNames: names, typeUrl: secretTypeUrl }));
    assert.deepEqual(secrets.map(trustDomainsIn), [[own], [own], [other], [own, other]]);
  });

  test('no names: all that there is', async (t) => {
    const secrets = secretsIn(await fetch(await startScene(t), {}));
    assert.deepEqual(
      secrets.map(({ name }) => name),
      [webId, 'spiffe://mesh.test'],
    );
  });

  test('a node that asks for plain validation gets roots only; never those of several trust domains as one', async (t) => {
    const scene = await startScene(t);
    const [root] = secretsIn(await fetch(scene, { resourceNames: ['ALL'], node: plainNode }));
    assert.equal(
      text(root?.validationContext?.trustedCa?.inlineBytes),
      toPem('CERTIFICATE', scene.ca.root.certificate),
    );
    assert.equal(root?.validationContext?.customValidatorConfig, undefined);
    scene.trust.set(scene.ca.bundle, makeCa('partner.test').bundle);
    await assert.rejects(fetch(scene, { resourceNames: ['ALL'], node: plainNode }), { code: status.INVALID_ARGUMENT });
  });

  for (const name of [
    'spiffe://mesh.test/ns/default/dc/dc1/svc/db',
    'spiffe://other.test',
    'DEFAULT',
    '',
    `spiffe://mesh.test/${'x'.repeat(2_000)}`,
  ])
    test(`another's: ${name.slice(0, 50)}`, async (t) => {
      const scene = await startScene(t);
      await assert.rejects(fetch(scene, { resourceNames: [name] }), { code: status.PERMISSION_DENIED });
      const received = stream(scene);
      received.send({ resourceNames: [name] });
      assert.equal((await received.ended())?.code, status.PERMISSION_DENIED);
    });

  test('too many names, another type, no SVID yet', async (t) => {
    const scene = await startScene(t);
    const names = Array.from({ length: 65 }, (_, index) => `name ${index}`);
    await assert.rejects(fetch(scene, { resourceNames: names }), { code: status.RESOURCE_EXHAUSTED });
    const cluster = 'type.googleapis.com/envoy.config.cluster.v3.Cluster';
    await assert.rejects(fetch(scene, { typeUrl: cluster }), { code: status.INVALID_ARGUMENT });
    await assert.rejects(fetch(await startScene(t, { svid: null }), {}), { code: status.UNAVAILABLE });
  });
});

describe('StreamSecrets', () => {
  test('answers at once; after ACK only what is new; rotation is pushed', async (t) => {
    const scene = await startScene(t);
    const received = stream(scene);
    received.send({ resourceNames: ['default'], typeUrl: secretTypeUrl });
    const first = await received.message(1);
    received.send({
      resourceNames: ['default'],
      versionInfo: first.versionInfo,
      responseNonce: first.nonce,
      typeUrl: secretTypeUrl,
    });
    scene.trust.set(scene.ca.bundle); // no change of this secret
    scene.svid.set(scene.issue());
    const second = await received.message(2);
    assert.notEqual(second.versionInfo, first.versionInfo);
    assert.notEqual(second.nonce, first.nonce);
    assert.equal(
      text(secretsIn(second)[0]?.tlsCertificate?.certificateChain?.inlineBytes),
      scene.svid.current?.chainPem,
    );
    assert.equal(received.messages.length, 2);
  });

  test('a NACK is logged and not answered with the same again; the next version is', async (t) => {
    const scene = await startScene(t);
    const received = stream(scene);
    received.send({ resourceNames: ['default'] });
    const { nonce } = await received.message(1);
    received.send({
      resourceNames: ['default'],
      responseNonce: nonce,
      errorDetail: { code: 13, message: 'no\n good' },
    });
    const line = await waitFor('the log', () => scene.log.find(({ msg }) => /rejected/.test(String(msg))));
    assert.equal(line['reason'], '"no\\n good"');
    scene.svid.set(scene.issue());
    await received.message(2);
    assert.equal(received.messages.length, 2);
  });

  test('other names are answered at once; a request with an old nonce is passed over', async (t) => {
    const scene = await startScene(t);
    const received = stream(scene);
    received.send({ resourceNames: ['default'] });
    const first = await received.message(1);
    received.send({ resourceNames: ['default', 'ROOTCA'], responseNonce: first.nonce });
    const second = await received.message(2);
    assert.equal(second.resources.length, 2);
    received.send({ resourceNames: ['ROOTCA'], responseNonce: first.nonce }); // old
    received.send({ resourceNames: ['ROOTCA'], responseNonce: second.nonce });
    assert.deepEqual(
      secretsIn(await received.message(3)).map(({ name }) => name),
      ['ROOTCA'],
    );
    received.finish();
    assert.equal(await received.ended(), undefined);
    await waitFor('no stream', () => scene.api.openStreams === 0);
  });
});

describe('DeltaSecrets', () => {
  test('what was subscribed, then what changed of it', async (t) => {
    const scene = await startScene(t);
    const received = deltaStream(scene);
    received.send({ resourceNamesSubscribe: ['default', 'ROOTCA'], typeUrl: secretTypeUrl });
    const first = await received.message(1);
    assert.deepEqual(
      first.resources.map(({ name }) => name),
      ['default', 'ROOTCA'],
    );
    received.send({ responseNonce: first.nonce });
    scene.svid.set(scene.issue());
    const second = await received.message(2);
    assert.deepEqual(
      second.resources.map(({ name }) => name),
      ['default'],
    );
    received.send({ resourceNamesUnsubscribe: ['default'], responseNonce: second.nonce });
    received.send({ resourceNamesSubscribe: ['ROOTCA'] }); // once more: to be told again
    assert.deepEqual(
      (await received.message(3)).resources.map(({ name }) => name),
      ['ROOTCA'],
    );
    scene.svid.set(scene.issue()); // nobody asks for it now
    scene.trust.set({ ...scene.ca.bundle, x509Authorities: [makeCa('mesh.test').root.certificate] });
    assert.deepEqual(
      (await received.message(4)).resources.map(({ name }) => name),
      ['ROOTCA'],
    );
  });

  test('who comes back with the newest version is told nothing until it changes', async (t) => {
    const scene = await startScene(t);
    const before = deltaStream(scene);
    before.send({ resourceNamesSubscribe: ['default'] });
    const version = (await before.message(1)).resources[0]?.version ?? '';
    before.cancel();
    const received = deltaStream(scene);
    received.send({ resourceNamesSubscribe: ['default'], initialResourceVersions: new Map([['default', version]]) });
    received.send({ resourceNamesSubscribe: ['ROOTCA'] });
    assert.deepEqual(
      (await received.message(1)).resources.map(({ name }) => name),
      ['ROOTCA'],
    );
  });

  test('everything: by no names or by *; a trust domain that leaves is removed', async (t) => {
    const scene = await startScene(t);
    scene.trust.set(scene.ca.bundle, makeCa('partner.test').bundle);
    for (const names of [[], ['*']]) {
      const received = deltaStream(scene);
      received.send({ resourceNamesSubscribe: names });
      assert.deepEqual(
        (await received.message(1)).resources.map(({ name }) => name),
        [webId, 'spiffe://mesh.test', 'spiffe://partner.test'],
      );
      if (names.length === 0) continue;
      scene.trust.set(scene.ca.bundle);
      assert.deepEqual((await received.message(2)).removedResources, ['spiffe://partner.test']);
    }
  });

  test("another's name, another type, too many names", async (t) => {
    const scene = await startScene(t);
    for (const [request, code] of [
      [{ resourceNamesSubscribe: ['spiffe://other.test/x'] }, status.PERMISSION_DENIED],
      [{ typeUrl: 'other' }, status.INVALID_ARGUMENT],
      [{ resourceNamesSubscribe: Array.from({ length: 65 }, (_, i) => `${i}`) }, status.RESOURCE_EXHAUSTED],
    ] as const) {
      const received = deltaStream(scene);
      received.send(request);
      assert.equal((await received.ended())?.code, code);
    }
    await waitFor('no stream', () => scene.api.openStreams === 0);
  });
});
