import assert from 'node:assert/strict';
import { test } from 'node:test';
import { notOfferedRoutes } from '../consul/not-offered.ts';
import { intentionId } from '../intentions/intention-id.ts';
import { send, startTestCatalog, workload } from '../testing/running-catalog.ts';

/** Everyone who may call, by what it shows. Tokens are made by the test, with the role that they are named by. */
const callers = [
  'anonymous',
  'SVID of db',
  'SVID of web',
  'operator.token',
  'operator',
  'reader',
  'intentions:db',
  'intentions:web*',
  'service:db',
  'service:web*',
] as const;
type Who = (typeof callers)[number];

const operators: readonly Who[] = ['operator.token', 'operator'];
const readers: readonly Who[] = [...operators, 'reader'];
/** Who gets past the door. What a row asks is about the service db, so that those named after web are always the others. */
const classes = {
  anyone: callers,
  known: callers.filter((who) => who !== 'anonymous'),
  tokens: [...readers, 'intentions:db', 'intentions:web*', 'service:db', 'service:web*'],
  'operators alone': operators,
  readers,
  'readers of policy': [...readers, 'intentions:db', 'intentions:web*'],
  'writers of any intention': [...operators, 'intentions:db', 'intentions:web*'],
  'editors of db': [...operators, 'intentions:db'],
  'who db concerns': [...readers, 'SVID of db', 'intentions:db', 'service:db'],
  'who registers db': [...operators, 'SVID of db', 'service:db'],
  'db itself': [...operators, 'SVID of db'],
  proxies: [...operators, 'SVID of db', 'SVID of web'],
  nobody: [],
} as const satisfies Record<string, readonly Who[]>;
type Class = keyof typeof classes;

/** One question to a route. In its path `{accessor}` is that of a token, `{x to db}` the id of an intention, both made for it. */
interface Probe {
  readonly who: Class;
  readonly path: string;
  readonly body?: unknown;
}
const ask = (who: Class, path: string, body?: unknown): Probe => ({
  who,
  path,
  ...(body === undefined ? {} : { body }),
});

const allow = { Action: 'allow' };
const instance = (Service: string, more: object = {}) => ({
  Node: 'n1',
  Address: '10.0.0.1',
  Service: { Service, Port: 1, ...more },
});
const proxyOf = (service: string, destination: string) =>
  instance(`${service}-sidecar-proxy`, { Kind: 'connect-proxy', Proxy: { DestinationServiceName: destination } });
const setInstance = (ID: string) => ({
  Service: { Verb: 'set', Node: 'n1', Service: { ID, Service: ID, Port: 1 } },
});
const intentionsOf = (Name: string) => ({
  Kind: 'service-intentions',
  Name,
  Sources: [{ Name: 'web', Action: 'allow' }],
});

const importOf = (destination: string) => ({
  kind: 'selvedge-intentions',
  version: 1,
  intentions: [{ source: 'a', destination, action: 'allow' }],
});

/** Who may what. Every route has a row here, or the first test fails. */
const rows: Readonly<Record<string, readonly Probe[]>> = {
  'GET /livez': [ask('anyone', '/livez')],
  'GET /readyz': [ask('anyone', '/readyz')],
  'GET /metrics': [ask('readers', '/metrics')],
  'GET /openapi.json': [ask('known', '/openapi.json')],

  'GET /v1/catalog/datacenters': [ask('known', '/v1/catalog/datacenters')],
  'GET /v1/catalog/nodes': [ask('known', '/v1/catalog/nodes')],
  'GET /v1/catalog/services': [ask('known', '/v1/catalog/services')],
  'GET /v1/catalog/service/:name': [ask('known', '/v1/catalog/service/db')],
  'GET /v1/catalog/connect/:name': [ask('known', '/v1/catalog/connect/db')],
  'GET /v1/catalog/node/:node': [ask('known', '/v1/catalog/node/n1')],
  'GET /v1/catalog/node-services/:node': [ask('known', '/v1/catalog/node-services/n1')],
  'GET /v1/catalog/gateway-services/:gateway': [ask('known', '/v1/catalog/gateway-services/g')],
  'PUT /v1/catalog/register': [
    ask('who registers db', '/v1/catalog/register', instance('db')),
    ask('who registers db', '/v1/catalog/register', proxyOf('db', 'db')),
    ask('operators alone', '/v1/catalog/register', proxyOf('db', 'cache')),
    ask('operators alone', '/v1/catalog/register', instance('selvedge-catalog')),
    ask('operators alone', '/v1/catalog/register', { ...instance('db'), Check: { Name: 'of the node' } }),
    ask('operators alone', '/v1/catalog/register', {
      Node: 'n1',
      Address: '10.0.0.1',
      Check: { Name: 'x', ServiceID: 'cache' },
    }),
  ],
  'PUT /v1/catalog/deregister': [
    ask('who registers db', '/v1/catalog/deregister', { Node: 'n1', ServiceID: 'db' }),
    ask('operators alone', '/v1/catalog/deregister', { Node: 'n1', ServiceID: 'cache' }),
    ask('operators alone', '/v1/catalog/deregister', { Node: 'n1' }),
  ],

  'GET /v1/health/service/:name': [ask('known', '/v1/health/service/db')],
  'GET /v1/health/connect/:name': [ask('known', '/v1/health/connect/db')],
  'GET /v1/health/ingress/:name': [ask('known', '/v1/health/ingress/db')],
  'GET /v1/health/node/:node': [ask('known', '/v1/health/node/n1')],
  'GET /v1/health/checks/:name': [ask('known', '/v1/health/checks/db')],
  'GET /v1/health/state/:state': [ask('known', '/v1/health/state/any')],

  'GET /v1/connect/intentions': [ask('readers of policy', '/v1/connect/intentions')],
  'POST /v1/connect/intentions': [
    ask('editors of db', '/v1/connect/intentions', { SourceName: 'a', DestinationName: 'db', ...allow }),
    ask('operators alone', '/v1/connect/intentions', { SourceName: 'a', DestinationName: '*', ...allow }),
  ],
  'GET /v1/connect/intentions/exact': [
    ask('readers of policy', '/v1/connect/intentions/exact?source=a&destination=db'),
  ],
  'PUT /v1/connect/intentions/exact': [
    ask('editors of db', '/v1/connect/intentions/exact?source=a&destination=db', allow),
    ask('editors of db', '/v1/connect/intentions/exact?source=*&destination=db', allow),
    ask('operators alone', '/v1/connect/intentions/exact?source=db&destination=*', allow),
    ask('operators alone', '/v1/connect/intentions/exact?source=db&destination=cache', allow),
    ask('operators alone', '/v1/connect/intentions/exact?source=a&destination=db2', allow),
  ],
  'DELETE /v1/connect/intentions/exact': [
    ask('editors of db', '/v1/connect/intentions/exact?source=a&destination=db'),
    ask('operators alone', '/v1/connect/intentions/exact?source=a&destination=*'),
  ],
  'GET /v1/connect/intentions/match': [
    ask('who db concerns', '/v1/connect/intentions/match?by=destination&name=db'),
    ask('readers', '/v1/connect/intentions/match?by=destination&name=db&name=cache'),
    ask('readers of policy', '/v1/connect/intentions/match?by=source&name=db'),
  ],
  'GET /v1/connect/intentions/check': [ask('who db concerns', '/v1/connect/intentions/check?source=a&destination=db')],
  'GET /v1/connect/intentions/:id': [ask('readers of policy', '/v1/connect/intentions/{x to db}')],
  'PUT /v1/connect/intentions/:id': [
    ask('editors of db', '/v1/connect/intentions/{x to db}', { SourceName: 'x', DestinationName: 'db', ...allow }),
    ask('operators alone', '/v1/connect/intentions/{x to *}', { SourceName: 'x', DestinationName: '*', ...allow }),
  ],
  'DELETE /v1/connect/intentions/:id': [
    ask('editors of db', '/v1/connect/intentions/{x to db}'),
    ask('operators alone', '/v1/connect/intentions/{x to *}'),
  ],

  'PUT /v1/config': [
    ask('editors of db', '/v1/config', intentionsOf('db')),
    ask('operators alone', '/v1/config', intentionsOf('*')),
    ask('operators alone', '/v1/config', intentionsOf('cache')),
    ask('operators alone', '/v1/config', { Kind: 'service-defaults', Name: 'db', Protocol: 'http' }),
    ask('writers of any intention', '/v1/config', { Kind: 'nonsense', Name: 'db' }),
  ],
  'GET /v1/config/:kind': [ask('readers of policy', '/v1/config/service-defaults')],
  'GET /v1/config/:kind/:name': [ask('readers of policy', '/v1/config/service-intentions/db')],
  'DELETE /v1/config/:kind/:name': [
    ask('editors of db', '/v1/config/service-intentions/db'),
    ask('operators alone', '/v1/config/service-intentions/*'),
    ask('operators alone', '/v1/config/service-defaults/db'),
  ],
  'GET /v1/discovery-chain/:service': [ask('known', '/v1/discovery-chain/db')],
  'POST /v1/discovery-chain/:service': [ask('known', '/v1/discovery-chain/db', {})],

  'GET /v1/kv/*': [ask('operators alone', '/v1/kv/db'), ask('operators alone', '/v1/kv/?keys')],
  'PUT /v1/kv/*': [ask('operators alone', '/v1/kv/db', {})],
  'DELETE /v1/kv/*': [ask('operators alone', '/v1/kv/?recurse')],
  'PUT /v1/txn': [
    ask('operators alone', '/v1/txn', []),
    ask('operators alone', '/v1/txn', [{ KV: { Verb: 'get-or-empty', Key: 'a' } }]),
    ask('who registers db', '/v1/txn', [setInstance('db')]),
    ask('operators alone', '/v1/txn', [setInstance('db'), setInstance('cache')]),
    ask('operators alone', '/v1/txn', [setInstance('db'), { KV: { Verb: 'get-or-empty', Key: 'a' } }]),
    ask('operators alone', '/v1/txn', [{ Node: { Verb: 'set', Node: { Node: 'n1', Address: '10.0.0.1' } } }]),
    ask('known', '/v1/txn', [{ Node: { Verb: 'get', Node: { Node: 'n1' } } }]),
  ],

  'PUT /v1/event/fire/:name': [ask('operators alone', '/v1/event/fire/deploy')],
  'GET /v1/event/list': [ask('readers', '/v1/event/list')],

  'PUT /v1/acl/bootstrap': [ask('nobody', '/v1/acl/bootstrap')],
  'GET /v1/acl/tokens': [ask('operators alone', '/v1/acl/tokens')],
  'PUT /v1/acl/token': [ask('operators alone', '/v1/acl/token', { Policies: [{ Name: 'builtin/global-read-only' }] })],
  'GET /v1/acl/token/self': [ask('tokens', '/v1/acl/token/self')],
  'PUT /v1/acl/token/:id/clone': [ask('operators alone', '/v1/acl/token/{accessor}/clone', {})],
  'GET /v1/acl/token/:id': [ask('operators alone', '/v1/acl/token/{accessor}')],
  'PUT /v1/acl/token/:id': [ask('operators alone', '/v1/acl/token/{accessor}', {})],
  'DELETE /v1/acl/token/:id': [ask('operators alone', '/v1/acl/token/{accessor}')],

  'GET /v1/status/leader': [ask('known', '/v1/status/leader')],
  'GET /v1/status/peers': [ask('known', '/v1/status/peers')],
  'GET /v1/connect/ca/roots': [ask('known', '/v1/connect/ca/roots')],
  'GET /v1/connect/ca/configuration': [ask('readers', '/v1/connect/ca/configuration')],
  'PUT /v1/connect/ca/configuration': [ask('operators alone', '/v1/connect/ca/configuration', {})],
  'GET /v1/agent/self': [ask('known', '/v1/agent/self')],
  'POST /v1/agent/connect/authorize': [
    ask('who db concerns', '/v1/agent/connect/authorize', {
      Target: 'db',
      ClientCertURI: 'spiffe://mesh.test/ns/default/dc/dc1/svc/web',
    }),
  ],
  'ALL /v1/agent/*': [ask('known', '/v1/agent/services')],

  'GET /v1/mesh/resilience/:service': [ask('known', '/v1/mesh/resilience/db')],
  'PUT /v1/mesh/resilience/:service': [ask('operators alone', '/v1/mesh/resilience/db', {})],
  'DELETE /v1/mesh/resilience/:service': [ask('operators alone', '/v1/mesh/resilience/db')],
  'POST /v1/mesh/intentions/check': [
    ask('who db concerns', '/v1/mesh/intentions/check', { source: 'a', destination: 'db' }),
  ],
  'GET /v1/mesh/intentions': [ask('readers of policy', '/v1/mesh/intentions')],
  'POST /v1/mesh/calls': [ask('db itself', '/v1/mesh/calls', { service: 'db', calls: [], missed: 0 })],
  'GET /v1/mesh/intentions/use': [ask('who db concerns', '/v1/mesh/intentions/use?destination=db')],
  'POST /v1/mesh/intentions/:source/:destination/preview': [
    ask('who db concerns', '/v1/mesh/intentions/a/db/preview', { intention: null }),
    ask('readers', '/v1/mesh/intentions/db/*/preview', { intention: null }),
  ],
  'GET /v1/mesh/jwt-providers': [ask('readers of policy', '/v1/mesh/jwt-providers')],
  'GET /v1/mesh/intentions/lint': [ask('readers of policy', '/v1/mesh/intentions/lint')],
  'GET /v1/mesh/intentions/export': [ask('readers of policy', '/v1/mesh/intentions/export')],
  'POST /v1/mesh/intentions/import': [
    ask('editors of db', '/v1/mesh/intentions/import?apply', importOf('db')),
    ask('operators alone', '/v1/mesh/intentions/import?apply', importOf('cache')),
    ask('operators alone', '/v1/mesh/intentions/import?prune', importOf('db')),
  ],
  'GET /v1/mesh/intentions/history': [ask('readers of policy', '/v1/mesh/intentions/history?destination=db')],
  'GET /v1/mesh/intentions/:source/:destination': [ask('readers of policy', '/v1/mesh/intentions/a/db')],
  'PUT /v1/mesh/intentions/:source/:destination': [
    ask('editors of db', '/v1/mesh/intentions/a/db', { action: 'allow' }),
    ask('operators alone', '/v1/mesh/intentions/db/*', { action: 'allow' }),
    ask('operators alone', '/v1/mesh/intentions/db/cache', { action: 'allow' }),
  ],
  'DELETE /v1/mesh/intentions/:source/:destination': [
    ask('editors of db', '/v1/mesh/intentions/a/db'),
    ask('operators alone', '/v1/mesh/intentions/db/*'),
  ],
  'POST /v1/mesh/intentions/:source/:destination/revert': [
    ask('editors of db', '/v1/mesh/intentions/a/db/revert', {}),
    ask('operators alone', '/v1/mesh/intentions/db/*/revert', {}),
  ],
  'GET /v1/mesh/proxies': [ask('readers', '/v1/mesh/proxies')],
  'GET /v1/mesh/feed': [
    ask('db itself', '/v1/mesh/feed?proxy=p&service=db'),
    ask('operators alone', '/v1/mesh/feed?proxy=p&service=db&service=web'),
  ],
  'POST /v1/mesh/feed/dns': [ask('proxies', '/v1/mesh/feed/dns', { known: { 'service/db': '' } })],
  'POST /v1/mesh/feed/ack': [
    ask('proxies', '/v1/mesh/feed/ack', { proxy: 'q', revision: 1, rejected: [], bundleSequence: 0 }),
  ],
  'GET /v1/mesh/backup': [ask('operators alone', '/v1/mesh/backup')],
  'GET /v1/mesh/tokens': [ask('operators alone', '/v1/mesh/tokens')],
  'POST /v1/mesh/tokens': [ask('operators alone', '/v1/mesh/tokens', { roles: ['reader'] })],
  'GET /v1/mesh/tokens/:accessor': [ask('operators alone', '/v1/mesh/tokens/{accessor}')],
  'DELETE /v1/mesh/tokens/:accessor': [ask('operators alone', '/v1/mesh/tokens/{accessor}')],

  // They say 501 and do nothing.
  ...Object.fromEntries(
    notOfferedRoutes.flatMap(({ path, methods }) =>
      Object.keys(methods).map((method) => [`${method} ${path}`, [ask('known', path.replace('*', 'nonsense'))]]),
    ),
  ),
};

/** What answers only that a method, or a path without its name, is not taken; it is behind the same door. */
function answersNothing(method: string, path: string): boolean {
  return (method === 'ALL' || method === 'OPTIONS') && path !== '/v1/agent/*';
}

test('every route has a row', async (t) => {
  const catalog = await startTestCatalog(t, { open: false });
  const without = catalog.app.routes
    .filter(({ method, path }) => !answersNothing(method, path))
    .map(({ method, path }) => `${method} ${path}`)
    .filter((route) => rows[route] === undefined);
  assert.deepEqual(without, [], 'say in `rows` who may use these routes, and in docs/tokens.md if it is a role’s');
});

test('who may what, route by route', async (t) => {
  const catalog = await startTestCatalog(t, { open: false });
  const asOperator = { 'x-consul-token': catalog.operatorToken ?? '' };
  const make = async (role: string): Promise<{ accessor: string; secret: string }> => {
    const made = await send(catalog, 'POST', '/v1/mesh/tokens', { headers: asOperator, body: { roles: [role] } });
    assert.equal(made.status, 201, made.text);
    return made.json as { accessor: string; secret: string };
  };
  const fill = async (path: string): Promise<string> => {
    if (path.includes('{accessor}')) return path.replace('{accessor}', (await make('reader')).accessor);
    const [placeholder, source, destination] = /\{(\w+) to ([\w*]+)\}/.exec(path) ?? [];
    if (placeholder === undefined || source === undefined || destination === undefined) return path;
    const pair = new URLSearchParams({ source, destination });
    await send(catalog, 'PUT', `/v1/connect/intentions/exact?${pair}`, { headers: asOperator, body: allow });
    return path.replace(placeholder, intentionId({ source, destination }));
  };
  const shows = new Map<Who, { env: object; headers: Record<string, string> }>();
  for (const who of callers) {
    if (who === 'anonymous') shows.set(who, { env: {}, headers: {} });
    else if (who === 'operator.token') shows.set(who, { env: {}, headers: asOperator });
    else if (who.startsWith('SVID')) shows.set(who, { env: workload(who.slice('SVID of '.length)), headers: {} });
    else shows.set(who, { env: {}, headers: { 'x-consul-token': (await make(who)).secret } });
  }
  let asked = 0;
  for (const [route, probes] of Object.entries(rows)) {
    const [method = ''] = route.split(' ');
    for (const { who, path, body } of probes) {
      for (const [caller, { env, headers }] of shows) {
        for (const service of /register$|txn$/.test(path) ? ['db', 'cache'] : []) {
          await send(catalog, 'PUT', '/v1/catalog/register', { headers: asOperator, body: instance(service) });
        }
        const filled = await fill(path);
        const response = await catalog.app.request(
          `http://127.0.0.1${filled}`,
          {
            method: method === 'ALL' ? 'GET' : method,
            ...(body === undefined ? {} : { body: JSON.stringify(body) }),
            headers: { 'content-type': 'application/json', ...headers },
          },
          env,
        );
        const may: readonly Who[] = classes[who];
        const what = `${caller}: ${method} ${filled} ${JSON.stringify(body)} answered ${response.status}`;
        assert.equal(response.status !== 403, may.includes(caller), what);
        if (response.body !== null && filled.includes('/feed?')) await response.body.cancel();
        else if (response.status === 403) assert.match(await response.text(), /Permission denied|ACL not found/, what);
        asked += 1;
      }
    }
  }
  assert.ok(asked > 1_000, `${asked} questions`);
});

test('what answers nothing is behind the door too', async (t) => {
  const catalog = await startTestCatalog(t, { open: false });
  for (const { method, path } of catalog.app.routes) {
    if (!answersNothing(method, path) || path === '/*' || path === '/v1/acl/bootstrap') continue;
    const filled = path.replace(/:\w+|\*/g, 'x');
    const response = await catalog.app.request(`http://127.0.0.1${filled}`, {
      method: method === 'ALL' ? 'PATCH' : method,
    });
    assert.equal(response.status, 403, `${method} ${path}`);
  }
});
