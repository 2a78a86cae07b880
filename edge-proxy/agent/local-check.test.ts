import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { clip, runProbe } from './probe.ts';
import { resolveProbeHost } from './probe-address.ts';
import { until } from './testing/manual-time.ts';
import { type RunningAgent, startAgent } from './testing/running-agent.ts';

/** A real application; it ends with the test. */
async function application(t: TestContext, listener: RequestListener): Promise<{ url: string; server: Server }> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close().closeAllConnections());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/health`, server };
}

async function checkOf({ send }: RunningAgent, id: string) {
  return (await send('GET', '/v1/agent/checks')).json[id];
}

const limits = { timeoutMs: 5000, maxOutputBytes: 4096, signal: new AbortController().signal };
const http = (url: string) =>
  ({
    kind: 'http',
    url: new URL(url),
    method: 'GET',
    headers: {},
    body: '',
    tlsServerName: '',
    tlsSkipVerify: false,
  }) as const;

describe('agent: probes', () => {
  it('2xx passes, 429 warns, all else is critical; a redirect is not followed', async (t) => {
    let status = 200;
    let requests = 0;
    const { url } = await application(t, (_, response) => {
      requests += 1;
      response.writeHead(status, { location: '/elsewhere' }).end('well');
    });
    for (const [code, expected] of [
      [200, 'passing'],
      [204, 'passing'],
      [429, 'warning'],
      [301, 'critical'],
      [307, 'critical'],
      [404, 'critical'],
      [500, 'critical'],
    ] as const) {
      status = code;
      const result = await runProbe(http(url), limits);
      assert.equal(result.status, expected, `${code}`);
      assert.ok(result.output.startsWith(`HTTP GET ${url}: ${code} `), result.output);
    }
    assert.equal(requests, 7);
  });

  it('sends method, headers and body as defined', async (t) => {
    const seen: unknown[] = [];
    const { url } = await application(t, async (request, response) => {
      const body = await request.setEncoding('utf8').toArray();
      seen.push(request.method, request.headers['x-check'], request.headers.host, body.join(''));
      response.end();
    });
    await runProbe(
      { ...http(url), method: 'POST', headers: { 'X-Check': ['a', 'b'], Host: ['db.local'] }, body: 'ping' },
      limits,
    );
    assert.deepEqual(seen, ['POST', 'a, b', 'db.local', 'ping']);
  });

  it('reads no more of an answer than it keeps, and waits no longer than its timeout', async (t) => {
    const { url } = await application(t, (request, response) => {
      if (request.url === '/silent') return;
      const endless = setInterval(() => response.write('x'.repeat(65_536)), 1);
      response.on('close', () => clearInterval(endless));
    });
    const large = await runProbe(http(url), limits);
    assert.deepEqual([large.status, large.output.length], ['passing', 4096]);
    const silent = await runProbe(http(new URL('/silent', url).href), { ...limits, timeoutMs: 50 });
    assert.deepEqual([silent.status, silent.output.endsWith('no answer within 50 ms')], ['critical', true]);
  });

  it('connects by TCP, and says why not', async (t) => {
    const { server } = await application(t, () => undefined);
    const { port } = server.address() as AddressInfo;
    const target = { kind: 'tcp', host: '127.0.0.1', port } as const;
    assert.deepEqual(await runProbe(target, limits), {
      status: 'passing',
      output: `TCP connect 127.0.0.1:${port}: Success`,
    });
    server.close();
    await once(server, 'close');
    assert.match((await runProbe(target, limits)).output, /ECONNREFUSED/);
  });

  it('goes to no link-local or metadata address, however it is written', async () => {
    for (const host of [
      '169.254.169.254',
      new URL('http://2852039166/').hostname,
      new URL('http://0xa9.0xfe.1.1/').hostname,
      '::ffff:169.254.169.254',
      '::ffff:a9fe:a9fe',
      'fe80::1',
      'fe80::1%eth0',
      'febf::1',
      'fd00:ec2::254',
    ]) {
      await assert.rejects(resolveProbeHost(host), /link-local or metadata/, host);
    }
    const { status, output } = await runProbe(http('http://169.254.169.254/latest/meta-data'), limits);
    assert.equal(status, 'critical');
    assert.match(output, /refused: 169\.254\.169\.254/);
    assert.deepEqual(await resolveProbeHost('127.0.0.1'), { address: '127.0.0.1', family: 4 });
  });

  it('cuts output at whole characters', () => {
    assert.equal(clip('aé', 2), 'a');
    assert.equal(clip('aé', 3), 'aé');
  });
});

describe('agent: checks over time', () => {
  it('probes at the interval and needs as many results in a row as the thresholds say', async (t) => {
    let status = 500;
    let probes = 0;
    const { url } = await application(t, (_, response) => {
      probes += 1;
      response.writeHead(status).end();
    });
    const agent = await startAgent(t);
    const thresholds = { SuccessBeforePassing: 2, FailuresBeforeWarning: 1, FailuresBeforeCritical: 3 };
    agent.agent.register({ Name: 'web', Check: { HTTP: url, Interval: '10s', Status: 'passing', ...thresholds } });
    const statuses: string[] = [];
    const step = async () => {
      const before = probes;
      await agent.time.pass(statuses.length === 0 ? 0 : 10_000);
      await until(
        () => probes,
        (now) => now > before,
      );
      // The probe has been answered; its result is in once the next one is waiting.
      let seen = (await checkOf(agent, 'service:web')).Status;
      for (let i = 0; i < 20; i++) seen = (await checkOf(agent, 'service:web')).Status;
      statuses.push(seen);
    };
    for (let i = 0; i < 3; i++) await step();
    status = 200;
    for (let i = 0; i < 2; i++) await step();
    assert.deepEqual(statuses, ['warning', 'warning', 'critical', 'critical', 'passing']);
    await agent.time.pass(9_000);
    assert.equal(probes, 5);
  });

  it('lets a TTL run out and start again with each sign of life', async (t) => {
    const agent = await startAgent(t);
    const { send, time } = agent;
    await send('PUT', '/v1/agent/service/register', { Name: 'web', Check: { TTL: '10s' } });
    assert.equal((await checkOf(agent, 'service:web')).Status, 'critical');
    await send('PUT', '/v1/agent/check/pass/service:web?note=fine');
    await time.pass(9_999);
    assert.deepEqual(pick(await checkOf(agent, 'service:web')), ['passing', 'fine']);
    await send('PUT', '/v1/agent/check/update/service:web', { Status: 'warning', Output: 'x'.repeat(5000) });
    await time.pass(9_999);
    const warned = await checkOf(agent, 'service:web');
    assert.deepEqual([warned.Status, warned.Output.length], ['warning', 4096]);
    await send('PUT', '/v1/agent/check/pass/service:web?note=last');
    await time.pass(10_000);
    assert.deepEqual(pick(await checkOf(agent, 'service:web')), [
      'critical',
      'TTL expired (last output before timeout follows): last',
    ]);
    assert.equal((await send('PUT', '/v1/agent/check/update/service:web', { Status: 'ok' })).status, 400);
  });

  it('keeps what a check said when it is registered again, and drops others only when asked to', async (t) => {
    const agent = await startAgent(t);
    const { send } = agent;
    const path = '/v1/agent/service/register';
    await send('PUT', path, {
      Name: 'web',
      Checks: [
        { CheckID: 'a', TTL: '10s' },
        { CheckID: 'b', TTL: '10s' },
      ],
    });
    await send('PUT', '/v1/agent/check/pass/a?note=up');
    await send('PUT', path, { Name: 'web', Check: { CheckID: 'a', TTL: '20s' } });
    assert.deepEqual(pick(await checkOf(agent, 'a')), ['passing', 'up']);
    assert.ok((await checkOf(agent, 'b')) !== undefined);
    await send('PUT', `${path}?replace-existing-checks=true`, { Name: 'web', Check: { CheckID: 'a', TTL: '20s' } });
    assert.equal(await checkOf(agent, 'b'), undefined);
    await send('PUT', path, { Name: 'db' });
    const taken = await send('PUT', '/v1/agent/check/register', { Name: 'a', ServiceID: 'db', TTL: '1s' });
    assert.deepEqual([taken.status, taken.text], [400, 'The check "a" belongs to another service']);
    const http = { Name: 'h', ServiceID: 'db', HTTP: 'http://127.0.0.1:1/', Interval: '1h' };
    assert.equal((await send('PUT', '/v1/agent/check/register', http)).status, 200);
    const noTtl = await send('PUT', '/v1/agent/check/pass/h');
    assert.deepEqual([noTtl.status, noTtl.text], [500, 'CheckID "h" does not have associated TTL']);
  });

  it('deregisters a service that was critical for too long, and only then', async (t) => {
    const { agent, send, time, catalog } = await startAgent(t);
    agent.register({ Name: 'web', Check: { TTL: '10s', DeregisterCriticalServiceAfter: '1s' } });
    await time.pass(59_000);
    await send('PUT', '/v1/agent/check/pass/service:web');
    await time.pass(10_000 + 59_999);
    assert.deepEqual(Object.keys((await send('GET', '/v1/agent/services')).json), ['web']);
    await time.pass(1);
    assert.deepEqual((await send('GET', '/v1/agent/services')).json, {});
    await agent.synced();
    assert.equal(catalog.services.size, 0);
  });
});

function pick({ Status, Output }: { Status: string; Output: string }) {
  return [Status, Output];
}
