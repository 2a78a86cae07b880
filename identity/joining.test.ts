import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { makeKeyPair, publicKeyPem } from '#runtime/svid/node-key.ts';
import { signNodeProof } from '#runtime/svid/node-proof.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { JoinTokens } from './join-tokens.ts';
import { Nodes, readNodeKey } from './nodes.ts';
import { type Answer, RunningService } from './testing/running-service.ts';

const codeOf = (answer: Answer): string => `${answer.status} ${String(answer.body['code'] ?? '')}`.trim();

function tally(codes: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const code of codes) counts[code] = (counts[code] ?? 0) + 1;
  return counts;
}

describe('join tokens over HTTPS', () => {
  let service: RunningService;
  before(async () => {
    service = await RunningService.start();
  });
  after(() => service?.[Symbol.asyncDispose]());

  test('of 20 nodes that redeem one token at once, one joins', async () => {
    const token = await service.joinToken(['web']);
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => service.join(token, makeKeyPair(), `node-${n}`)),
    );
    assert.deepEqual(tally(answers.map(codeOf)), { '200': 1, '403 SLV-2102': 19 });
  });

  test('one node that redeems its token 20 times at once joins once and is told its id each time', async () => {
    const token = await service.joinToken(['web']);
    const key = makeKeyPair();
    const answers = await Promise.all(Array.from({ length: 20 }, () => service.join(token, key)));
    assert.deepEqual(tally(answers.map(codeOf)), { '200': 1, '409 SLV-2103': 19 });
    const { nodeId } = readNodeKey(publicKeyPem(key));
    for (const { status, body } of answers) {
      assert.equal(status === 200 ? body['nodeId'] : (body['context'] as Record<string, unknown>)['nodeId'], nodeId);
    }
  });

  test('the answer says who the node is and what it may be', async () => {
    const { body } = await service.join(await service.joinToken(['web', 'api-*']), makeKeyPair(), 'vm-7');
    const { nodeId, ...rest } = body;
    assert.match(String(nodeId), /^[0-9a-f]{32}$/);
    assert.deepEqual(rest, { trustDomain: 'mesh.test', datacenter: 'dc1', services: ['web', 'api-*'] });
    const nodes = (await service.operate('/v1/identity/nodes')).body as unknown as Record<string, unknown>[];
    assert.equal(nodes.find(({ id }) => id === nodeId)?.['name'], 'vm-7');
  });

  test('what can not be redeemed, and why', async () => {
    const token = await service.joinToken(['web']);
    const bound = await service.joinToken(['web'], { node: 'vm-1' });
    const withdrawn = await service.joinToken(['web']);
    assert.equal(
      (await service.operate(`/v1/identity/join-tokens/${withdrawn.split('_')[1]}`, { method: 'DELETE' })).status,
      204,
    );
    assert.equal(codeOf(await service.join('slj_0000000000000000_nothing-that-was-ever-made')), '403 SLV-2101');
    assert.equal(codeOf(await service.join(`${token.slice(0, -1)}~`)), '403 SLV-2101');
    assert.equal(codeOf(await service.join(token.slice(0, -1) + (token.endsWith('A') ? 'B' : 'A'))), '403 SLV-2101');
    assert.equal(codeOf(await service.join(withdrawn)), '403 SLV-2101');
    assert.equal(codeOf(await service.join(bound, makeKeyPair(), 'vm-2')), '403 SLV-2105');
    assert.equal(codeOf(await service.join(bound, makeKeyPair(), 'vm-1')), '200');
    for (const name of ['', '../vm', 'a b', 'ä', 'x'.repeat(129), '-x', 'a\u0000b']) {
      assert.equal((await service.join(token, makeKeyPair(), name)).status, 400, name);
    }
    assert.equal(codeOf(await service.join(token)), '200', 'none of the refusals used it up');
  });

  test('the key must be proven, and of the right kind', async () => {
    const token = await service.joinToken(['web']);
    const key = makeKeyPair();
    const post = (body: Record<string, unknown>) =>
      service.ask('/v1/identity/join', { body: { token, node: 'n1', publicKey: publicKeyPem(key), ...body } });
    const otherKey = await signNodeProof(makeKeyPair(), { content: token }, service.context);
    const otherToken = await signNodeProof(key, { content: 'another' }, service.context);
    const stale = await signNodeProof(
      key,
      { content: token },
      { ...service.context, clock: () => Date.now() - 62_000 },
    );
    const early = await signNodeProof(
      key,
      { content: token },
      { ...service.context, clock: () => Date.now() + 62_000 },
    );
    const asNode = await signNodeProof(key, { content: token, nodeId: 'f'.repeat(32) }, service.context);
    const none = [{ alg: 'none' }, { aud: 'selvedge-identity' }]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.');
    for (const proof of [otherKey, otherToken, stale, early, asNode, `${none}.`, 'x', '...']) {
      assert.equal(codeOf(await post({ proof })), '401 SLV-2110');
    }
    const good = await signNodeProof(key, { content: token }, service.context);
    assert.equal(codeOf(await post({ proof: good, publicKey: 'no key' })), '401 SLV-2110');
    assert.equal(codeOf(await post({ proof: good })), '200');
    assert.equal(codeOf(await post({ proof: good })), '401 SLV-2110', 'a proof is good once');
  });

  test('the token is shown once and stored nowhere, not even in the log of audits', async () => {
    const token = await service.joinToken(['web'], { node: 'vm-9' });
    await service.join(token, makeKeyPair(), 'vm-9');
    const listed = JSON.stringify((await service.operate('/v1/identity/join-tokens')).body);
    assert.match(listed, /"redeemedBy":"vm-9"/);
    const stored = (await service.store.range('')).kvs.map(({ value }) => Buffer.from(value).toString('utf8')).join();
    const secret = token.split('_').slice(2).join('_');
    for (const text of [listed, stored, await service.auditLog()]) assert.equal(text.includes(secret), false);
  });

  test('a node that joins again with another token has the new grant, and keeps its id', async () => {
    const node = await service.node('web');
    assert.equal(codeOf(await service.issue(node, { service: 'db' })), '403 SLV-2120');
    const again = await service.join(await service.joinToken(['db']), node.key);
    assert.deepEqual([again.body['nodeId'], again.body['services']], [node.nodeId, ['db']]);
    assert.equal((await service.issue(node, { service: 'db' })).status, 200);
    assert.equal(codeOf(await service.issue(node, { service: 'web' })), '403 SLV-2120');
  });
});

describe('join tokens in the store', () => {
  const log = createLogger({ process: 'test', level: 'silent' });

  test('of 200 redemptions at once, over two processes, one wins; and after a restart none', async () => {
    const context = systemContext(log);
    await using store = await openSqliteStore({ path: undefined, ...context });
    const parts = [1, 2].map(() => new JoinTokens(store, new Nodes(store, context.clock), context));
    const [first, second] = parts;
    assert.ok(first && second);
    const { token } = await first.create({ services: ['web'], ttlSeconds: 600 });
    const redeem = async (n: number): Promise<string> => {
      const key = readNodeKey(publicKeyPem(makeKeyPair()));
      return (n % 2 === 0 ? first : second).redeem(token, `n${n}`, key).then(
        () => 'joined',
        (error: unknown) => (isMeshError(error) ? error.code : String(error)),
      );
    };
    const outcomes = await Promise.all(Array.from({ length: 200 }, (_, n) => redeem(n)));
    assert.deepEqual(tally(outcomes), { joined: 1, 'SLV-2102': 199 });
    const restarted = new JoinTokens(store, new Nodes(store, context.clock), context);
    await assert.rejects(restarted.redeem(token, 'n', readNodeKey(publicKeyPem(makeKeyPair()))), (error) =>
      isMeshError(error, 'SLV-2102'),
    );
    assert.equal((await new Nodes(store, context.clock).list()).length, 1);
  });

  test('a token ends when it says, except for the node that has redeemed it; old ones are forgotten', async () => {
    let nowMs = Date.now();
    const context = { ...systemContext(log), clock: () => nowMs };
    await using store = await openSqliteStore({ path: undefined, clock: Date.now, log });
    const tokens = new JoinTokens(store, new Nodes(store, context.clock), context);
    const key = readNodeKey(publicKeyPem(makeKeyPair()));
    const used = await tokens.create({ services: ['web'], ttlSeconds: 10 });
    const unused = await tokens.create({ services: ['web'], ttlSeconds: 10 });
    nowMs += 9_999;
    await tokens.redeem(used.token, 'n1', key);
    nowMs += 1;
    await assert.rejects(tokens.redeem(unused.token, 'n1', key), (error) => isMeshError(error, 'SLV-2104'));
    await assert.rejects(tokens.redeem(used.token, 'n1', key), (error) => isMeshError(error, 'SLV-2103'));
    assert.equal((await tokens.list()).length, 2);
    nowMs += 8 * 86_400_000;
    await tokens.create({ services: ['web'], ttlSeconds: 10 });
    assert.equal((await tokens.list()).length, 1);
  });
});
