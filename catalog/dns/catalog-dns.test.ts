import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, test } from 'node:test';
import type { DnsConfig } from '#runtime/dns/serve-zone.ts';
import { queryBytes } from '#runtime/dns/testing/query-bytes.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { dig, skipWithoutDig } from '#test/dig.ts';
import { waitFor } from '#test/wait-for.ts';
import { type RunningCatalog, startCatalog } from '../main.ts';
import { quietContext, send, startTestCatalog } from '../testing/running-catalog.ts';

/** DNS as `dig` sees it: a catalog on real sockets, filled over its own API. */

const anyPort = { host: '127.0.0.1', port: 0 };
const dns: DnsConfig = {
  listen: anyPort,
  domain: ['consul'],
  recursors: [],
  onlyPassing: false,
  nodeTtlSeconds: 0,
  serviceTtls: [],
};
type Ends = Parameters<typeof startTestCatalog>[0];

async function serve(t: Ends, config: Partial<DnsConfig> = {}): Promise<{ catalog: RunningCatalog; port: number }> {
  const catalog = await startTestCatalog(t, { dns: { ...dns, ...config } });
  return { catalog, port: portOf(catalog) };
}
function portOf(catalog: RunningCatalog): number {
  assert.ok(catalog.dnsAddress !== undefined);
  return catalog.dnsAddress.port;
}

async function register(catalog: RunningCatalog, body: Readonly<Record<string, unknown>>): Promise<void> {
  const { status, text } = await send(catalog, 'PUT', '/v1/catalog/register', { body });
  assert.equal(status, 200, text);
}
const web = (node: number, more: object = {}) => ({
  Node: `Node-${node}`,
  Address: `10.0.0.${node}`,
  Service: { Service: 'Web', Port: 8000 + node, ...more },
});

test('a service with several ports is found at its default one', { skip: skipWithoutDig() }, async (t) => {
  const { catalog, port } = await serve(t);
  const Ports = [
    { Name: 'admin', Port: 81 },
    { Name: 'http', Port: 80, Default: true },
  ];
  await register(catalog, { Node: 'n1', Address: '10.0.0.1', Service: { Service: 'web', Ports } });
  const { answer } = await dig(port, 'web.service.consul', 'SRV');
  assert.deepEqual(answer, ['web.service.consul SRV 1 1 80 n1.node.dc1.consul']);
});

describe('DNS, as dig sees it', { skip: skipWithoutDig(), concurrency: true }, () => {
  test('services, nodes, backwards, the mesh; names in any case, answered in the case asked', async (t) => {
    const { catalog, port } = await serve(t, { nodeTtlSeconds: 7, serviceTtls: [{ pattern: 'w*', seconds: 3 }] });
    await register(catalog, web(1, { Tags: ['V1'] }));
    await register(catalog, web(2, { Address: 'fd00::2', Weights: { Passing: 9, Warning: 1 } }));
    const proxy = { DestinationServiceName: 'Web' };
    const sidecar = web(1, { Service: 'Web-proxy', Kind: 'connect-proxy', Port: 21_000, Proxy: proxy });
    await register(catalog, { ...sidecar, NodeMeta: { rack: 'r 1' } });

    const a = await dig(port, 'wEb.SERVICE.consul', 'A');
    assert.deepEqual([a.status, a.answer, a.ttls], ['NOERROR', ['wEb.SERVICE.consul A 10.0.0.1'], [3]]);
    assert.ok(a.flags.includes('aa') && !a.flags.includes('ra'), String(a.flags));
    assert.deepEqual((await dig(port, 'web.service.consul', 'AAAA')).answer, ['web.service.consul AAAA fd00::2']);
    assert.deepEqual((await dig(port, 'v1.web.service.dc1.consul', 'A')).answer, [
      'v1.web.service.dc1.consul A 10.0.0.1',
    ]);

    const srv = await dig(port, '_web._tcp.service.consul', 'SRV');
    const hex = 'fd000000000000000000000000000002.addr.dc1.consul';
    assert.deepEqual(srv.answer, [
      '_web._tcp.service.consul SRV 1 1 8001 Node-1.node.dc1.consul',
      `_web._tcp.service.consul SRV 1 9 8002 ${hex}`,
    ]);
    assert.deepEqual(srv.additional, [`Node-1.node.dc1.consul A 10.0.0.1`, `${hex} AAAA fd00::2`]);
    // What an SRV record names can be asked for.
    assert.deepEqual((await dig(port, 'Node-1.node.dc1.consul', 'A')).answer, ['Node-1.node.dc1.consul A 10.0.0.1']);
    assert.deepEqual((await dig(port, hex, 'AAAA')).ttls, [7]);

    assert.deepEqual((await dig(port, 'node-1.node.consul', 'TXT')).answer, ['node-1.node.consul TXT "rack=r 1"']);
    assert.deepEqual((await dig(port, '-x', '10.0.0.2')).answer, ['2.0.0.10.in-addr.arpa PTR Node-2.node.dc1.consul']);
    assert.match((await dig(port, '-x', 'fd00::2')).answer[0] ?? '', /ip6\.arpa PTR Web\.service\.dc1\.consul$/);

    assert.match((await dig(port, 'web.connect.consul', 'SRV')).answer[0] ?? '', /SRV 1 1 21000 Node-1\.node/);
    const [mesh = ''] = (await dig(port, 'web.mesh', 'A')).answer;
    assert.match(mesh, /^web\.mesh A 127\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.\d+\.\d+$/);
    const [virtual = ''] = (await dig(port, 'web.virtual.consul', 'A')).answer;
    assert.equal(virtual.split(' ')[2], mesh.split(' ')[2]);
  });

  test('an answer is of now: what is registered, sick or gone shows in the next one', async (t) => {
    const { catalog, port } = await serve(t);
    const seen = async (): Promise<string> => {
      const { status, answer } = await dig(port, 'web.service.consul', 'A');
      return `${status} ${answer.map((record) => record.split(' ')[2]).join(' ')}`.trim();
    };
    assert.equal(await seen(), 'NXDOMAIN');
    await register(catalog, web(1));
    assert.equal(await seen(), 'NOERROR 10.0.0.1');
    await register(catalog, web(2));
    assert.equal(await seen(), 'NOERROR 10.0.0.1 10.0.0.2');
    const check = (status: string) => ({
      ...web(2),
      Check: { CheckID: 'up', Name: 'up', Status: status, ServiceID: 'Web' },
    });
    await register(catalog, check('critical'));
    assert.equal(await seen(), 'NOERROR 10.0.0.1');
    await register(catalog, check('warning'));
    assert.equal(await seen(), 'NOERROR 10.0.0.1 10.0.0.2');
    await register(catalog, { ...web(1), Address: '10.0.0.9' });
    assert.equal(await seen(), 'NOERROR 10.0.0.2 10.0.0.9');
    for (const Node of ['Node-1', 'Node-2']) await send(catalog, 'PUT', '/v1/catalog/deregister', { body: { Node } });
    assert.equal(await seen(), 'NXDOMAIN');
    const { authority } = await dig(port, 'web.service.consul', 'A');
    assert.match(authority[0] ?? '', /^consul SOA ns\.consul\. hostmaster\.consul\. \d+ 3600 600 86400 0$/);
  });

  test('what does not fit is cut, and comes whole by TCP; with EDNS more fits', async (t) => {
    const { catalog, port } = await serve(t);
    for (let node = 1; node <= 60; node++) await register(catalog, web(node));
    const cut = await dig(port, 'web.service.consul', 'A', '+noedns', '+ignore');
    assert.ok(cut.flags.includes('tc') && cut.answer.length > 20 && cut.answer.length < 60, cut.text);
    assert.equal((await dig(port, 'web.service.consul', 'A', '+noedns')).answer.length, 60);
    const more = await dig(port, 'web.service.consul', 'A', '+bufsize=4096', '+ignore');
    assert.ok(!more.flags.includes('tc'), more.text);
    assert.equal(more.answer.length, 60);
    const targets = await dig(port, 'web.service.consul', 'SRV', '+tcp', '+keepopen');
    assert.deepEqual([targets.answer.length, targets.additional.length], [60, 60]);
    const orders = new Set<string>();
    await waitFor(
      'another order',
      async () => {
        const { text } = await dig(port, 'web.service.consul', 'A', '+tcp');
        orders.add(/\sA\s+(\S+)/.exec(text)?.[1] ?? '');
        return orders.size > 1;
      },
      20_000,
    );
  });

  test('what is not ours, not known, or not a question that we answer', async (t) => {
    const { catalog, port } = await serve(t);
    await register(catalog, web(1));
    const statusOf = async (...args: readonly string[]) => (await dig(port, ...args)).status;
    assert.equal(await statusOf('example.com', 'A'), 'REFUSED');
    assert.equal(await statusOf('web.service.consul', 'A', '-c', 'CH'), 'REFUSED');
    assert.equal(await statusOf('consul', 'AXFR', '+tcp').catch(() => 'REFUSED'), 'REFUSED');
    assert.equal(await statusOf('web.service.consul', 'A', '+opcode=UPDATE'), 'NOTIMP');
    assert.equal(await statusOf('web.service.consul', 'A', '+header-only'), 'FORMERR');
    assert.equal(await statusOf('web.service.consul', 'A', '+edns=1', '+noednsneg'), 'BADVERS');
    assert.equal(await statusOf('web.service.dc2.consul', 'A'), 'NXDOMAIN');
    assert.equal(await statusOf('service.consul', 'NS'), 'NOERROR');
    const { text } = await send(catalog, 'GET', '/metrics');
    assert.match(text, /selvedge_catalog_dns_queries_total\{type="A",rcode="REFUSED",transport="udp"\} 2/);
    assert.match(text, /selvedge_catalog_dns_seconds_count \d+/);
  });

  test('other names are asked of the recursors, the next one where one does not answer', async (t) => {
    const other = await serve(t, { domain: ['example', 'com'] });
    await register(other.catalog, web(5));
    const silent = createSocket('udp4').bind({ address: '127.0.0.1', port: 0 });
    await once(silent, 'listening');
    t.after(() => void silent.close());
    const silentServer = { host: '127.0.0.1', port: silent.address().port };
    const answering = { host: '127.0.0.1', port: other.port };
    const patient = await serve(t, { recursors: [silentServer, answering] });
    assert.equal((await dig(patient.port, 'web.service.example.com', 'A')).status, 'NOERROR');
    const { port } = await serve(t, { recursors: [answering] });

    for (const transport of ['+notcp', '+tcp']) {
      const found = await dig(port, 'Web.service.example.com', 'A', transport);
      assert.deepEqual([found.status, found.answer], ['NOERROR', ['Web.service.example.com A 10.0.0.5']]);
    }
    assert.equal((await dig(port, 'nope.service.example.com', 'A')).status, 'NXDOMAIN');
    assert.ok((await dig(port, 'web.service.consul', 'A')).flags.includes('ra'));
    assert.equal((await dig(port, 'web.service.example.com', 'A', '+norecurse')).status, 'REFUSED');
    // A name of nobody's: each server refuses, so there is no answer.
    assert.equal((await dig(port, 'example.org', 'A')).status, 'SERVFAIL');
  });

  test('two servers that ask one another come to an end', async (t) => {
    const first = await serve(t);
    const second = await serve(t, { recursors: [{ host: '127.0.0.1', port: first.port }] });
    await first.catalog.close(0);
    const again = await startTestCatalog(t, {
      dns: {
        ...dns,
        listen: { host: '127.0.0.1', port: first.port },
        recursors: [{ host: '127.0.0.1', port: second.port }],
      },
    });
    assert.equal((await dig(portOf(again), 'example.org', 'A')).status, 'SERVFAIL');
  });

  test('with the store gone, answers go on and say that they may be old', async (t) => {
    const context = quietContext();
    const store = await openSqliteStore({ path: undefined, clock: context.clock, log: context.log });
    const basics = { host: '127.0.0.1', port: 0, datacenter: 'dc1', nodeName: 'c', trustDomain: 'mesh.test' };
    const catalog = await startCatalog(
      { ...basics, defaultIntentionPolicy: 'deny', open: true, dataDir: undefined, dns },
      context,
      store,
    );
    t.after(() => catalog.close(0));
    await register(catalog, web(1));
    assert.doesNotMatch((await dig(portOf(catalog), 'web.service.consul', 'A')).text, /EDE/);
    await store.close();
    const stale = await waitFor(
      'an answer that says it is old',
      async () => {
        const got = await dig(portOf(catalog), 'web.service.consul', 'A');
        return got.text.includes('EDE') && got;
      },
      20_000,
    );
    assert.deepEqual([stale.status, stale.answer], ['NOERROR', ['web.service.consul A 10.0.0.1']]);
    assert.match(stale.text, /EDE: 3 \(Stale Answer\)/);
  });
});

test('rubbish on both sockets stops nothing', async (t) => {
  const { port } = await serve(t);
  const context = quietContext();
  const udp = createSocket('udp4').bind({ address: '127.0.0.1', port: 0 });
  await once(udp, 'listening');
  t.after(() => void udp.close());
  const good = queryBytes({ name: ['consul'], type: 6, id: 7, payloadBytes: 1_232 });
  for (let round = 0; round < 500; round++) {
    const rubbish = Buffer.from(round % 2 === 0 ? context.randomBytes(round) : good);
    if (round % 2 === 1) rubbish.set(context.randomBytes(3), round % (rubbish.length - 3));
    udp.send(rubbish, port, '127.0.0.1');
  }
  for (const bytes of [
    context.randomBytes(4_000),
    Buffer.from([0, 0]),
    Buffer.from([0xff, 0xff, 1]),
    Buffer.from([0]),
  ]) {
    const tcp = connect({ host: '127.0.0.1', port });
    tcp.on('error', () => {}); // the server may reset it
    tcp.end(bytes);
  }
  await waitFor(
    'an answer',
    async () => {
      // It may be lost, or this one's answer.
      const heard = once(udp, 'message', { signal: AbortSignal.timeout(1_000) });
      udp.send(good, port, '127.0.0.1');
      const [answer] = (await heard) as [Buffer];
      return answer.readUInt16BE(0) === 7 && ((answer[3] ?? 0) & 0xf) === 0 && answer.readUInt16BE(6) === 1;
    },
    20_000,
  );
});

test('a server that is its own recursor is refused, an address that is taken is named', async (t) => {
  const { port } = await serve(t);
  const listen = { host: '127.0.0.1', port };
  await assert.rejects(serve(t, { listen }), { code: 'SLV-1004', message: new RegExp(`127.0.0.1:${port}`) });
  await assert.rejects(serve(t, { listen, recursors: [listen] }), { code: 'SLV-1002' });
});
