import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { passUntil, until } from './testing/manual-time.ts';
import { startAgent } from './testing/running-agent.ts';

const proxy = {
  Kind: 'connect-proxy',
  Name: 'web-sidecar-proxy',
  Port: 21_000,
  Proxy: { DestinationServiceName: 'web', DestinationServiceID: 'web', LocalServicePort: 8080 },
};

describe('agent: anti-entropy', () => {
  it('tells the catalog of changes of status at once, and of nothing when nothing changed', async (t) => {
    const { agent, catalog, send, time } = await startAgent(t);
    agent.register({ Name: 'web', Check: { TTL: '1h' } });
    agent.register(proxy);
    await agent.synced();
    assert.deepEqual(catalog.calls, ['register web', 'register web-sidecar-proxy']);
    for (let i = 0; i < 5; i++) await send('PUT', '/v1/agent/check/pass/service:web?note=up');
    await agent.synced();
    assert.equal(catalog.checks.get('service:web')?.['Status'], 'passing');
    assert.deepEqual(catalog.calls.slice(2), ['register web']);
    catalog.calls.length = 0;
    await time.pass(60_000);
    await until(
      () => catalog.calls,
      (calls) => calls.length > 0,
    );
    await agent.synced();
    assert.deepEqual(catalog.calls, ['compare']);
  });

  it('carries a change of output alone minutes later, and with a change of status at once', async (t) => {
    const { agent, catalog, send, time } = await startAgent(t);
    agent.register({ Name: 'web', Check: { TTL: '1h', Status: 'passing' } });
    await agent.synced();
    catalog.calls.length = 0;
    for (const note of ['a', 'b', 'c']) await send('PUT', `/v1/agent/check/pass/service:web?note=${note}`);
    assert.deepEqual(catalog.calls, []);
    // Half of Consul's check_update_interval, for chance is 0 here. The comparison meanwhile takes no offence.
    await time.pass(60_000);
    await until(
      () => catalog.calls,
      (calls) => calls.length > 0,
    );
    await agent.synced();
    assert.deepEqual(catalog.calls, ['compare']);
    await time.pass(90_000);
    await until(
      () => catalog.checks.get('service:web')?.['Output'],
      (output) => output === 'c',
    );
    assert.equal(catalog.calls.filter((call) => call === 'register web').length, 1);
    await send('PUT', '/v1/agent/check/pass/service:web?note=d');
    await send('PUT', '/v1/agent/check/fail/service:web?note=e');
    await agent.synced();
    assert.equal(catalog.checks.get('service:web')?.['Output'], 'e');
  });

  it('registers again what the catalog lost or has differently, and leaves alone what others put there', async (t) => {
    const { agent, catalog } = await startAgent(t);
    agent.register({ Name: 'web', Port: 8080, Tags: ['a'], Check: { TTL: '1h' } });
    agent.register({ Name: 'db', EnableTagOverride: true, Tags: ['mine'] });
    await agent.synced();
    const lose: [string, () => void, string[]][] = [
      ['a service', () => catalog.services.delete('web'), ['register web']],
      ['a port', () => catalog.services.set('web', { ...catalog.services.get('web'), Port: 1 }), ['register web']],
      ['a check', () => catalog.checks.delete('service:web'), ['register web']],
      [
        'a status',
        () => catalog.checks.set('service:web', { CheckID: 'service:web', Status: 'passing' }),
        ['register web'],
      ],
      [
        'tags that are the catalog’s to say',
        () => catalog.services.set('db', { ...catalog.services.get('db'), Tags: ['theirs'] }),
        [],
      ],
      ['another proxy’s service', () => catalog.services.set('cache', { ID: 'cache', Service: 'cache' }), []],
    ];
    for (const [what, change, calls] of lose) {
      change();
      catalog.calls.length = 0;
      agent.catalogReturned();
      await agent.synced();
      assert.deepEqual(catalog.calls, ['compare', ...calls], what);
    }
    assert.ok(catalog.services.has('cache'));
    assert.deepEqual(
      [catalog.services.get('web')?.['Port'], catalog.checks.get('service:web')?.['Status']],
      [8080, 'critical'],
    );
  });

  it('keeps trying with back-off while the catalog is away, then compares all', async (t) => {
    const { agent, catalog, time } = await startAgent(t);
    catalog.trouble = () => ({ status: 500, text: 'no leader' });
    agent.register({ Name: 'web' });
    const calls = (count: number) =>
      until(
        () => catalog.calls.length,
        (length) => length >= count,
      );
    await calls(1);
    agent.register({ Name: 'db' });
    await time.pass(499);
    assert.equal(catalog.calls.length, 1, 'a change does not hammer a catalog that is away');
    for (const attempts of [2, 3, 4]) {
      const before = time.nowMs;
      await until(
        async () => {
          await time.pass(50);
          return catalog.calls.length;
        },
        (length) => length >= attempts,
      );
      assert.ok(time.nowMs - before >= (attempts === 2 ? 1 : 2 ** (attempts - 3) * 1000), `attempt ${attempts}`);
    }
    catalog.trouble = undefined;
    catalog.calls.length = 0;
    assert.equal(await passUntil(time, 500, agent.synced()), true);
    assert.ok(catalog.services.has('web') && catalog.services.has('db'));
    assert.equal(catalog.calls[0], 'compare');
  });

  it('does not let one refused service hold up another, says what was refused, and tries it again at the next comparison', async (t) => {
    const { agent, catalog, time } = await startAgent(t);
    catalog.trouble = (call) => (call === 'register db' ? { status: 403, text: 'not granted' } : undefined);
    agent.register({ Name: 'db' });
    agent.register({ Name: 'web' });
    await until(() => catalog.services.has('web'), Boolean);
    await until(
      () => agent.refused.size,
      (size) => size === 1,
    );
    assert.match(agent.refused.get('service/db') ?? '', /403 .*: not granted$/);
    assert.deepEqual(catalog.calls, ['register db', 'register web']);
    catalog.trouble = undefined;
    await passUntil(time, 5000, agent.synced());
    assert.ok(catalog.services.has('db'));
    assert.equal(agent.refused.size, 0);
  });

  it('removes what was deregistered, also when the catalog was away meanwhile', async (t) => {
    const { agent, catalog, send, time } = await startAgent(t);
    agent.register({
      Name: 'web',
      Checks: [
        { CheckID: 'a', TTL: '1h' },
        { CheckID: 'b', TTL: '1h' },
      ],
    });
    await agent.synced();
    await send('PUT', '/v1/agent/check/deregister/a');
    await agent.synced();
    assert.deepEqual([...catalog.checks.keys()], ['b']);
    catalog.trouble = () => ({ status: 500, text: 'away' });
    agent.deregister('web');
    await until(
      () => catalog.calls.at(-1),
      (call) => call === 'deregister web',
    );
    agent.register({ Name: 'web', Port: 2 });
    catalog.trouble = undefined;
    await passUntil(time, 100, agent.synced());
    assert.deepEqual([catalog.services.get('web')?.['Port'], catalog.checks.size], [2, 0]);
  });

  it('deregisters everything when it is closed, and says so when it can not', async (t) => {
    const { agent, catalog } = await startAgent(t);
    agent.register({ Name: 'web', Check: { TTL: '1h' } });
    agent.register(proxy);
    await agent.synced();
    catalog.trouble = (call) => (call === 'deregister web' ? { status: 500, text: 'away' } : undefined);
    await agent.close();
    assert.deepEqual([...catalog.services.keys()], ['web']);
    assert.equal(await agent.synced(), false);
  });
});
