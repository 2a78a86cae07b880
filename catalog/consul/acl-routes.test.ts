import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { send, startTestCatalog, workload } from '../testing/running-catalog.ts';

interface AclToken {
  readonly AccessorID: string;
  readonly SecretID: string;
  readonly Policies?: readonly { ID: string; Name: string }[];
  readonly ServiceIdentities?: readonly { ServiceName: string }[];
  readonly ExpirationTime?: string;
  readonly [field: string]: unknown;
}

async function start(t: TestContext) {
  const catalog = await startTestCatalog(t, { open: false });
  const token = catalog.operatorToken ?? '';
  const call = (method: string, path: string, body?: unknown, as: string = token) =>
    send(catalog, method, path, { ...(body === undefined ? {} : { body }), headers: { 'x-consul-token': as } });
  const make = async (body: object): Promise<AclToken> => {
    const made = await call('PUT', '/v1/acl/token', body);
    assert.equal(made.status, 200, made.text);
    return made.json as AclToken;
  };
  return { catalog, token, call, make };
}

const management = { ID: '00000000-0000-0000-0000-000000000001', Name: 'global-management' };
const readOnly = { ID: '00000000-0000-0000-0000-000000000002', Name: 'builtin/global-read-only' };

test('a token as Consul’s clients make, read, list and delete it', async (t) => {
  const { call, make } = await start(t);
  // As hashicorp/consul/api sends it: with the zero values of what is not said.
  const made = await make({
    CreateIndex: 0,
    ModifyIndex: 0,
    AccessorID: '',
    SecretID: '',
    Description: 'web on n1',
    Policies: [{ ID: '', Name: readOnly.Name }],
    ServiceIdentities: [{ ServiceName: 'web' }],
    Local: false,
    ExpirationTTL: 3_600_000_000_000,
    CreateTime: '0001-01-01T00:00:00Z',
  });
  assert.deepEqual(Object.keys(made).sort(), [
    ...['AccessorID', 'CreateIndex', 'CreateTime', 'Description', 'ExpirationTime', 'Hash', 'Local', 'ModifyIndex'],
    ...['Policies', 'SecretID', 'ServiceIdentities'],
  ]);
  assert.deepEqual([made.Policies, made.ServiceIdentities], [[readOnly], [{ ServiceName: 'web' }]]);
  assert.equal(Date.parse(made.ExpirationTime ?? '') - Date.parse(String(made['CreateTime'])), 3_600_000);

  const hidden = { ...made, SecretID: '<hidden>' };
  const read = await call('GET', `/v1/acl/token/${made.AccessorID}`);
  assert.deepEqual(read.json, hidden);
  assert.match(read.headers.get('x-consul-index') ?? '', /^\d+$/);
  assert.deepEqual((await call('GET', '/v1/acl/tokens')).json, [{ ...hidden, Legacy: false }]);
  assert.deepEqual((await call('GET', '/v1/acl/token/self', undefined, made.SecretID)).json, made);

  const deleted = await call('DELETE', `/v1/acl/token/${made.AccessorID}`);
  assert.deepEqual([deleted.status, deleted.text], [200, 'true']);
  for (const method of ['GET', 'DELETE']) {
    const again = await call(method, `/v1/acl/token/${made.AccessorID}`);
    assert.deepEqual([again.status, again.text], [403, 'token does not exist: ACL not found']);
  }
  assert.equal((await call('GET', '/v1/acl/token/self', undefined, made.SecretID)).status, 403);
});

test('policies are roles, and the other way round', async (t) => {
  const { call, make } = await start(t);
  for (const [asked, roles, shown] of [
    [{ Policies: [{ ID: management.ID }] }, ['operator'], [management]],
    [{ Policies: [{ Name: 'global-management' }] }, ['operator'], [management]],
    [{ policies: [readOnly] }, ['reader'], [readOnly]],
    [{ Policies: [{ Name: 'intentions:billing-*' }] }, ['intentions:billing-*'], ['intentions:billing-*']],
    [{ Policies: [{ Name: 'service:web-*' }] }, ['service:web-*'], ['service:web-*']],
    [{ ServiceIdentities: [{ ServiceName: 'web', Datacenters: ['dc1', 'dc2'] }] }, ['service:web'], undefined],
  ] as const) {
    const made = await make(asked);
    const read = await call('GET', `/v1/mesh/tokens/${made.AccessorID}`);
    assert.deepEqual((read.json as { roles: string[] }).roles, roles, JSON.stringify(asked));
    const policies = made.Policies?.map((policy) => (policy.Name.includes(':') ? policy.Name : policy));
    assert.deepEqual(policies, shown, JSON.stringify(asked));
  }
});

test('who am I', async (t) => {
  const { catalog, token, call } = await start(t);
  const self = (await call('GET', '/v1/acl/token/self')).json as AclToken;
  assert.deepEqual([self.Policies, self.SecretID], [[management], token]);
  for (const [env, headers] of [
    [workload('web'), {}],
    [{}, { 'x-consul-token': '6f9619ff-8b86-4d01-8b42-00cf4fc964ff' }],
  ] as const) {
    const nobody = await send(catalog, 'GET', '/v1/acl/token/self', { env, headers });
    assert.equal(nobody.status, 403);
    assert.match(nobody.text, /ACL not found/);
  }
});

test('what is refused, and that bootstrapping says where the first token is', async (t) => {
  const { catalog, call } = await start(t);
  for (const [body, status, text] of [
    [{}, 400, /neither policies nor service identities/],
    [{ Policies: [{ Name: 'my-policy' }] }, 501, /"my-policy" is not offered/],
    [{ Policies: [{ ID: 'aaaaaaaa-0000-0000-0000-000000000000', Name: 'global-management' }] }, 501, /not offered/],
    [{ Policies: [{ Name: 'service:selvedge-identity' }] }, 501, /not offered/],
    [{ Roles: [{ Name: 'r' }], Policies: [readOnly] }, 501, /Roles, NodeIdentities/],
    [{ NodeIdentities: [{ NodeName: 'n', Datacenter: 'dc1' }] }, 501, /NodeIdentities/],
    [{ SecretID: 'chosen', Policies: [readOnly] }, 501, /can not be chosen/],
    [{ ServiceIdentities: [{ ServiceName: 'web*' }] }, 400, /invalid name/],
    [{ ServiceIdentities: [{ ServiceName: '' }] }, 400, /invalid name/],
    [{ ServiceIdentities: [{ ServiceName: 'web', Datacenters: ['dc9'] }] }, 400, /not for this datacenter/],
    [{ Policies: [readOnly], ExpirationTTL: '1 day' }, 400, /Token decoding failed/],
    [{ Policies: [readOnly], ExpirationTTL: '1h', ExpirationTime: '2100-01-01T00:00:00Z' }, 400, /cannot both be set/],
    [{ Policies: [readOnly], ExpirationTime: '2020-01-01T00:00:00Z' }, 400, /not in the future/],
    [{ Policies: [readOnly], ExpirationTTL: Number.MAX_SAFE_INTEGER * 1024 }, 400, /Token decoding failed/],
    ['{', 400, /Token decoding failed/],
  ] as const) {
    const answer = await call('PUT', '/v1/acl/token', body);
    assert.deepEqual(
      [answer.status, text.test(answer.text)],
      [status, true],
      `${JSON.stringify(body)}: ${answer.text}`,
    );
  }
  assert.equal((await call('GET', '/v1/acl/tokens?policy=x')).status, 501);
  assert.equal((await call('PUT', '/v1/acl/policy', {})).status, 501);
  assert.deepEqual((await call('GET', '/v1/acl/tokens')).json, []);
  const bootstrap = await send(catalog, 'PUT', '/v1/acl/bootstrap');
  assert.equal(bootstrap.status, 403);
  assert.match(bootstrap.text, /^Permission denied: ACL bootstrap no longer allowed.*operator\.token/);
});

test('in dev mode nothing is guarded, and Consul’s clients are told so in its words', async (t) => {
  const catalog = await startTestCatalog(t);
  for (const [method, path] of [
    ['PUT', '/v1/acl/bootstrap'],
    ['GET', '/v1/acl/tokens'],
    ['GET', '/v1/acl/token/self'],
    ['PUT', '/v1/acl/token'],
    ['DELETE', '/v1/acl/token/x'],
  ] as const) {
    const answer = await send(catalog, method, path);
    assert.deepEqual([answer.status, answer.text], [401, 'ACL support disabled'], path);
  }
});
