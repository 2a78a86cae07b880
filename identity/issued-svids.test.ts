import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createServer } from 'node:tls';
import { readCertificate } from '#policies/svid-leaf.ts';
import { issuedSchema } from '#policies/wire/identity-api.ts';
import { generateKey, type KeyType } from '#runtime/svid/key-type.ts';
import { openMeshIdentity } from '#runtime/svid/mesh-identity.ts';
import { svidOfPem } from '#runtime/svid/node-state.ts';
import { certificatesOfPem } from '#runtime/svid/pem.ts';
import type { Svid } from '#runtime/svid/svid.ts';
import { type VerifiedPeer, verifySocket } from '#runtime/svid/verify-peer.ts';
import { dialTls, serverTlsOptions } from '#runtime/tls-identity.ts';
import { parseDnsNameRule } from './dns-name-rule.ts';
import { forgeRequest } from './testing/forge-request.ts';
import { RunningService, type TestNode } from './testing/running-service.ts';

/** RSA of 4096 bits, which takes seconds to make, is held to its bounds in certificate-request.test.ts. */
const types: readonly KeyType[] = ['ec-p256', 'ec-p384', 'ed25519', 'rsa-2048', 'rsa-3072'];
const webId = 'spiffe://mesh.test/ns/default/dc/dc1/svc/web';

describe('SVIDs of a real identity service', () => {
  let service: RunningService;
  let node: TestNode;
  before(async () => {
    const dnsNames = ['web=web.example.com', '{service}.service.consul'].map(parseDnsNameRule);
    service = await RunningService.start({ dnsNames });
    node = await service.node('web', 'db');
  });
  after(() => service?.[Symbol.asyncDispose]());

  /** A handshake between two SVIDs, each judged by our verifier. */
  async function shakeHands(server: Svid, client: Svid): Promise<{ server: VerifiedPeer; client: VerifiedPeer }> {
    const trust = service.trust ?? assert.fail('no trust');
    const judged = Promise.withResolvers<VerifiedPeer>();
    const listener = createServer(serverTlsOptions(server), (socket) => {
      socket.on('error', judged.reject);
      try {
        judged.resolve(verifySocket(socket, trust, Date.now()));
      } catch (error) {
        judged.reject(error);
      }
      socket.end();
    }).listen(0, '127.0.0.1');
    listener.on('tlsClientError', judged.reject);
    await once(listener, 'listening');
    try {
      let peer: VerifiedPeer | undefined;
      const { port } = listener.address() as AddressInfo;
      const judge = (socket: Parameters<typeof verifySocket>[0]): void => {
        peer = verifySocket(socket, trust, Date.now());
      };
      const socket = await dialTls({ host: '127.0.0.1', port, svid: client, judge });
      socket.resume();
      const [accepted] = await Promise.all([judged.promise, once(socket, 'close')]);
      return { server: peer ?? assert.fail('not judged'), client: accepted };
    } finally {
      listener.close();
    }
  }

  async function obtain(type: KeyType, dnsSans: readonly string[] = []): Promise<Svid> {
    const key = await generateKey(type);
    const answer = await service.issue(node, { service: 'web', csr: forgeRequest({ key, dnsSans }) });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    const keyPem = key.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
    return svidOfPem(issuedSchema.parse(answer.body).chain, keyPem);
  }

  for (const type of types) {
    test(`a key of ${type} shakes hands as server and as client, and renews itself by mTLS`, async () => {
      const svid = await obtain(type);
      const { server, client } = await shakeHands(svid, svid);
      assert.deepEqual([server.spiffeId, client.spiffeId], [webId, webId]);
      assert.deepEqual([server.serialHex, client.serialHex], [svid.serialHex, svid.serialHex]);
      const renewed = await service.ask('/v1/identity/svids', {
        body: { service: 'web', csr: forgeRequest() },
        svid,
      });
      assert.equal(renewed.status, 200);
    });

    test(`a node whose SVIDs are to have keys of ${type} obtains them`, async () => {
      const joinTokenFile = join(service.folder, `${type}.join-token`);
      await writeFile(joinTokenFile, await service.joinToken(['web']));
      const mesh = await openMeshIdentity({
        identityUrl: service.identity.url,
        services: ['web'],
        stateDir: undefined,
        joinTokenFile,
        caPin: service.identity.pins[0],
        nodeName: `node-${type}`,
        context: service.context,
        keyType: type,
        signal: new AbortController().signal,
      });
      try {
        const svid = mesh.svid('web').current ?? assert.fail('no SVID');
        const { asymmetricKeyType, asymmetricKeyDetails } = createPublicKey(svid.keyPem);
        const { namedCurve, modulusLength } = asymmetricKeyDetails ?? {};
        const is = namedCurve ?? `${asymmetricKeyType}${modulusLength === undefined ? '' : `-${modulusLength}`}`;
        assert.equal(is, { 'ec-p256': 'prime256v1', 'ec-p384': 'secp384r1' }[type as string] ?? type);
      } finally {
        await mesh.close();
        await rm(joinTokenFile);
      }
    });
  }

  test('holds the DNS names that were asked for and allowed, which our verifier does not look at', async () => {
    const svid = await obtain('ec-p256', ['web.service.consul', 'web.example.com']);
    const leaf = readCertificate(certificatesOfPem(svid.chainPem)[0] ?? new Uint8Array());
    assert.deepEqual([leaf.uriSans, leaf.dnsSans], [[webId], ['web.service.consul', 'web.example.com']]);
    const plain = await obtain('ec-p256');
    assert.deepEqual(readCertificate(certificatesOfPem(plain.chainPem)[0] ?? new Uint8Array()).dnsSans, []);
    // Dialled by an address that is in neither certificate: who the peer is, its SPIFFE ID says.
    const { server, client } = await shakeHands(svid, plain);
    assert.deepEqual([server.spiffeId, client.spiffeId], [webId, webId]);
    const lines = (await service.auditLog()).trimEnd().split('\n');
    const issue = lines.map((line) => JSON.parse(line)).find(({ serial }) => serial === svid.serialHex);
    assert.deepEqual(issue.dnsNames, ['web.service.consul', 'web.example.com']);
  });

  test('a DNS name that is not allowed for this very service is refused, and the refusal is in the audit log', async () => {
    const refused: readonly (readonly [as: string, name: string])[] = [
      ['db', 'web.example.com'],
      ['db', 'web.service.consul'],
      ['web', 'x.web.service.consul'],
      ['web', '*.service.consul'],
      ['web', 'example.com'],
    ];
    for (const [as, name] of refused) {
      const { status, body } = await service.issue(node, {
        service: as,
        csr: forgeRequest({ dnsSans: [`${as}.service.consul`, name] }),
      });
      assert.deepEqual([status, body['code']], [403, 'SLV-2131'], name);
    }
    const last = (await service.auditLog()).trimEnd().split('\n').at(-1) ?? '';
    const line = JSON.parse(last);
    assert.deepEqual(
      [line.event, line.code, line.service, line.node],
      ['svid-refused', 'SLV-2131', 'web', node.nodeId],
    );
    assert.match(line.reason, /"example\.com" is not allowed/);
  });
});

test('without a rule no SVID holds a DNS name', async () => {
  await using service = await RunningService.start();
  const node = await service.node('web');
  for (const dnsSans of [['web'], ['localhost'], ['web.service.consul']]) {
    const { body } = await service.issue(node, { service: 'web', csr: forgeRequest({ dnsSans }) });
    assert.equal(body['code'], 'SLV-2131');
  }
});
