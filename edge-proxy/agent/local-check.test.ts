import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { application } from './checks/testing/listeners.ts';
import { until } from './testing/manual-time.ts';
import { type RunningAgent, startAgent } from './testing/running-agent.ts';

async function checkOf({ send }: RunningAgent, id: string) {
  return (await send('GET', '/v1/agent/checks')).json[id];
}

describe('agent: checks over time', () => {
  it('probes at the interval and needs as many results in a row as the thresholds say', async (t) => {
    let status = 500;
    let probes = 0;
    const url = await application(t, (_, response) => {
      probes += 1;
      response.writeHead(status).end();
    });
    const agent = await startAgent(t);
    const thresholds = { SuccessBeforePassing: 2, FailuresBeforeWarning: 1, FailuresBeforeCritical: 3 };
    agent.agent.register({ Name: 'web', Check: { HTTP: url, Interval: '10s', Status: 'passing', ...thresholds } });
    const statuses: string[] = [];
    status = 200;
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
    await step();
    status = 500;
    for (let i = 0; i < 3; i++) await step();
    status = 200;
    for (let i = 0; i < 2; i++) await step();
    assert.deepEqual(statuses, ['passing', 'warning', 'warning', 'critical', 'critical', 'passing']);
    await agent.time.pass(9_000);
    assert.equal(probes, 6);
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
    assert.deepEqual(pick(warned), ['warning', `${'x'.repeat(4096)} ... (captured 4096 of 5000 bytes)`]);
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
