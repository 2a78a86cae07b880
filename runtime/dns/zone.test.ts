import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { DnsInstance, DnsView, InstanceAddress, Reach } from './dns-view.ts';
import { hexOf, parseIpBytes } from './ip-bytes.ts';
import { recordTypes } from './protocol.ts';
import { type DnsRecord, parseDnsName } from './records.ts';
import { answerQuestion, type ZoneSettings } from './zone.ts';

/** From question to answer, as a table. Records are shown as `owner TYPE data`, `@` for the name that was asked for. */

function ip(text: string): Uint8Array {
  const bytes = parseIpBytes(text);
  assert.ok(bytes !== undefined, text);
  return bytes;
}
function addressOf(kind: 'node' | 'own', text: string): InstanceAddress {
  const bytes = parseIpBytes(text);
  return bytes === undefined ? { kind: 'host', host: text } : { kind, ip: bytes, hex: hexOf(bytes) };
}
function reach(kind: 'node' | 'own', text: string, six?: string): Reach {
  const address = addressOf(kind, text);
  return { address, forA: address, forAaaa: six === undefined ? address : addressOf(kind, six) };
}
const instance = (node: string, at: Reach, more: Partial<DnsInstance> = {}): DnsInstance => ({
  node: parseDnsName(node),
  tags: [],
  port: 80,
  status: 'passing',
  weight: 1,
  reach: at,
  ...more,
});

const services: Readonly<Record<string, readonly DnsInstance[]>> = {
  web: [
    instance('n1', reach('node', '10.0.0.1'), { tags: ['v1', 'Blue'] }),
    instance('n2', reach('own', '10.9.0.2'), { port: 8080, status: 'warning', weight: 7 }),
    instance('n3', reach('node', '10.0.0.3'), { status: 'critical' }),
  ],
  six: [instance('n6', reach('own', 'fd00::6'))],
  dual: [instance('n7', reach('own', '10.0.0.7', 'fd00::7'))],
  twice: [instance('n1', reach('node', '10.0.0.1')), instance('n1', reach('node', '10.0.0.1'), { port: 81 })],
  away: [instance('n1', reach('own', 'db.example.com'))],
  mixed: [instance('n1', reach('own', 'db.example.com')), instance('n2', reach('own', '10.9.0.2'))],
  sick: [instance('n1', reach('node', '10.0.0.1'), { status: 'critical' })],
  odd: [instance('no name', reach('node', '10.0.0.8'))],
};
const view: DnsView = {
  revision: 42,
  current: true,
  instances: (name) => services[name] ?? [],
  meshInstances: (name) => (name === 'web' ? [instance('n1', reach('node', '10.0.0.1'), { port: 21_000 })] : []),
  node: (name) =>
    name === 'n1' || name === 'rack.1'
      ? { name, reach: reach('node', '10.0.0.1'), meta: { 'a=b ': 'c`d', 'rfc1035-note': 'v=spf1' } }
      : undefined,
  holderOf: (hex) =>
    hex === '0a000001'
      ? { kind: 'node', name: 'n1' }
      : hex.startsWith('fd00')
        ? { kind: 'service', name: 'six' }
        : undefined,
  meshAddress: (name) => (name === 'web' || name === 'a.b' ? ip('127.70.1.2') : undefined),
};
const settings: ZoneSettings = {
  domain: ['consul'],
  datacenter: 'DC1',
  onlyPassing: false,
  nodeTtlSeconds: 30,
  serviceTtlSeconds: (name) => (name === 'web' ? 5 : 0),
  serverAddress: ip('127.0.0.1'),
};

function show(record: DnsRecord): string {
  const owner = record.owner === undefined ? '@' : record.owner.join('.');
  return `${owner} ${record.ttlSeconds} ${record.type} ${dataOf(record)}`;
}
function dataOf(record: DnsRecord): string {
  switch (record.type) {
    case 'A':
      return record.address.join('.');
    case 'AAAA':
      return hexOf(record.address);
    case 'SRV':
      return `${record.priority} ${record.weight} ${record.port} ${record.target.join('.')}`;
    case 'TXT':
      return record.text;
    case 'SOA':
      return `${record.server.join('.')} ${record.serial}`;
    default:
      return record.target.join('.');
  }
}

/** @returns `NOERROR: answers | additional`, or the code alone, with what stands in the authority section behind `-` */
function ask(text: string, overrides: Partial<ZoneSettings> = {}): string {
  const [name = '', type = ''] = text.split(' ');
  const question = {
    name: name.split('.'),
    type: recordTypes[type as keyof typeof recordTypes],
    class: 1,
    wire: new Uint8Array(),
  };
  const answered = answerQuestion(question, view, { ...settings, ...overrides }, () => 0.999);
  const answer = answered.kind === 'answer' ? answered.answer : answered.unless;
  const sections = [answer.answers.map(show).join(', ')];
  if (answer.additional.length > 0) sections.push(answer.additional.map(show).join(', '));
  const authority = answer.authority.length === 0 ? '' : ` - ${answer.authority.map(show).join(', ')}`;
  const where = answered.kind === 'elsewhere' ? 'elsewhere or ' : '';
  return `${where}${answer.code}: ${sections.join(' | ')}`.trimEnd().replace(/:$/, '') + authority;
}

const reverseOfSix = [...'fd000000000000000000000000000006'].reverse().join('.');
const soa = ' - consul 0 SOA ns.consul 42';
const two = 'NOERROR: @ 5 A 10.0.0.1, @ 5 A 10.9.0.2';
const blue = 'NOERROR: @ 5 A 10.0.0.1';
const targets =
  'NOERROR: @ 5 SRV 1 1 80 n1.node.dc1.consul, @ 5 SRV 1 7 8080 0a090002.addr.dc1.consul | n1.node.dc1.consul 5 A 10.0.0.1, 0a090002.addr.dc1.consul 5 A 10.9.0.2';

describe('a question and its answer', () => {
  for (const [question, expected] of [
    // Services.
    ['web.service.consul A', two],
    ['web.service.dc1.consul A', two],
    ['web.service.dc1.dc.consul A', two],
    ['web.service.dc2.consul A', `NXDOMAIN${soa}`],
    ['web.service.dc2.dc.consul A', `NXDOMAIN${soa}`],
    ['web.service.consul ANY', two],
    ['web.service.consul AAAA', `NOERROR${soa}`],
    ['web.service.consul TXT', `NOERROR${soa}`],
    ['blue.web.service.consul A', blue],
    ['v1.web.service.consul A', blue],
    ['v2.web.service.consul A', `NXDOMAIN${soa}`],
    ['nope.service.consul A', `NXDOMAIN${soa}`],
    ['sick.service.consul A', `NXDOMAIN${soa}`],
    ['six.service.consul AAAA', 'NOERROR: @ 0 AAAA fd000000000000000000000000000006'],
    ['six.service.consul A', `NOERROR${soa}`],
    ['dual.service.consul A', 'NOERROR: @ 0 A 10.0.0.7'],
    ['dual.service.consul AAAA', 'NOERROR: @ 0 AAAA fd000000000000000000000000000007'],
    ['twice.service.consul A', 'NOERROR: @ 0 A 10.0.0.1'],
    ['away.service.consul A', 'NOERROR: @ 0 CNAME db.example.com'],
    ['away.service.consul AAAA', 'NOERROR: @ 0 CNAME db.example.com'],
    ['away.service.consul TXT', `NOERROR${soa}`],
    ['mixed.service.consul A', 'NOERROR: @ 0 A 10.9.0.2'],
    // SRV.
    ['web.service.consul SRV', targets],
    ['_web._tcp.service.consul SRV', targets],
    ['_web._tcp.consul SRV', targets],
    ['_web._tcp.service.dc1.consul SRV', targets],
    ['_web._blue.service.consul SRV', targets.replace(/, @[^|]*/, ' ').replace(/, 0a09.*/, '')],
    ['_web._tcp.service.consul A', two],
    ['_web._v2.service.consul SRV', `NXDOMAIN${soa}`],
    ['_tcp.service.consul SRV', `NOERROR${soa}`],
    ['_web._tcp.consul A', `NXDOMAIN${soa}`],
    [
      'twice.service.consul SRV',
      'NOERROR: @ 0 SRV 1 1 80 n1.node.dc1.consul, @ 0 SRV 1 1 81 n1.node.dc1.consul | n1.node.dc1.consul 0 A 10.0.0.1, n1.node.dc1.consul 0 A 10.0.0.1',
    ],
    ['away.service.consul SRV', 'NOERROR: @ 0 SRV 1 1 80 db.example.com'],
    [
      'odd.service.consul SRV',
      'NOERROR: @ 0 SRV 1 1 80 0a000008.addr.dc1.consul | 0a000008.addr.dc1.consul 0 A 10.0.0.8',
    ],
    // The mesh.
    ['web.connect.consul SRV', 'NOERROR: @ 5 SRV 1 1 21000 n1.node.dc1.consul | n1.node.dc1.consul 5 A 10.0.0.1'],
    ['six.connect.consul A', `NXDOMAIN${soa}`],
    ['v1.web.connect.consul A', `NXDOMAIN${soa}`],
    ['web.mesh A', 'NOERROR: @ 30 A 127.70.1.2'],
    ['a.b.mesh A', 'NOERROR: @ 30 A 127.70.1.2'],
    ['web.mesh AAAA', 'NOERROR - mesh 0 SOA ns.consul 42'],
    ['nope.mesh A', 'NXDOMAIN - mesh 0 SOA ns.consul 42'],
    ['mesh SOA', 'NOERROR: @ 0 SOA ns.consul 42 | ns.consul 0 A 127.0.0.1 - @ 0 NS ns.consul'],
    ['web.virtual.consul A', 'NOERROR: @ 30 A 127.70.1.2'],
    // Nodes.
    ['n1.node.consul A', 'NOERROR: @ 30 A 10.0.0.1 | @ 30 TXT a`=b` =c``d, @ 30 TXT v=spf1'],
    ['n1.node.dc1.consul TXT', 'NOERROR: @ 30 TXT a`=b` =c``d, @ 30 TXT v=spf1'],
    ['n1.node.consul ANY', 'NOERROR: @ 30 A 10.0.0.1, @ 30 TXT a`=b` =c``d, @ 30 TXT v=spf1'],
    ['rack.1.node.consul TXT', 'NOERROR: @ 30 TXT a`=b` =c``d, @ 30 TXT v=spf1'],
    ['n1.node.consul AAAA', `NOERROR${soa}`],
    ['n2.node.consul A', `NXDOMAIN${soa}`],
    ['0a090002.addr.dc1.consul A', 'NOERROR: @ 30 A 10.9.0.2'],
    ['0a090002.addr.consul AAAA', `NOERROR${soa}`],
    ['fd000000000000000000000000000006.addr.consul AAAA', 'NOERROR: @ 30 AAAA fd000000000000000000000000000006'],
    ['0a09000.addr.consul A', `NXDOMAIN${soa}`],
    // The zone itself, and names that only have names below them.
    ['consul SOA', 'NOERROR: @ 0 SOA ns.consul 42 | ns.consul 0 A 127.0.0.1 - @ 0 NS ns.consul'],
    ['consul NS', 'NOERROR: @ 0 NS ns.consul | ns.consul 0 A 127.0.0.1'],
    ['consul A', `NOERROR${soa}`],
    ['ns.consul A', 'NOERROR: @ 0 A 127.0.0.1'],
    ['service.consul A', `NOERROR${soa}`],
    ['service.dc1.consul NS', `NOERROR${soa}`],
    ['dc1.consul A', `NOERROR${soa}`],
    ['dc.consul A', `NOERROR${soa}`],
    ['whatever.consul A', `NXDOMAIN${soa}`],
    ['web.ingress.consul A', `NXDOMAIN${soa}`],
    // Backwards.
    ['1.0.0.10.in-addr.arpa PTR', 'NOERROR: @ 0 PTR n1.node.dc1.consul'],
    [`${reverseOfSix}.ip6.arpa PTR`, 'NOERROR: @ 0 PTR six.service.dc1.consul'],
    ['9.9.9.9.in-addr.arpa PTR', `elsewhere or NXDOMAIN${soa}`],
    ['x.in-addr.arpa PTR', `elsewhere or NXDOMAIN${soa}`],
    // Of others.
    ['example.com A', 'elsewhere or REFUSED'],
    ['consul.example.com A', 'elsewhere or REFUSED'],
    ['webconsul A', 'elsewhere or REFUSED'],
  ] as const) {
    test(question, () => assert.equal(ask(question), expected));
  }

  test('only what passes, where an operator wants that', () => {
    assert.equal(ask('web.service.consul A', { onlyPassing: true }), blue);
  });

  test('a domain of several labels, a datacenter with a dot', () => {
    const overrides = { domain: ['mesh', 'example', 'com'], datacenter: 'eu.1' };
    assert.equal(ask('web.service.eu.1.mesh.example.com A', overrides), two);
    assert.match(ask('web.service.mesh.example.com SRV', overrides), /n1\.node\.eu\.1\.mesh\.example\.com/);
    assert.equal(ask('example.com A', overrides), 'elsewhere or REFUSED');
  });

  test('the order is as chance has it: each instance comes first as often as any other', () => {
    const question = { name: ['web', 'service', 'consul'], type: 1, class: 1, wire: new Uint8Array() };
    let state = 1;
    const random = (): number => {
      state = (state * 48_271) % 2_147_483_647;
      return state / 2_147_483_647;
    };
    const first = new Map<string, number>();
    for (let turn = 0; turn < 2_000; turn++) {
      const answered = answerQuestion(question, view, settings, random);
      assert.ok(answered.kind === 'answer');
      const [record] = answered.answer.answers;
      assert.ok(record !== undefined);
      first.set(show(record), (first.get(show(record)) ?? 0) + 1);
    }
    assert.deepEqual(
      [...first.values()].map((count) => count > 850),
      [true, true],
    );
  });
});
