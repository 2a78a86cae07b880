import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { freePorts } from '../free-ports.ts';
import { startHttpApplication } from '../scenarios/application.ts';
import { httpCall, keepingAgent } from '../scenarios/http-call.ts';
import { findSystemTool } from '../system-tool.ts';
import { waitFor } from '../wait-for.ts';
import { type DevMesh, startDevMesh } from './dev-mesh.ts';

const haproxy = await findSystemTool({ binary: 'haproxy', debian: 'haproxy' });

/** A load balancer that has its servers from the SRV records of our DNS, and no checks of its own. */
const configuration = (port: number, dnsPort: number) => `
global
  log stdout format raw local0 notice
defaults
  mode http
  timeout connect 5s
  timeout client 20s
  timeout server 20s
resolvers mesh
  nameserver selvedge 127.0.0.1:${dnsPort}
  accepted_payload_size 8192
  timeout resolve 200ms
  timeout retry 1s
  hold valid 1s
  hold nx 0s
  hold obsolete 0s
frontend all
  bind 127.0.0.1:${port}
  default_backend web
backend web
  balance roundrobin
  server-template web 10 _web._tcp.service.consul resolvers mesh init-addr none
`;

interface World {
  readonly mesh: DevMesh;
  /** Which applications answer behind HAProxy, asked often enough that each has its turn. */
  readonly reached: () => Promise<readonly string[]>;
  readonly startWeb: (name: string) => Promise<void>;
}

async function setUp(): Promise<World> {
  assert.ok(haproxy.path !== undefined, haproxy.path === undefined ? haproxy.reason : '');
  const mesh = await startDevMesh();
  const [port = 0] = await freePorts(1);
  const file = join(mesh.directory, 'haproxy.cfg');
  writeFileSync(file, configuration(port, mesh.dnsPort));
  mesh.run('haproxy', haproxy.path, ['-db', '-f', file]);
  const agent = keepingAgent();
  return {
    mesh,
    reached: async () => {
      const names = new Set<string>();
      for (let turn = 0; turn < 8; turn++) {
        const answer = await httpCall(`127.0.0.1:${port}`, { agent });
        names.add(answer.status === 200 ? answer.text : String(answer.status));
      }
      return [...names].sort();
    },
    startWeb: async (name) => {
      const application = await startHttpApplication();
      application.answer = (outgoing) => outgoing.end(name);
      await mesh.put('/v1/agent/service/register', {
        ...{ Name: 'web', ID: name, Address: '127.0.0.1', Port: Number(application.address.split(':')[1]) },
        Check: { CheckID: name, TTL: '10m', Status: 'passing' },
      });
    },
  };
}

describe('HAProxy resolves its servers by SRV', { skip: haproxy.skip }, () => {
  test('and follows instances that come, fail, recover and go', async () => {
    const { mesh, reached, startWeb } = await setUp();
    const becomes = (wanted: readonly string[], why: string) =>
      waitFor(`${wanted} to be reached: ${why}`, async () => String(await reached()) === String(wanted), 30_000);

    await becomes(['503'], 'none is registered');
    await startWeb('web-1');
    await becomes(['web-1'], 'one is registered');
    await startWeb('web-2');
    await startWeb('web-3');
    await becomes(['web-1', 'web-2', 'web-3'], 'three are registered');
    await mesh.put('/v1/agent/check/fail/web-2');
    await becomes(['web-1', 'web-3'], 'one fails its check');
    await mesh.put('/v1/agent/check/pass/web-2');
    await mesh.put('/v1/agent/service/deregister/web-1');
    await becomes(['web-2', 'web-3'], 'it recovers, another is gone');
    for (const name of ['web-2', 'web-3']) await mesh.put(`/v1/agent/service/deregister/${name}`);
    await becomes(['503'], 'all are gone');
  });
});
