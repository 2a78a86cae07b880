import { checkKey, keyOfUrl } from '#catalog/kv/plan.ts';
import { registrationSchema, toRegistration } from '#catalog/registry/registration.ts';
import { checkAliases, checkSchema, toCheckDefinition } from '#edge-proxy/agent/check-definition.ts';
import { serviceAliases, serviceSchema, toServiceDefinition } from '#edge-proxy/agent/service-definition.ts';
import { sidecarOf } from '#edge-proxy/agent/sidecar-service.ts';
import { parseConfigEntry } from '#policies/config-entries/config-entry.ts';
import { serviceEntryFields } from '#policies/consul/filter/consul-fields.ts';
import { compileFilter } from '#policies/consul/filter/filter.ts';
import { decodeBody, parseJson } from '#policies/consul/go-json.ts';
import { parseIntention } from '#policies/intention-form.ts';
import type { DnsView } from '#runtime/dns/dns-view.ts';
import { DnsResponder } from '#runtime/dns/responder.ts';
import { queryBytes } from '#runtime/dns/testing/query-bytes.ts';
import { createLogger } from '#runtime/logging.ts';
import type { FuzzedReader } from './readers.ts';

/** What Consul's clients, and anybody who reaches a port, send: DNS queries, filters, keys, registrations, entries. */
export function consulReaders(): readonly FuzzedReader[] {
  const respond = responder();
  const entry = {
    Node: { Node: 'n1', Address: '10.0.0.1', Meta: { rack: 'r1' }, TaggedAddresses: {} },
    Service: { Service: 'web', Tags: ['v1'], Meta: {}, Port: 80, Weights: { Passing: 1, Warning: 1 } },
    Checks: [{ Status: 'passing', CheckID: 'alive' }],
  };
  const check = {
    Name: 'alive',
    HTTP: 'http://127.0.0.1/health',
    Header: { a: ['b'] },
    Interval: '10s',
    Timeout: '1m30s',
  };
  const service = {
    ...{ Name: 'web', ID: 'web-1', Port: 80, Tags: ['a'], Meta: { v: '1' }, Weights: { Passing: 1, Warning: 2 } },
    ...{ TaggedAddresses: { lan: { Address: '10.0.0.1', Port: 80 } }, Checks: [check, { TTL: '5s' }] },
    Connect: { SidecarService: { Port: 21_000, Proxy: { Upstreams: [{ DestinationName: 'db' }] } } },
  };
  const { Checks: _, Connect: __, Name, ID, ...plain } = service;
  const registration = {
    ...{ Node: 'n1', Address: '10.0.0.1', NodeMeta: { rack: 'r1' }, Service: { ...plain, Service: Name, ID } },
    Checks: [{ Name: 'alive', Status: 'passing', ServiceID: ID, Definition: { HTTP: 'http://x', Interval: '10s' } }],
  };
  const permissions = [
    {
      Action: 'deny',
      HTTP: { PathRegex: '/a(b|c)*', Methods: ['GET'], Header: [{ Name: 'x-a', Exact: 'b', Invert: true }] },
    },
  ];
  const router = { Kind: 'service-router', Name: 'web', Routes: [{ Match: { HTTP: { PathPrefix: '/a' } } }] };
  const resolver = { Kind: 'service-resolver', Name: 'web', Subsets: { v1: { Filter: 'Service.Meta.v == 1' } } };
  return [
    {
      name: 'DNS query',
      samples: [
        queryBytes({ name: ['_web', '_tcp', 'service', 'consul'], type: 33, payloadBytes: 4_096 }),
        queryBytes({ name: ['1', '0', '0', '10', 'in-addr', 'arpa'], type: 12 }),
        queryBytes({ name: ['n1', 'node', 'dc1', 'consul'], type: 255 }),
      ],
      codes: [],
      read: respond,
    },
    {
      name: 'filter expression',
      samples: texts(
        'Service.Meta.v == "1" and not ("v1" in Service.Tags or Node.Node matches "n[0-9]+")',
        'Checks is not empty and Node.Meta["rack"] != `r1` or Node.Address contains "10"',
        '(((Service.Port == 80)))',
      ),
      codes: [],
      statuses: [400],
      read: (bytes) => compileFilter(text(bytes), serviceEntryFields)(entry),
    },
    {
      name: 'key of the KV',
      samples: texts('http://127.0.0.1:8500/v1/kv/app/a%2Fb/%C3%A9?raw'),
      codes: [],
      statuses: [400],
      read: (bytes) => checkKey(keyOfUrl(text(bytes))),
    },
    {
      name: 'registration at the catalog',
      samples: jsons(registration),
      codes: [],
      statuses: [400, 500], // Consul's status for another datacenter
      read: (bytes) => toRegistration(decodeBody(registrationSchema, bytes), 'dc1'),
    },
    {
      name: 'registration at the agent',
      samples: jsons(service),
      codes: [],
      statuses: [400, 501],
      read(bytes) {
        const request = decodeBody(serviceSchema, bytes, { aliases: serviceAliases });
        const { service } = toServiceDefinition(request);
        return sidecarOf(service, request.Connect?.SidecarService, { services: new Map(), isOwn: () => false });
      },
    },
    {
      name: 'check at the agent',
      samples: jsons(
        check,
        { Name: 'like', AliasService: 'web' },
        { Name: 'g', GRPC: '[::1]:50051/web', Interval: '1s' },
      ),
      codes: [],
      statuses: [400, 501],
      read: (bytes) =>
        toCheckDefinition(decodeBody(checkSchema, bytes, { aliases: checkAliases }), { id: 'a', name: 'a' }),
    },
    {
      name: 'intention',
      samples: jsons({ Permissions: permissions, Description: 'd' }, { Action: 'allow' }),
      codes: ['SLV-5004'],
      statuses: [400],
      read: (bytes) => parseIntention(parseJson(bytes), { source: 'web', destination: 'db' }),
    },
    {
      name: 'service-router',
      samples: jsons(router),
      codes: [],
      statuses: [400],
      read: (bytes) => parseConfigEntry('service-router', parseJson(bytes)),
    },
    {
      name: 'service-resolver',
      samples: jsons(resolver),
      codes: [],
      statuses: [400],
      read: (bytes) => parseConfigEntry('service-resolver', parseJson(bytes)),
    },
  ];
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');
const texts = (...samples: readonly string[]): Uint8Array[] => samples.map((sample) => Buffer.from(sample));
const jsons = (...samples: readonly object[]): Uint8Array[] =>
  texts(...samples.map((sample) => JSON.stringify(sample)));

/** A DNS server without a socket. What it would only log, as a fault of ours, it throws here. */
function responder(): (bytes: Uint8Array) => unknown {
  const ip = Uint8Array.of(10, 0, 0, 1);
  const at = { kind: 'node', ip, hex: '0a000001' } as const;
  const reach = { address: at, forA: at, forAaaa: at };
  const web = { node: ['n1'], tags: ['v1'], port: 80, status: 'passing', weight: 1, reach } as const;
  const view: DnsView = {
    ...{ revision: 1, current: true },
    instances: (name) => (name === 'web' ? [web] : []),
    meshInstances: (name) => (name === 'web' ? [web] : []),
    node: (name) => (name === 'n1' ? { name, reach, meta: { rack: 'r1' } } : undefined),
    holderOf: (hex) => (hex === '0a000001' ? { kind: 'node', name: 'n1' } : undefined),
    meshAddress: (name) => (name === 'web' ? Uint8Array.of(127, 64, 0, 1) : undefined),
  };
  const zone = {
    ...{ domain: ['consul'], datacenter: 'dc1', onlyPassing: false, nodeTtlSeconds: 0, serverAddress: ip },
    serviceTtlSeconds: () => 0,
  };
  const log = createLogger({ process: 'fuzz', level: 'silent' });
  log.error = ({ err }: { err: unknown }): never => {
    throw err;
  };
  const one = new DnsResponder({ view, zone, recursor: undefined, random: () => 0, log, onAnswer: () => undefined });
  return (bytes) => one.respond(bytes, { address: '127.0.0.1', transport: 'udp' });
}
