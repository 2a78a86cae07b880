import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { type RunningCatalog, startCatalog } from '#catalog/main.ts';
import { quietContext } from '#catalog/testing/running-catalog.ts';
import { serveAgentDns } from '#edge-proxy/dns/agent-dns.ts';
import type { DnsConfig } from '#runtime/dns/serve-zone.ts';
import { meshRequest } from '#runtime/mesh-http.ts';
import { createMetrics } from '#runtime/metrics.ts';
import { svidHolder } from '#runtime/svid/svid.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { dig, skipWithoutDig } from './dig.ts';
import { makeCa, staticTrust } from './mini-ca.ts';
import { waitFor } from './wait-for.ts';

/** DNS of an agent before a real catalog over TLS: what the catalog's own DNS says, soon after it changed, and still when the catalog is away. */

const context = quietContext();
const ca = makeCa('mesh.test');
const trust = staticTrust(ca.bundle);
const idOf = (service: string) => `spiffe://mesh.test/ns/default/dc/dc1/svc/${service}`;
const web = ca.issue({ spiffeId: idOf('web') });
const dns: DnsConfig = {
  listen: { host: '127.0.0.1', port: 0 },
  domain: ['consul'],
  recursors: [],
  onlyPassing: false,
  nodeTtlSeconds: 3,
  serviceTtls: [{ pattern: '*', seconds: 1 }],
};

const store = await openSqliteStore({ path: undefined, clock: context.clock, log: context.log });
let catalog = await start(0);
const { port } = catalog;
const metrics = createMetrics();
const agent = await serveAgentDns(dns, {
  ...{ catalogUrl: catalog.url, trust, svid: () => web, datacenter: 'dc1', metrics, context },
});
after(async () => {
  await agent.close();
  await catalog.close(0);
  await store.close();
});

function start(port: number): Promise<RunningCatalog> {
  const config = {
    ...{ host: '127.0.0.1', port, datacenter: 'dc1', nodeName: 'catalog-1', defaultIntentionPolicy: 'deny' as const },
    ...{ trustDomain: 'mesh.test', open: false, dataDir: undefined, dns },
    tls: { svid: svidHolder(ca.issue({ spiffeId: idOf('selvedge-catalog') })), trust },
  };
  return startCatalog(config, context, store);
}

async function put(path: string, body: object): Promise<void> {
  const answer = await meshRequest({
    ...{ url: `${catalog.url}${path}`, method: 'PUT', body: JSON.stringify(body), trust, clock: context.clock },
    ...{ headers: { 'x-consul-token': catalog.operatorToken ?? '' }, timeoutMs: 5_000 },
  });
  assert.equal(answer.status, 200, answer.body.toString());
}
const register = (node: number, Service: object, more: object = {}) =>
  put('/v1/catalog/register', { Node: `Node-${node}`, Address: `10.0.0.${node}`, Service, ...more });
const ask = (name: string, ...more: string[]) => dig(agent.address.port, name, ...more);

describe('DNS of an agent', { skip: skipWithoutDig() }, () => {
  test('says what the catalog says, of every kind of name', async () => {
    await register(1, { Service: 'Web', Tags: ['V1'], Port: 8001 }, { NodeMeta: { rack: 'r 1' } });
    await register(2, { Service: 'Web', Port: 8002, Address: 'fd00::2', Weights: { Passing: 9, Warning: 1 } });
    await register(3, { Service: 'away', Port: 1, Address: 'db.example.com' });
    const proxy = { DestinationServiceName: 'Web', DestinationServiceID: 'Web' };
    await register(1, { Service: 'Web-proxy', Kind: 'connect-proxy', Port: 21_000, Proxy: proxy });
    const own = catalog.dnsAddress?.port ?? 0;
    const questions = [
      ...['wEb.service.consul A', 'web.service.consul AAAA', 'v1.web.service.consul A', '_web._tcp.service.consul SRV'],
      ...[
        'web.connect.consul SRV',
        'web.mesh A',
        'web.virtual.consul A',
        'away.service.consul A',
        'node-1.node.consul ANY',
      ],
      ...[
        '0a000001.addr.consul A',
        '2.0.0.10.in-addr.arpa PTR',
        '9.9.9.9.in-addr.arpa PTR',
        'nothing.service.consul A',
      ],
      ...['nothing.node.consul A', 'nothing.mesh A', 'consul NS', 'web.service.dc2.consul A', 'example.com A'],
    ];
    for (const question of questions) {
      const [theirs, ours] = await Promise.all([
        dig(own, ...question.split(' ')),
        ask(question.split(' ')[0] ?? '', question.split(' ')[1] ?? ''),
      ]);
      const seen = ({ status, flags, answer, additional, ttls }: typeof ours) => ({
        status,
        flags,
        answer,
        additional,
        ttls,
      });
      assert.deepEqual(seen(ours), seen(theirs), question);
    }
  });

  test('hears of changes by itself: of what was there, and of what was not', async () => {
    await ask('late.service.consul');
    await register(4, { Service: 'Late', Port: 1 });
    await register(5, { Service: 'Web', Port: 8005 });
    const heard = async (name: string, address: string) =>
      (await ask(name)).answer.some((one) => one.endsWith(address));
    await waitFor('a name that was not there', () => heard('late.service.consul', '10.0.0.4'));
    await waitFor('another instance', () => heard('web.service.consul', '10.0.0.5'));
    await put('/v1/catalog/deregister', { Node: 'Node-5' });
    await waitFor('its end', async () => !(await heard('web.service.consul', '10.0.0.5')));
  });

  test('without the catalog it answers what it knew and says so; what it never heard of is SERVFAIL; then all is well', async () => {
    await catalog.close(0);
    await waitFor('it to notice', async () => /EDE: 3 \(Stale/.test((await ask('web.service.consul')).text), 10_000);
    assert.deepEqual((await ask('web.service.consul')).answer, ['web.service.consul A 10.0.0.1']);
    assert.equal((await ask('never.service.consul')).status, 'SERVFAIL');
    assert.equal((await ask('nothing.service.consul')).status, 'NXDOMAIN', 'it was asked before, and was not there');
    catalog = await start(port);
    await waitFor('it to be current', async () => !/EDE/.test((await ask('web.service.consul')).text), 30_000);
    assert.equal((await ask('never.service.consul')).status, 'NXDOMAIN');
  });

  test('counts its answers', async () => {
    assert.match(
      (await metrics.exposition()).text,
      /^selvedge_agent_dns_queries_total{type="SRV",rcode="NOERROR",transport="udp"} \d/m,
    );
  });
});
