import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { temporaryFolder } from '#test/temporary-folder.ts';
import type { AgentOptions } from './agent-options.ts';
import { until } from './testing/manual-time.ts';
import { type RunningAgent, startAgent } from './testing/running-agent.ts';

const file = (): string => join(temporaryFolder(), 'agent-state.json');

/** An agent that has registered its own service and then taken up what the file holds, `laterMs` after the time that tests begin at. */
async function started(t: TestContext, stateFile: string, over: Partial<AgentOptions> = {}, laterMs = 0) {
  const running = await startAgent(t, { stateFile, ...over });
  running.time.nowMs += laterMs;
  running.agent.register({ Name: 'own', Check: { CheckID: 'own-check', TTL: '1h' } });
  await running.agent.restore();
  return running;
}

const put = async ({ send }: RunningAgent, path: string, body?: unknown) =>
  assert.equal((await send('PUT', `/v1/agent/${path}`, body)).status, 200);
const read = async ({ send }: RunningAgent, what: 'services' | 'checks') =>
  (await send('GET', `/v1/agent/${what}`)).json;

describe('agent: what is kept over a restart', () => {
  it('has services, checks with what they said, and maintenance again; its own it says itself', async (t) => {
    const path = file();
    const before = await started(t, path);
    await put(before, 'service/register', {
      ID: 'web-1',
      Name: 'web',
      Port: 80,
      Meta: { a: 'b' },
      Checks: [
        { CheckID: 'ttl', TTL: '30s', DeregisterCriticalServiceAfter: '90m' },
        { CheckID: 'http', HTTP: 'http://127.0.0.1:1/', Interval: '1h', Timeout: '3s', Header: { a: ['secret'] } },
      ],
    });
    await put(before, 'check/register', { Name: 'on own', ServiceID: 'own', TTL: '20s' });
    await put(before, 'check/pass/ttl?note=well');
    await put(before, 'service/maintenance/web-1?enable=true&reason=upgrade');
    const [services, checks] = [await read(before, 'services'), await read(before, 'checks')];
    await before.agent.close();
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.doesNotMatch(readFileSync(path, 'utf8'), /own-check/);

    const after = await started(t, path, {}, 10_000);
    const again = await read(after, 'checks');
    assert.deepEqual(await read(after, 'services'), services);
    // The probe of the one check has been made meanwhile, or not.
    const { http: _, ...rest } = again;
    const { http: __, ...expected } = checks;
    assert.deepEqual(rest, expected);
    assert.deepEqual([again.ttl.Status, again.ttl.Output], ['passing', 'well']);
    assert.deepEqual([again.http.Interval, again.http.Timeout], ['1h0m0s', '3s']);
    assert.equal(await after.agent.synced(), true);
    assert.ok(after.catalog.services.has('web-1'));
    // The TTL did not begin anew with the restart.
    await after.time.pass(19_999);
    assert.equal((await read(after, 'checks')).ttl.Status, 'passing');
    await after.time.pass(1);
    assert.equal((await read(after, 'checks')).ttl.Status, 'critical');
  });

  it('follows within seconds, so that a crash loses little, and forgets what was deregistered', async (t) => {
    const path = file();
    const running = await started(t, path);
    await put(running, 'service/register', { Name: 'web' });
    await put(running, 'service/register', { Name: 'db' });
    await put(running, 'service/deregister/db');
    await running.time.pass(2_000);
    const names = () => JSON.parse(readFileSync(path, 'utf8')).services.map(({ Name }: { Name: string }) => Name);
    await until(
      () => {
        try {
          return names().join();
        } catch {
          return undefined; // Not written yet.
        }
      },
      (found) => found === 'web',
    );
  });

  it('starts without a file that can’t be read, and leaves out what no longer holds together', async (t) => {
    const path = file();
    writeFileSync(path, '{"version":1,"services":[{"Name":"web"},{"Name":"a/../b"}],"checks":[7],"maintenance":[]}');
    assert.deepEqual(Object.keys(await read(await started(t, path), 'services')), ['own', 'web']);
    writeFileSync(path, 'not JSON');
    assert.deepEqual(Object.keys(await read(await started(t, path), 'services')), ['own']);
  });

  it('runs no script that was kept once scripts are off again', async (t) => {
    const path = file();
    const access = { kind: 'token', check: (token: string | undefined) => token === 'good' } as const;
    const before = await started(t, path, { scripts: access });
    const script = { Name: 'script', Args: ['/bin/true'], Interval: '1h' };
    const refused = await before.send('PUT', '/v1/agent/check/register', script);
    assert.deepEqual([refused.status, /needs a token/.test(refused.text)], [403, true]);
    const taken = await before.send('PUT', '/v1/agent/check/register', script, { 'x-consul-token': 'good' });
    assert.equal(taken.status, 200);
    await before.time.pass(0);
    await until(
      async () => (await read(before, 'checks')).script.Status,
      (status) => status === 'passing',
    );
    await before.agent.close();
    assert.ok('script' in (await read(await started(t, path, { scripts: access }), 'checks')));
    assert.ok(!('script' in (await read(await started(t, path), 'checks'))));
  });
});

describe('agent: aliases', () => {
  it('follow a service of this node at once, and one of another by the catalog', async (t) => {
    const running = await startAgent(t);
    const { send, time, catalog, agent } = running;
    agent.register({ Name: 'db', Check: { CheckID: 'db', TTL: '1h', Status: 'passing' } });
    agent.register({
      Name: 'web',
      Checks: [
        { CheckID: 'here', AliasService: 'db' },
        { CheckID: 'named', AliasNode: 'vm-1', AliasService: 'db' },
        { CheckID: 'gone', AliasService: 'nobody' },
        { CheckID: 'there', AliasNode: 'vm-2', AliasService: 'cache' },
      ],
    });
    const seen = async () => {
      const checks = await read(running, 'checks');
      return ['here', 'named', 'gone', 'there'].map((id) => checks[id].Status);
    };
    catalog.services.set('cache', { ID: 'cache', Service: 'cache' });
    catalog.checks.set('c', { CheckID: 'c', Name: 'c', ServiceID: 'cache', Status: 'warning', Output: 'slow' });
    await time.pass(0);
    await until(seen, (statuses) => statuses.join() === 'passing,passing,critical,warning');
    assert.equal((await read(running, 'checks')).there.Output, 'Aliased check "c" failing: slow');
    assert.equal((await read(running, 'checks')).here.Type, 'alias');
    await send('PUT', '/v1/agent/check/warn/db?note=full');
    await until(seen, (statuses) => statuses.join() === 'warning,warning,critical,warning');
    agent.deregister('db');
    await until(seen, (statuses) => statuses.join() === 'critical,critical,critical,warning');
    assert.equal((await read(running, 'checks')).here.Output, 'Service db could not be found on node vm-1');
  });

  it('of one another come to rest', async (t) => {
    const running = await startAgent(t);
    running.agent.register({ Name: 'a', Check: { CheckID: 'a', AliasService: 'b' } });
    running.agent.register({ Name: 'b', Check: { CheckID: 'b', AliasService: 'a' } });
    const lengths = async () =>
      Object.values(await read(running, 'checks')).map((check) => String((check as { Output: string }).Output).length);
    await until(lengths, ([a = 0, b = 0]) => a <= 4096 && b <= 4096);
    assert.equal(await running.agent.synced(), true);
  });
});
