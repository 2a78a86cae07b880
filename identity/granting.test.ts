import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { createLogger } from '#runtime/logging.ts';
import { makeKeyPair, publicKeyPem } from '#runtime/svid/node-key.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { Nodes, readNodeKey, takenBack } from './nodes.ts';
import { forgeRequest } from './testing/forge-request.ts';
import { type Answer, RunningService, type TestNode } from './testing/running-service.ts';

const codeOf = (answer: Answer): string => `${answer.status} ${String(answer.body['code'] ?? '')}`.trim();

describe('grants over HTTPS', () => {
  let service: RunningService;
  before(async () => {
    service = await RunningService.start();
  });
  after(() => service?.[Symbol.asyncDispose]());

  const grant = (node: TestNode, services: readonly string[]) =>
    service.operate(`/v1/identity/nodes/${node.nodeId}/grant`, { method: 'PUT', body: { services } });
  /** As the nodes of the mesh hear it. */
  const revoked = async (): Promise<readonly string[]> => {
    const jws = String((await service.ask('/v1/identity/bundle/signed')).body['jws']);
    const { revoked } = JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString('utf8')) as {
      revoked: { serials: string[] };
    };
    return revoked.serials;
  };

  test('narrowed: what is out of it is taken back at once and issued no more, the rest goes on', async () => {
    const node = await service.node('web', 'db', 'api-*');
    const [web, db, api] = [
      await service.svid(node, 'web'),
      await service.svid(node, 'db'),
      await service.svid(node, 'api-1'),
    ];
    const answer = await grant(node, ['web', 'api-1']);
    assert.deepEqual([answer.status, answer.body['services']], [200, ['web', 'api-1']]);
    assert.deepEqual(await revoked(), [db.issued.serial]);
    assert.equal(codeOf(await service.issue(node, { service: 'db' })), '403 SLV-2120');
    const renewal = (service_: string, svid: typeof web.svid) =>
      service.ask('/v1/identity/svids', { body: { service: service_, csr: forgeRequest() }, svid });
    await assert.rejects(renewal('db', db.svid), 'the connection is refused: its SVID is revoked');
    assert.equal((await renewal('web', web.svid)).status, 200);
    assert.equal((await renewal('api-1', api.svid)).status, 200);
    const shown = (await service.operate(`/v1/identity/nodes/${node.nodeId}`)).body;
    assert.deepEqual([shown['services'], shown['attestation']], [['web', 'api-1'], 'join-token']);
    assert.match(await service.auditLog(), new RegExp(`"event":"node-grant-changed","node":"${node.nodeId}"`));

    await grant(node, ['db']);
    assert.equal((await service.issue(node, { service: 'db' })).status, 200, 'widened again');
    assert.ok((await revoked()).includes(db.issued.serial), 'what was taken back stays so');
  });

  test('joined again with less: the same', async () => {
    const node = await service.node('old');
    const { issued } = await service.svid(node, 'old');
    assert.equal((await service.join(await service.joinToken(['new']), node.key)).status, 200);
    assert.ok((await revoked()).includes(issued.serial));
  });

  test('what can not be granted, and to whom, and by whom', async () => {
    const node = await service.node('web');
    assert.equal(codeOf(await grant(node, ['selvedge-identity'])), '403 SLV-2120');
    for (const services of [[], ['w*b'], ['**'], ['a/b'], ['']]) {
      assert.equal(codeOf(await grant(node, services)), '400 SLV-1009', JSON.stringify(services));
    }
    const nobody = { nodeId: '0'.repeat(32), key: node.key };
    assert.equal(codeOf(await grant(nobody, ['web'])), '404 SLV-2170');
    assert.equal(codeOf(await service.operate(`/v1/identity/nodes/${nobody.nodeId}`)), '404 SLV-2170');
    const path = `/v1/identity/nodes/${node.nodeId}`;
    for (const [method, where, body] of [
      ['PUT', `${path}/grant`, { services: ['*'] }],
      ['POST', `${path}/readmit`, undefined],
      ['GET', path, undefined],
    ] as const) {
      const answer = await service.ask(where, { method, ...(body === undefined ? {} : { body }) });
      assert.equal(codeOf(answer), '401 SLV-2001', where);
    }
    await service.operate(path, { method: 'DELETE' });
    assert.equal(codeOf(await grant(node, ['web'])), '403 SLV-2121');
  });
});

test('an SVID that the CA signed while the grant was narrowed is not handed out', async () => {
  const log = createLogger({ process: 'test', level: 'silent' });
  await using store = await openSqliteStore({ path: undefined, clock: Date.now, log });
  const nodes = new Nodes(store, Date.now);
  const key = readNodeKey(publicKeyPem(makeKeyPair()));
  const joining = await nodes.joining(key, { name: 'n1', services: ['web', 'db'] });
  await store.txn({ compare: joining.compare, success: [joining.put] });
  await nodes.changeGrant(key.nodeId, ['web']);
  const svid = { service: 'db', serial: 'aa', notAfterMs: Date.now() + 60_000 };
  await assert.rejects(nodes.recordSvid(joining.node, svid, undefined), (error) => isMeshError(error, 'SLV-2120'));
  const stored = (await nodes.get(key.nodeId))?.node;
  assert.ok(stored);
  assert.deepEqual(takenBack(stored, Date.now()), []);
});
