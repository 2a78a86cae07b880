import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { temporaryFolder } from '#test/temporary-folder.ts';
import { type LocalService, serviceSchema, toServiceDefinition } from './service-definition.ts';
import { sidecarOf } from './sidecar-service.ts';
import { startAgent } from './testing/running-agent.ts';

const register = '/v1/agent/service/register';
const withSidecar = (name: string, sidecar: object = {}, more: object = {}) => ({
  ...{ Name: name, Port: 8080, Tags: ['blue'], Meta: { version: '3' }, ...more },
  Connect: { SidecarService: sidecar },
});

describe('agent: Connect.SidecarService', () => {
  it('registers the sidecar that Consul would, with its checks', async (t) => {
    const { send, agent, catalog } = await startAgent(t);
    await send(
      'PUT',
      register,
      withSidecar('web', { proxy: { upstreams: [{ DestinationName: 'db' }] } }, { ID: 'web-1' }),
    );
    const services = (await send('GET', '/v1/agent/services')).json;
    assert.deepEqual(Object.keys(services), ['web-1', 'web-1-sidecar-proxy']);
    assert.equal(services['web-1'].Connect, undefined);
    const { Kind, Service, Tags, Meta, Port, ...rest } = services['web-1-sidecar-proxy'];
    assert.deepEqual([Kind, Service, Tags, Meta], ['connect-proxy', 'web-sidecar-proxy', ['blue'], { version: '3' }]);
    assert.equal(Port, 21_000);
    assert.deepEqual(rest.Proxy, {
      upstreams: [{ DestinationName: 'db' }],
      DestinationServiceName: 'web',
      DestinationServiceID: 'web-1',
      LocalServiceAddress: '127.0.0.1',
      LocalServicePort: 8080,
    });
    const checks = (await send('GET', '/v1/agent/checks')).json;
    assert.deepEqual(
      Object.values<Record<string, unknown>>(checks).map(({ CheckID, Name, Definition }) => [
        CheckID,
        Name,
        Definition,
      ]),
      [
        [
          'service:web-1-sidecar-proxy:1',
          'Connect Sidecar Listening',
          { TCP: '127.0.0.1:21000', Interval: '10s', Timeout: '0s' },
        ],
        ['service:web-1-sidecar-proxy:2', 'Connect Sidecar Aliasing web-1', { AliasNode: '', AliasService: 'web-1' }],
      ],
    );
    assert.equal(await agent.synced(), true);
    assert.deepEqual([...catalog.services.keys()], ['web-1', 'web-1-sidecar-proxy']);
  });

  it('leaves what the registration says, keeps its port, and gives the next one another', async (t) => {
    const { send } = await startAgent(t);
    const own = { Name: 'front', Port: 9999, Address: '10.0.0.9', Tags: ['own'], Check: { TTL: '1m' } };
    await send('PUT', register, withSidecar('web', own));
    await send('PUT', register, withSidecar('db'));
    await send('PUT', register, withSidecar('cache'));
    await send('PUT', register, withSidecar('db', { Tags: ['again'] }));
    const services = (await send('GET', '/v1/agent/services')).json;
    const front = services['web-sidecar-proxy'];
    assert.deepEqual([front.Service, front.Port, front.Address, front.Tags], ['front', 9999, '10.0.0.9', ['own']]);
    assert.deepEqual([services['db-sidecar-proxy'].Port, services['cache-sidecar-proxy'].Port], [21_000, 21_001]);
    assert.deepEqual(services['db-sidecar-proxy'].Tags, ['again']);
    const checks = (await send('GET', '/v1/agent/checks')).json;
    assert.equal(checks['service:web-sidecar-proxy'].Type, 'ttl');
    assert.equal(checks['service:web-sidecar-proxy:1'], undefined);
  });

  it('the sidecar goes with its service, after a restart too; one that was registered by itself stays', async (t) => {
    const stateFile = join(temporaryFolder(), 'state.json');
    const before = await startAgent(t, { stateFile });
    await before.agent.restore();
    await before.send('PUT', register, withSidecar('web'));
    await before.send('PUT', register, withSidecar('db'));
    // By hand, in the place of the one that came along.
    const proxy = { Kind: 'connect-proxy', Name: 'db-sidecar-proxy', Port: 5, Proxy: { DestinationServiceName: 'db' } };
    await before.send('PUT', register, proxy);
    await before.agent.close();
    const { agent, send } = await startAgent(t, { stateFile });
    await agent.restore();
    for (const id of ['web', 'db']) await send('PUT', `/v1/agent/service/deregister/${id}`);
    assert.deepEqual(Object.keys((await send('GET', '/v1/agent/services')).json), ['db-sidecar-proxy']);
  });

  it('where the process is the sidecar of the service, that one stands', async (t) => {
    const { agent, send } = await startAgent(t);
    agent.register({ Name: 'web', Port: 8080 });
    const proxy = { DestinationServiceName: 'web', DestinationServiceID: 'web' };
    agent.register({ Kind: 'connect-proxy', Name: 'web-sidecar-proxy', Port: 30_000, Proxy: proxy });
    await send('PUT', register, withSidecar('web'));
    assert.equal((await send('GET', '/v1/agent/services')).json['web-sidecar-proxy'].Port, 30_000);
  });

  it('a freed port is given again; when all are taken it says so', () => {
    const services = new Map<string, LocalService>();
    const add = (name: string, port: number): LocalService => {
      const { service } = toServiceDefinition(serviceSchema.parse({ Name: name, Port: port }));
      services.set(name, service);
      return service;
    };
    const known = { services, isOwn: () => false };
    const request = serviceSchema.parse({ Name: 'web', Connect: { SidecarService: {} } }).Connect?.SidecarService;
    for (let port = 21_000; port <= 21_255; port++) add(`s${port}`, port);
    const web = add('web', 8080);
    assert.throws(() => sidecarOf(web, request, known), /none left in the configured range \[21000, 21255\]/);
    services.delete('s21007');
    assert.equal(sidecarOf(web, request, known)?.service.Port, 21_007);
  });
});
