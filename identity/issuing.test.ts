import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { issuedSchema, nodeProofHeader } from '#policies/wire/identity-api.ts';
import { verifyAuditLog } from '#runtime/audit/verify-audit-log.ts';
import { createLogger } from '#runtime/logging.ts';
import { makeKeyPair, publicKeyPem } from '#runtime/svid/node-key.ts';
import { signNodeProof } from '#runtime/svid/node-proof.ts';
import { svidOfPem } from '#runtime/svid/node-state.ts';
import { certificatesOfPem } from '#runtime/svid/pem.ts';
import { verifyChain } from '#runtime/svid/verify-peer.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { Attestation } from './attestation.ts';
import { NodeProofs } from './node-proof.ts';
import { maxLiveSvids, Nodes, nodeAbsenceMs, readNodeKey } from './nodes.ts';
import { Presence } from './presence.ts';
import { forgeRequest, testKey } from './testing/forge-request.ts';
import { type Answer, RunningService, type TestNode } from './testing/running-service.ts';

const codeOf = (answer: Answer): string => `${answer.status} ${String(answer.body['code'] ?? '')}`.trim();

describe('issuing over HTTPS', () => {
  let service: RunningService;
  let node: TestNode;
  before(async () => {
    service = await RunningService.start();
    node = await service.node('web');
  });
  after(() => service?.[Symbol.asyncDispose]());

  test('a node gets the SVID of a service that it was granted, by a chain that verifies, with the signed bundle', async () => {
    const { svid, issued } = await service.svid(node, 'web');
    assert.equal(issued.spiffeId, 'spiffe://mesh.test/ns/default/dc/dc1/svc/web');
    const trust = service.trust;
    assert.ok(trust);
    const peer = verifyChain({ chain: certificatesOfPem(issued.chain), trust, nowMs: Date.now() });
    assert.deepEqual([peer.spiffeId, peer.serialHex], [issued.spiffeId, issued.serial]);
    assert.equal(peer.notAfterMs, Date.parse(issued.notAfter));
    assert.ok(Math.abs(svid.notAfterMs - Date.now() - 14_400_000) < 5_000);
    assert.equal(await trust.acceptSigned(issued.bundle), true);
  });

  const lifetimes: readonly [asked: number, given: number][] = [
    [1, 60],
    [60, 60],
    [7_200, 7_200],
    [604_800, 86_400],
  ];
  for (const [asked, given] of lifetimes) {
    test(`asked for ${asked} s it gives ${given} s`, async () => {
      const issued = issuedSchema.parse((await service.issue(node, { service: 'web', ttlSeconds: asked })).body);
      assert.ok(Math.abs(Date.parse(issued.notAfter) - Date.now() - given * 1_000) < 5_000);
    });
  }

  test('an ID outside of the grant is refused, whichever way it is asked for', async () => {
    const wide = await service.node('*');
    const { svid } = await service.svid(node, 'web');
    const ask = (as: TestNode, name: string, more = {}) => service.issue(as, { service: name }, more).then(codeOf);
    assert.equal(await ask(node, 'db'), '403 SLV-2120');
    assert.equal(await ask(node, 'web2'), '403 SLV-2120');
    assert.equal(await ask(node, 'db', { svid }), '403 SLV-2120');
    assert.equal(await ask(wide, 'db'), '200');
    assert.equal(await ask(wide, 'selvedge-catalog'), '403 SLV-2120');
    assert.equal(await ask(wide, 'selvedge-identity'), '403 SLV-2120');
    for (const name of ['web/../db', 'web%2fdb', 'WEB\u0000', '..', 'web/', '*'])
      assert.match(await ask(wide, name), /^400 /);
    const db = await service.ask('/v1/identity/svids', { body: { service: 'db', csr: forgeRequest() }, svid });
    assert.equal(codeOf(db), '403 SLV-2120', 'by mTLS an SVID renews itself only');
  });

  test('nobody gets anything without showing something', async () => {
    const body = { service: 'web', csr: forgeRequest() };
    assert.equal(codeOf(await service.ask('/v1/identity/svids', { body })), '401 SLV-2001');
    const operator = { 'x-consul-token': await service.operatorToken };
    assert.equal(codeOf(await service.ask('/v1/identity/svids', { body, headers: operator })), '401 SLV-2001');
  });

  test('a proof is of this node, this body, this minute, and good once', async () => {
    const other = await service.node('web');
    const body = JSON.stringify({ service: 'web', csr: forgeRequest() });
    const sign = (of: { nodeId?: string; content?: string; key?: TestNode['key']; offMs?: number }) =>
      signNodeProof(
        of.key ?? node.key,
        { nodeId: node.nodeId, content: body, ...of },
        { ...service.context, clock: () => Date.now() + (of.offMs ?? 0) },
      );
    const show = async (proof: string) =>
      codeOf(await service.ask('/v1/identity/svids', { body, headers: { [nodeProofHeader]: proof } }));
    assert.equal(await show(await sign({ content: `${body} ` })), '401 SLV-2110');
    assert.equal(await show(await sign({ key: other.key })), '401 SLV-2110');
    assert.equal(await show(await sign({ nodeId: other.nodeId })), '401 SLV-2110');
    assert.equal(await show(await sign({ offMs: -62_000 })), '401 SLV-2110');
    assert.equal(await show(await sign({ nodeId: 'f'.repeat(32) })), '401 SLV-2111');
    assert.equal(await show(await sign({ nodeId: '../identity/trust' })), '401 SLV-2111');
    assert.equal(await show('x.y.z'), '401 SLV-2110');
    const proof = await sign({ offMs: -50_000 });
    assert.equal(await show(proof), '200');
    assert.equal(await show(proof), '401 SLV-2110');
  });

  test('a CSR that is garbage, tampered, or asks for more is refused', async () => {
    const id = 'spiffe://mesh.test/ns/default/dc/dc1/svc/web';
    const refused: readonly (readonly [what: string, csr: string])[] = [
      ['garbage', 'garbage'],
      ['tampered', forgeRequest({ uriSans: [id], tampered: true })],
      ['another ID', forgeRequest({ uriSans: ['spiffe://mesh.test/ns/default/dc/dc1/svc/db'] })],
      ['two IDs', forgeRequest({ uriSans: [id, 'spiffe://mesh.test/ns/default/dc/dc1/svc/db'] })],
      ['another trust domain', forgeRequest({ uriSans: ['spiffe://evil.test/ns/default/dc/dc1/svc/web'] })],
      ['CA:TRUE', forgeRequest({ isCa: true })],
      ['keyCertSign', forgeRequest({ keyCertSign: true })],
      ['a weak key', forgeRequest({ key: testKey('rsa-1024') })],
    ];
    for (const [what, csr] of refused)
      assert.equal(codeOf(await service.issue(node, { service: 'web', csr })), '400 SLV-2130', what);
  });

  test('an SVID in hand renews itself; so does the one before it, but not an older one', async () => {
    const { svid: first } = await service.svid(node, 'web');
    const renew = async (svid: typeof first) => {
      const key = testKey();
      const answer = await service.ask('/v1/identity/svids', {
        body: { service: 'web', csr: forgeRequest({ key }) },
        svid,
      });
      return { code: codeOf(answer), answer, key };
    };
    const lost = await renew(first);
    assert.equal(lost.code, '200');
    const again = await renew(first);
    assert.equal(again.code, '200', 'an answer that was lost costs nothing');
    const third = await renew(first);
    assert.equal(third.code, '200', 'nor do two');
    const newest = svidOfPem(
      issuedSchema.parse(third.answer.body).chain,
      third.key.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    );
    assert.equal((await renew(newest)).code, '200');
    assert.equal((await renew(first)).code, '401 SLV-2122');
    const other = await service.svid(await service.node('api'), 'api');
    assert.equal((await renew(other.svid)).code, '403 SLV-2120');
  });

  test('of many renewals at once each gets an SVID', async () => {
    const { svid } = await service.svid(node, 'web');
    const body = () => ({ service: 'web', csr: forgeRequest() });
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => service.ask('/v1/identity/svids', { body: body(), svid })),
    );
    assert.deepEqual(answers.map(codeOf), Array(8).fill('200'));
  });

  test('a revoked node gets nothing more, and what it holds is taken back by the signed bundle', async () => {
    const doomed = await service.node('web');
    const held = await Promise.all([1, 2, 3].map(() => service.svid(doomed, 'web')));
    const [first] = held;
    assert.ok(first && service.trust);
    const before = service.trust.sequence;
    assert.equal((await service.operate(`/v1/identity/nodes/${doomed.nodeId}`, { method: 'DELETE' })).status, 204);
    assert.equal(codeOf(await service.issue(doomed, { service: 'web' })), '403 SLV-2121');
    await assert.rejects(
      service.ask('/v1/identity/svids', { body: { service: 'web', csr: forgeRequest() }, svid: first.svid }),
    );
    const { body } = await service.ask('/v1/identity/bundle/signed');
    assert.equal(await service.trust.acceptSigned(String(body['jws'])), true);
    assert.ok(service.trust.sequence > before);
    for (const { svid } of held) assert.equal(service.trust.isRevoked(svid.serialHex, svid.spiffeId), true);
    assert.equal(service.trust.isRevoked((await service.svid(node, 'web')).svid.serialHex, first.svid.spiffeId), false);
    const rejoined = await service.join(await service.joinToken(['web']), doomed.key);
    assert.equal(codeOf(rejoined), '403 SLV-2121', 'a fresh token does not bring the key back');
    assert.equal((await service.operate('/v1/identity/nodes/none', { method: 'DELETE' })).status, 404);
  });

  test('the audit log says who got what on which evidence, and who was refused', async () => {
    const { issued } = await service.svid(node, 'web');
    await service.issue(node, { service: 'db' });
    const text = await service.auditLog();
    assert.ok((await verifyAuditLog([Buffer.from(text)])).lines > 10);
    const lines = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const issue = lines.find(({ serial }) => serial === issued.serial);
    assert.deepEqual(
      [issue?.['event'], issue?.['spiffeId'], issue?.['node'], issue?.['evidence'], issue?.['backend']],
      ['svid-issued', issued.spiffeId, node.nodeId, 'node-key', 'embedded'],
    );
    assert.match(String(issue?.['keySha256']), /^[0-9a-f]{64}$/);
    const refusal = lines.findLast(({ event }) => event === 'svid-refused');
    assert.deepEqual([refusal?.['code'], refusal?.['service'], refusal?.['node']], ['SLV-2120', 'db', node.nodeId]);
  });
});

describe('attestation over time', () => {
  const log = createLogger({ process: 'test', level: 'silent' });

  test('a node comes back by its key within 30 days of its last SVID, and not after', async () => {
    let nowMs = Date.now();
    const clock = (): number => nowMs;
    await using store = await openSqliteStore({ path: undefined, clock: Date.now, log });
    const nodes = new Nodes(store, clock);
    const presence = await Presence.open(store, { clock });
    const attestation = new Attestation({ nodes, proofs: new NodeProofs(clock), presence, open: false });
    const pair = makeKeyPair();
    const joining = await nodes.joining(readNodeKey(publicKeyPem(pair)), { name: 'n1', services: ['web'] });
    await store.txn({ compare: [], success: [joining.put] });
    const { id } = joining.node;
    const world = { clock, randomBytes: (size: number) => crypto.getRandomValues(new Uint8Array(size)) };
    const show = async () => {
      const body = Buffer.from('{}');
      const jws = await signNodeProof(pair, { nodeId: id, content: body }, world);
      return attestation.attest({ service: 'web', proof: { jws, body }, peer: undefined });
    };
    // Another instance was there all the time.
    const pass = async (ms: number): Promise<void> => {
      nowMs += ms;
      await store.put('identity/presence', Buffer.from(JSON.stringify({ seenAtMs: nowMs, outages: [] })));
      await presence.note();
    };
    await pass(nodeAbsenceMs - 1_000);
    assert.equal((await show()).kind, 'node-key');
    await nodes.recordSvid(id, { service: 'web', serial: 'aa', notAfterMs: nowMs + 60_000 }, undefined);
    await pass(nodeAbsenceMs - 1_000);
    assert.equal((await show()).kind, 'node-key');
    await pass(2_000);
    await assert.rejects(show(), (error) => isMeshError(error, 'SLV-2111'));
  });

  test('what has run out is forgotten; more living SVIDs than can be revoked are not issued', async () => {
    let nowMs = Date.now();
    await using store = await openSqliteStore({ path: undefined, clock: Date.now, log });
    const nodes = new Nodes(store, () => nowMs);
    const { node, put } = await nodes.joining(readNodeKey(publicKeyPem(makeKeyPair())), {
      name: 'n1',
      services: ['*'],
    });
    const full = {
      ...node,
      live: Array.from({ length: maxLiveSvids - 1 }, (_, n) => ({ serial: `s${n}`, notAfterMs: nowMs + 60_000 })),
    };
    assert.ok(put.kind === 'put');
    await store.txn({ compare: [], success: [{ ...put, value: Buffer.from(JSON.stringify(full)) }] });
    await nodes.recordSvid(node.id, { service: 'web', serial: 'aa', notAfterMs: nowMs + 60_000 }, undefined);
    const refused = nodes.recordSvid(node.id, { service: 'web', serial: 'bb', notAfterMs: nowMs + 60_000 }, undefined);
    await assert.rejects(
      refused,
      (error) => isMeshError(error, 'SLV-2160') && error.detail['retryAfterSeconds'] === 180,
    );
    nowMs += 180_001;
    for (let n = 0; n < maxLiveSvids / 100; n++) {
      await nodes.recordSvid(node.id, { service: 'db', serial: `c${n}`, notAfterMs: nowMs + 60_000 }, undefined);
    }
    const later = (await nodes.get(node.id))?.node;
    assert.deepEqual(Object.keys(later?.svids ?? {}), ['db']);
    const kept = Array.from({ length: maxLiveSvids / 100 }, (_, n) => `c${n}`);
    assert.deepEqual(
      later?.live.map(({ serial }) => serial),
      kept,
    );
    const known = (await store.range('identity/serials/')).kvs.map(({ key }) => key.slice('identity/serials/'.length));
    assert.deepEqual(known.sort(), kept.toSorted());
  });
});
