import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { describe, test } from 'node:test';
import { intention, type Mesh, startMesh } from '#test/sidecars.ts';
import { waitFor } from '#test/wait-for.ts';

/** What an intention that observes, or ends, does at the proxy. No catalog is there in these tests. */

const observedOf = (mesh: Mesh) =>
  mesh.decisions.filter(({ observed }) => observed).map(({ rule, reading, path }) => ({ rule, reading, path }));
const echo = () => createTcpServer((socket) => socket.on('data', (chunk) => socket.write(chunk)));

describe('observe mode', () => {
  test('a request that would be denied goes through, is counted, and can be looked up', async (t) => {
    const permissions = [{ action: 'deny', http: { pathPrefix: '/admin' } }] as const;
    const mesh = await startMesh(t, {
      applications: [createServer((_, response) => response.end('hello'))],
      intentions: [{ ...intention({ source: 'web', permissions }), observe: true }],
    });
    const answer = await mesh.ask('GET /Admin HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n');
    assert.equal(answer.status, 200);
    assert.deepEqual(observedOf(mesh), [
      { rule: 'web -> db permission 1 (deny)', reading: 'folded: /admin', path: '/Admin' },
    ]);
    const [decision] = mesh.decisions;
    assert.equal(mesh.traffic.decisions.find(decision?.id ?? ''), decision);
    const { observed, denied } = mesh.traffic.edge('inbound', 'web', 'db');
    assert.deepEqual([observed.value, denied.value], [1, 0]);
    assert.ok(mesh.log.some(({ msg }) => msg === 'would have been refused'));
  });

  test('a connection likewise, once', async (t) => {
    const mesh = await startMesh(t, {
      applications: [echo()],
      protocol: 'tcp',
      intentions: [{ ...intention({ source: 'web', action: 'deny' }), observe: true }],
    });
    const client = mesh.dial().send('ping');
    await client.until('ping');
    assert.deepEqual(observedOf(mesh), [{ rule: 'web -> db (deny)', reading: undefined, path: undefined }]);
    assert.equal(mesh.traffic.edge('inbound', 'web', 'db').observed.value, 1);
  });
});

test('at the end of its intention a connection is cut and no new one comes about, by the clock of the proxy alone', async (t) => {
  const mesh = await startMesh(t, {
    applications: [echo()],
    protocol: 'tcp',
    intentions: [{ ...intention({ source: 'web', action: 'allow' }), expiresAtMs: Date.now() + 86_400_000 }],
  });
  const client = mesh.dial().send('ping');
  await client.until('ping');
  const expiresAtMs = Date.now() + 300;
  mesh.feedIntentions([{ ...intention({ source: 'web', action: 'allow' }), expiresAtMs }], 'tcp');
  await waitFor('the cut', () => client.ended || client.closed, 10_000);
  assert.ok(Date.now() >= expiresAtMs);
  const next = mesh.dial().send('ping');
  await next.untilEnded();
  assert.equal(next.length, 0);
});
