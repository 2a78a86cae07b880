import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { send, startTestCatalog } from '#catalog/testing/running-catalog.ts';

/** Every endpoint of Consul's HTTP API but those of its UI (/v1/internal), as its router names them. */
const endpoints = `
  PUT /v1/acl/bootstrap
  POST /v1/acl/login /v1/acl/logout
  GET /v1/acl/replication /v1/acl/policies /v1/acl/roles /v1/acl/binding-rules /v1/acl/auth-methods /v1/acl/tokens
  GET /v1/acl/templated-policies /v1/acl/templated-policy/name/:name /v1/acl/token/self
  POST /v1/acl/templated-policy/preview/:name
  PUT /v1/acl/policy /v1/acl/role /v1/acl/binding-rule /v1/acl/auth-method /v1/acl/token
  GET,PUT,DELETE /v1/acl/policy/:id /v1/acl/role/:id /v1/acl/binding-rule/:id /v1/acl/auth-method/:name /v1/acl/token/:id
  GET /v1/acl/policy/name/:name /v1/acl/role/name/:name
  PUT /v1/agent/token/:kind /v1/agent/maintenance /v1/agent/reload /v1/agent/join/:address /v1/agent/leave
  PUT /v1/agent/force-leave/:node
  GET /v1/agent/self /v1/agent/host /v1/agent/version /v1/agent/monitor /v1/agent/metrics /v1/agent/metrics/stream
  GET /v1/agent/services /v1/agent/service/:id /v1/agent/checks /v1/agent/members
  GET /v1/agent/health/service/id/:id /v1/agent/health/service/name/:name
  PUT /v1/agent/check/register /v1/agent/check/deregister/:id /v1/agent/check/pass/:id /v1/agent/check/warn/:id
  PUT /v1/agent/check/fail/:id /v1/agent/check/update/:id
  PUT /v1/agent/service/register /v1/agent/service/deregister/:id /v1/agent/service/maintenance/:id
  POST /v1/agent/connect/authorize
  GET /v1/agent/connect/ca/roots /v1/agent/connect/ca/leaf/:service
  PUT /v1/catalog/register /v1/catalog/deregister
  GET /v1/catalog/datacenters /v1/catalog/nodes /v1/catalog/services /v1/catalog/service/:name
  GET /v1/catalog/connect/:name /v1/catalog/node/:node /v1/catalog/node-services/:node
  GET /v1/catalog/gateway-services/:gateway
  PUT /v1/config
  GET /v1/config/:kind
  GET,DELETE /v1/config/:kind/:name
  GET,PUT /v1/connect/ca/configuration
  GET /v1/connect/ca/roots /v1/connect/intentions/match /v1/connect/intentions/check
  GET,POST /v1/connect/intentions
  GET,PUT,DELETE /v1/connect/intentions/exact /v1/connect/intentions/:id
  GET /v1/coordinate/datacenters /v1/coordinate/nodes /v1/coordinate/node/:node
  PUT /v1/coordinate/update
  GET,POST /v1/discovery-chain/:service
  PUT /v1/event/fire/:name
  GET /v1/event/list
  GET /v1/exported-services /v1/imported-services
  GET /v1/health/node/:node /v1/health/checks/:name /v1/health/state/:state /v1/health/service/:name
  GET /v1/health/connect/:name /v1/health/ingress/:name
  GET,PUT,DELETE /v1/kv/:key
  GET /v1/operator/raft/configuration /v1/operator/usage /v1/operator/utilization
  POST /v1/operator/raft/transfer-leader
  DELETE /v1/operator/raft/peer
  GET,POST,PUT,DELETE /v1/operator/keyring
  GET,PUT /v1/operator/autopilot/configuration
  GET /v1/operator/autopilot/health /v1/operator/autopilot/state
  POST /v1/peering/token /v1/peering/establish
  GET,DELETE /v1/peering/:name
  GET /v1/peerings
  GET,POST /v1/query
  GET,PUT,DELETE /v1/query/:id
  GET /v1/query/:id/execute /v1/query/:id/explain
  PUT /v1/session/create /v1/session/destroy/:id /v1/session/renew/:id
  GET /v1/session/info/:id /v1/session/node/:node /v1/session/list
  GET /v1/status/leader /v1/status/peers
  GET,PUT /v1/snapshot
  PUT /v1/txn
`
  .trim()
  .split('\n')
  .flatMap((line) => {
    const [methods = '', ...paths] = line.trim().split(' ');
    return methods.split(',').flatMap((method) => paths.map((path) => ({ method, path })));
  });

/** `GET /v1/kv/:` of each endpoint that a table of the page names; `GET`, `PUT /v1/x` is both of /v1/x. */
function named(page: string): ReadonlySet<string> {
  const found = new Set<string>();
  for (const row of page.split('\n').filter((line) => line.startsWith('|'))) {
    let methods: string[] = [];
    for (const [, method, path] of (row.split('|')[1] ?? '').matchAll(/`(GET|PUT|POST|DELETE)(?: (\/v1\/[^`?]*))?`/g)) {
      methods.push(method ?? '');
      if (path === undefined) continue;
      for (const one of methods) found.add(`${one} ${withoutNames(path)}`);
      methods = [];
    }
  }
  return found;
}

const withoutNames = (path: string): string => path.replace(/:\w+/g, ':');

test('docs/consul-compatibility.md names every endpoint of Consul', () => {
  const page = named(readFileSync(join(import.meta.dirname, '../docs/consul-compatibility.md'), 'utf8'));
  assert.ok(endpoints.length > 120);
  const missing = endpoints
    .map(({ method, path }) => `${method} ${withoutNames(path)}`)
    .filter((one) => !page.has(one));
  assert.deepEqual(missing, []);
});

test('the catalog knows every endpoint of Consul: none is taken for a mistyped path, and a 501 says what to do', async (t) => {
  const catalog = await startTestCatalog(t);
  for (const { method, path } of [...endpoints, { method: 'GET', path: '/v1/internal/ui/services' }]) {
    const { status, text } = await send(catalog, method, path.replace(/:\w+/g, 'x'));
    assert.ok(!text.startsWith('Invalid URL path'), `${method} ${path} is not known`);
    assert.notEqual(status, 405, `${method} ${path}`);
    if (status === 501) assert.match(text, /[a-z]{3}.* .*[a-z]/, `${method} ${path}`);
  }
});
