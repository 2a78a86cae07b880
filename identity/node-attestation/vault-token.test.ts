import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import { makeKeyPair } from '#runtime/svid/node-key.ts';
import { type Bao, findBao, startBao } from '#test/bao.ts';
import { waitFor } from '#test/wait-for.ts';
import { attest, codeOf, startAttesting } from '../testing/attesting.ts';
import type { RunningService } from '../testing/running-service.ts';

const { skip } = await findBao();
let logged = '';
const log = pino(
  { level: 'debug' },
  {
    write(line: string) {
      logged += line;
    },
  },
);

describe('attestation by Vault token, on a real bao', { skip }, () => {
  let bao: Bao;
  let service: RunningService;
  const secrets = new Set<string>();
  before(async () => {
    bao = await startBao();
    await bao.must('POST', 'sys/policies/acl/selvedge-node', {
      policy: 'path "auth/token/lookup-self" { capabilities = ["read"] }',
    });
    await bao.must('POST', 'sys/policies/acl/own-entity', {
      policy:
        'path "identity/entity/id/{{identity.entity.id}}" { capabilities = ["read"] } path "auth/token/lookup-self" { capabilities = ["read"] }',
    });
    await bao.must('POST', 'sys/policies/acl/spent', {
      policy: 'path "auth/token/lookup-self" { capabilities = ["deny"] }',
    });
    service = await startAttesting(
      [
        {
          method: 'vault-token',
          'vault-addr': bao.address,
          mappings: [
            {
              match: { policies: 'own-entity' },
              node: '{{ entity/name }}',
              services: ['{{ entity/metadata/team }}.*'],
            },
            { match: { policies: 'selvedge-node' }, node: '{{ meta/host }}', services: ['{{ meta/service }}'] },
          ],
        },
      ],
      {},
      { log },
    );
  });
  after(async () => {
    await service?.[Symbol.asyncDispose]();
    await bao?.[Symbol.asyncDispose]();
  });

  /** As `vault token create`. */
  const create = async (body: object = {}, wrapTtl?: string): Promise<string> => {
    const response = await fetch(`${bao.address}/v1/auth/token/create`, {
      method: 'POST',
      headers: { 'x-vault-token': bao.rootToken, ...(wrapTtl === undefined ? {} : { 'x-vault-wrap-ttl': wrapTtl }) },
      body: JSON.stringify({
        policies: ['selvedge-node'],
        ttl: '10m',
        meta: { host: 'vm-1', service: 'web' },
        ...body,
      }),
    });
    const answer = (await response.json()) as { auth?: { client_token: string }; wrap_info?: { token: string } };
    const token = (wrapTtl === undefined ? answer.auth?.client_token : answer.wrap_info?.token) ?? '';
    secrets.add(token);
    return token;
  };
  const show = (token: string, wrapped = false, key = makeKeyPair()) =>
    attest(service, { method: 'vault-token', token, wrapped }, key);

  test('metadata make the node and its grant; the token is left as it was', async () => {
    const key = makeKeyPair();
    const token = await create();
    const { body } = await show(token, false, key);
    assert.deepEqual(body['services'], ['web']);
    const node = { key, nodeId: String(body['nodeId']) };
    assert.equal((await service.issue(node, { service: 'web' })).status, 200);
    assert.equal(codeOf(await service.issue(node, { service: 'db' })), '403 SLV-2120');
    assert.equal((await bao.call('GET', 'auth/token/lookup-self', undefined, token)).status, 200);
    const shown = (await service.operate(`/v1/identity/nodes/${node.nodeId}`)).body;
    assert.deepEqual([shown['name'], shown['attestation'], shown['source']], ['vm-1', 'vault-token', bao.address]);
    assert.equal(codeOf(await show(token)), '403 SLV-2109', 'another node with the same token');
    assert.equal((await show(token, false, key)).status, 200);
  });

  test('an entity, read by the right of the token itself', async () => {
    const made = await bao.must('POST', 'identity/entity', { name: 'vm-7', metadata: { team: 'pay' } });
    const mounts = await bao.must('GET', 'sys/auth');
    const accessor = (mounts['token/'] as { accessor: string }).accessor;
    await bao.must('POST', 'identity/entity-alias', {
      name: 'vm-7',
      canonical_id: made['id'],
      mount_accessor: accessor,
    });
    await bao.must('POST', 'auth/token/roles/nodes', {
      allowed_entity_aliases: ['vm-7'],
      allowed_policies: ['own-entity', 'selvedge-node'],
    });
    const role = async (policies: readonly string[]): Promise<string> => {
      const { body } = await bao.call('POST', 'auth/token/create/nodes', {
        policies,
        entity_alias: 'vm-7',
        no_default_policy: true,
        ttl: '10m',
      });
      const { client_token: token } = body['auth'] as { client_token: string };
      secrets.add(token);
      return token;
    };
    const answer = await show(await role(['own-entity']));
    assert.deepEqual(answer.body['services'], ['pay.*'], JSON.stringify(answer.body));
    const blind = await show(await role(['selvedge-node']));
    assert.equal(codeOf(blind), '403 SLV-2106');
    assert.match(String(blind.body['detail']), /identity\.entity\.id/);
  });

  const refused: readonly [what: string, token: () => Promise<string>, code: string, says: RegExp][] = [
    ['made up', async () => 'hvs.0123456789abcdef0123456789', '401 SLV-2107', /does not know it/],
    [
      'revoked',
      async () => {
        const token = await create();
        await bao.must('POST', 'auth/token/revoke', { token });
        return token;
      },
      '401 SLV-2107',
      /does not know it/,
    ],
    [
      'expired',
      async () => {
        const token = await create({ ttl: '1s' });
        await waitFor(
          'the token to expire',
          async () => (await bao.call('GET', 'auth/token/lookup-self', undefined, token)).status === 403,
          20_000,
        );
        return token;
      },
      '401 SLV-2107',
      /does not know it/,
    ],
    [
      'one that may not ask about itself',
      () => create({ policies: ['spent', 'selvedge-node'] }),
      '401 SLV-2107',
      /lookup-self/,
    ],
    ['the root token', async () => bao.rootToken, '401 SLV-2107', /root token/],
    ['without metadata', () => create({ meta: {} }), '403 SLV-2106', /there is no meta\/service/],
    [
      'a * in the metadata',
      () => create({ meta: { host: 'vm-1', service: '*' } }),
      '403 SLV-2106',
      /characters that no name has/,
    ],
    ['empty metadata', () => create({ meta: { host: 'vm-1', service: '' } }), '403 SLV-2106', /service is empty/],
    ['without the policy', () => create({ policies: ['default'] }), '403 SLV-2106', /no mapping is for one like it/],
  ];
  for (const [what, token, code, says] of refused) {
    test(`refused: ${what}`, async () => {
      const answer = await show(await token());
      assert.equal(codeOf(answer), code, JSON.stringify(answer.body));
      assert.match(String(answer.body['detail']), says);
    });
  }

  test('behind a wrapping token: good once, for one node', async () => {
    const wrapped = await create({}, '60s');
    const key = makeKeyPair();
    const first = await show(wrapped, true, key);
    assert.equal(first.status, 200, JSON.stringify(first.body));
    const again = await show(wrapped, true, key);
    assert.deepEqual([again.status, again.body['nodeId']], [200, first.body['nodeId']], 'a lost answer costs nothing');
    assert.equal(codeOf(await show(wrapped, true)), '403 SLV-2109');
    const opened = await create({}, '60s');
    assert.equal((await bao.call('POST', 'sys/wrapping/unwrap', {}, opened)).status, 200);
    const stolen = await show(opened, true);
    assert.equal(codeOf(stolen), '401 SLV-2107');
    assert.match(String(stolen.body['detail']), /somebody has opened it before/);
    const plain = await show(await create(), true);
    assert.equal(codeOf(plain), '401 SLV-2107', 'a token that wraps nothing');
    const forged = await fetch(`${bao.address}/v1/sys/wrapping/wrap`, {
      method: 'POST',
      headers: { 'x-vault-token': bao.rootToken, 'x-vault-wrap-ttl': '60s' },
      body: JSON.stringify({ auth: { client_token: 'x' }, client_token: 'x' }),
    });
    const { wrap_info } = (await forged.json()) as { wrap_info: { token: string } };
    assert.match(String((await show(wrap_info.token, true)).body['detail']), /no token behind/);
  });

  test('the token that was unwrapped does not live on', async () => {
    const lives = async (): Promise<number> => {
      const { keys } = (await bao.must('LIST', 'auth/token/accessors')) as { keys: string[] };
      const found = await Promise.all(
        keys.map((accessor) => bao.call('POST', 'auth/token/lookup-accessor', { accessor })),
      );
      return found.filter(({ body }) => JSON.stringify(body).includes('"vm-once"')).length;
    };
    const wrapped = await create({ meta: { host: 'vm-once', service: 'web' } }, '60s');
    assert.equal(await lives(), 1);
    assert.equal((await show(wrapped, true)).status, 200);
    assert.equal(await lives(), 0);
  });

  test('sealed or silent: 503, and the node goes on trying', async () => {
    const token = await create();
    await bao.seal();
    const sealed = await show(token);
    assert.equal(codeOf(sealed), '503 SLV-2108');
    await bao.unseal();
    assert.equal((await show(token)).status, 200);
  });

  test('only wrapped ones, where that is asked for', async () => {
    const mappings = [
      { match: { policies: 'selvedge-node' }, node: '{{ meta/host }}', services: ['{{ meta/service }}'] },
    ];
    await using strict = await startAttesting([
      { method: 'vault-token', 'vault-addr': bao.address, 'wrapped-only': true, mappings },
    ]);
    const plain = await attest(strict, { method: 'vault-token', token: await create() });
    assert.equal(codeOf(plain), '401 SLV-2107');
    assert.match(String(plain.body['detail']), /only a wrapped one/);
    const wrapped = await attest(strict, { method: 'vault-token', token: await create({}, '60s'), wrapped: true });
    assert.equal(wrapped.status, 200);
  });

  test('no token is stored or logged', async () => {
    const stored = (await service.store.range('')).kvs.map(({ value }) => Buffer.from(value).toString('utf8')).join();
    const texts = [stored, await service.auditLog(), logged];
    for (const secret of secrets) for (const text of texts) assert.equal(text.includes(secret), false);
    assert.ok(secrets.size > 5 && logged.length > 0);
  });
});
