import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { createMetrics } from '#runtime/metrics.ts';
import type { MeshIdentity } from '#runtime/svid/mesh-identity.ts';
import { startMesh, webMayCall } from '#test/sidecars.ts';
import { startLocalAgent } from './local-agent.ts';

test('an instance is registered at once, its proxy when it knows who may call: before, it would refuse whoever found it', async (t) => {
  const mesh = await startMesh(t, { applications: [createServer()], intentions: 'unknown' });
  const { sidecar, svid } = mesh.db;
  const agent = await startLocalAgent({
    config: {
      ...{ sidecars: [sidecar.config], catalogUrl: 'http://127.0.0.1:1', identityUrl: 'http://127.0.0.1:1' },
      ...{ joinTokenFile: undefined, caFile: undefined, caPin: undefined, nodeName: 'node', dataDir: undefined },
      ...{ maxCacheAgeMs: 0, checkIntervalMs: 60_000, svidTtlMs: undefined, accessLog: 'none', maxConnections: 10 },
      ...{ adminAddr: { host: '127.0.0.1', port: 0 }, agentAddr: { host: '127.0.0.1', port: 0 } },
    },
    sidecars: [sidecar],
    identity: { datacenter: 'dc1', svid: () => svid } as unknown as MeshIdentity, // an agent before a catalog on plain HTTP asks for no more of it
    metrics: createMetrics(),
    context: mesh.context,
    onPorts() {},
  });
  const registered = async () => {
    const answer = await fetch(`${agent.url}/v1/agent/services`, { headers: { connection: 'close' } });
    return Object.keys((await answer.json()) as object);
  };
  try {
    assert.deepEqual(await registered(), ['db']);
    mesh.feedIntentions(webMayCall);
    assert.deepEqual(await registered(), ['db', 'db-sidecar-proxy']);
  } finally {
    await agent.close();
  }
});
