import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startDevMesh } from './dev-mesh.ts';
import { buildGoClients, skipWithoutGo } from './go-clients.ts';

const skip = await skipWithoutGo();

/** What it does and asserts is in go/consul_api.go. */
test('HashiCorp’s client for Go: agent, health, watches, catalog, intentions, config entries, KV, connect', {
  skip,
}, async () => {
  const building = buildGoClients();
  const mesh = await startDevMesh();
  const walk = mesh.run('consul-api', await building, ['consul-api', mesh.address]);
  assert.equal(await walk.whenEnded(60_000), 'exit code 0', walk.log);
  const held = [...walk.log.matchAll(/^held (.*)$/gm)].map(([, step]) => step);
  assert.deepEqual(held, [
    ...['agent', 'health', 'watch-plans', 'catalog', 'intentions', 'config-entries', 'kv', 'transactions', 'connect'],
    'errors',
  ]);
});
