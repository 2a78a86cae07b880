import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { pino } from 'pino';
import { type CatalogConfig, type RunningCatalog, startCatalog } from '#catalog/main.ts';
import { createAgent } from '#edge-proxy/agent/agent.ts';
import { type CatalogClient, createCatalogClient } from '#edge-proxy/agent/catalog-client.ts';
import { meshRequest } from '#runtime/mesh-http.ts';
import { systemContext } from '#runtime/process-context.ts';
import { svidHolder } from '#runtime/svid/svid.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { makeCa, staticTrust } from './mini-ca.ts';

/** The agent against the real catalog on the real store. */
const context = systemContext(pino({ level: 'silent' }));
const spiffeId = (service: string) => `spiffe://mesh.test/ns/default/dc/dc1/svc/${service}`;
const sidecar = {
  Kind: 'connect-proxy',
  Name: 'web-sidecar-proxy',
  Port: 21_000,
  Proxy: { DestinationServiceName: 'web', DestinationServiceID: 'web', LocalServiceAddress: '127.0.0.1' },
};

async function start(t: TestContext, config: Partial<CatalogConfig>): Promise<RunningCatalog> {
  const store = await openSqliteStore({ path: undefined, clock: context.clock, log: context.log });
  const catalog = await startCatalog(
    {
      host: '127.0.0.1',
      port: 0,
      datacenter: 'dc1',
      nodeName: 'catalog-1',
      defaultIntentionPolicy: 'deny',
      trustDomain: 'mesh.test',
      open: true,
      dataDir: undefined,
      ...config,
    },
    context,
    store,
  );
  t.after(async () => {
    await catalog.close(0);
    await store.close();
  });
  return catalog;
}

function agentOn(t: TestContext, client: CatalogClient) {
  const calls: string[] = [];
  const counted: CatalogClient = {
    ...client,
    register(body, as) {
      calls.push(`register ${body.Service?.ID}`);
      return client.register(body, as);
    },
    nodeState(node, as) {
      calls.push('compare');
      return client.nodeState(node, as);
    },
  };
  const stop = new AbortController();
  const agent = createAgent({
    nodeName: 'vm-1',
    nodeAddress: '10.0.0.1',
    datacenter: 'dc1',
    catalog: counted,
    authorize: () => ({ allowed: false, rule: 'none', reason: 'not asked here' }),
    access: { kind: 'open' },
    context,
    signal: stop.signal,
  });
  t.after(() => stop.abort());
  return { agent, calls };
}

describe('agent and catalog', () => {
  it('registers, keeps and removes what Consul’s readers see', async (t) => {
    const catalog = await start(t, {});
    const client = createCatalogClient({
      url: catalog.url,
      trust: undefined,
      svidFor: () => undefined,
      clock: context.clock,
    });
    const { agent, calls } = agentOn(t, client);
    const read = async (path: string) => JSON.parse(await (await fetch(catalog.url + path)).text());
    const tagged = { lan: { Address: '10.0.0.1', Port: 8080 } };
    // Something that answers: the first probe comes within a second, and may come before the reads below.
    const check = { HTTP: `${catalog.url}/livez`, Interval: '1m', Status: 'passing' };
    agent.register({
      Name: 'web',
      Port: 8080,
      Tags: ['blue'],
      Meta: { v: '1' },
      TaggedAddresses: tagged,
      Ports: [
        { Name: 'http', Port: 8080, Default: true },
        { Name: 'admin', Port: 8081 },
      ],
      Locality: { Region: 'eu', Zone: 'a' },
      Check: check,
    });
    agent.register(sidecar);
    await agent.synced();
    const [entry] = await read('/v1/health/connect/web');
    assert.deepEqual(
      [entry.Node.Address, entry.Service.Port, entry.Service.ID],
      ['10.0.0.1', 21_000, 'web-sidecar-proxy'],
    );
    const [web] = await read('/v1/health/service/web?passing');
    assert.deepEqual(web.Service.Ports, [
      { Name: 'http', Port: 8080, Default: true },
      { Name: 'admin', Port: 8081, Default: false },
    ]);
    assert.deepEqual(web.Service.Locality, { Region: 'eu', Zone: 'a' });
    assert.deepEqual([web.Service.Tags, web.Checks[0].CheckID, web.Checks[0].Type], [['blue'], 'service:web', 'http']);

    calls.length = 0;
    agent.catalogReturned();
    await agent.synced();
    assert.deepEqual(calls, ['compare'], 'what the catalog shows is what was registered: nothing to repeat');

    await client.deregister({ Node: 'vm-1', ServiceID: 'web' }, undefined);
    await client.deregister({ Node: 'vm-1', CheckID: 'service:web' }, undefined);
    calls.length = 0;
    agent.catalogReturned();
    await agent.synced();
    assert.deepEqual(calls, ['compare', 'register web']);
    assert.equal((await read('/v1/health/service/web')).length, 1);

    await agent.close();
    assert.deepEqual(await read('/v1/catalog/services'), {});
    assert.deepEqual(await read('/v1/health/node/vm-1'), []);
  });

  it('speaks for each service with its own SVID, and may register no other', async (t) => {
    const ca = makeCa('mesh.test');
    const trust = staticTrust(ca.bundle);
    const tls = { svid: svidHolder(ca.issue({ spiffeId: spiffeId('selvedge-catalog') })), trust };
    const catalog = await start(t, { open: false, tls });
    const web = ca.issue({ spiffeId: spiffeId('web') });
    // A node that was granted web, and nothing else; it tries db with the only SVID that it has.
    const client = createCatalogClient({ url: catalog.url, trust, svidFor: () => web, clock: context.clock });
    const { agent } = agentOn(t, client);
    agent.register({ Name: 'web', Port: 8080, Check: { TTL: '1m', Status: 'passing' } });
    agent.register(sidecar);
    agent.register({ Name: 'db', Port: 5432 });
    const deadline = AbortSignal.timeout(20_000);
    while (agent.refused.size === 0 || agent.refused.has('service/web')) await wait(5, undefined, { signal: deadline });
    assert.match(agent.refused.get('service/db') ?? '', /The catalog answered 403 to PUT \/v1\/catalog\/register/);
    agent.deregister('db');
    await agent.synced();
    const shown = await meshRequest({
      url: `${catalog.url}/v1/catalog/services`,
      trust,
      svid: web,
      clock: context.clock,
      timeoutMs: 5000,
    });
    assert.deepEqual(Object.keys(JSON.parse(shown.body.toString())), ['web', 'web-sidecar-proxy']);
    await agent.close();
  });
});
