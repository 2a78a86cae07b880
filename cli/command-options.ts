import { MeshError } from '#policies/errors/mesh-error.ts';
import { parseServiceName } from '#policies/service-name.ts';
import type { OptionSet } from '#runtime/configuration.ts';
import { address, durationMs, integer, oneOf, onOff, serviceUrl, text } from '#runtime/option-kinds.ts';
import { parseSocketAddress, type SocketAddress } from '#runtime/socket-address.ts';
import { defaultKeyType, keyTypes, parseKeyType } from '#runtime/svid/key-type.ts';
import { attestOptions } from './attest-options.ts';
import { dnsOptions } from './dns-options.ts';
import { etcdOptions } from './etcd-options.ts';
import {
  askedSvidTtl,
  auditSync,
  config,
  datacenter,
  defaultIntentionPolicy,
  joining,
  logLevel,
  nodeName,
  svidDnsName,
  svidTtl,
  trustDomain,
} from './process-options.ts';
import { parseLocality, parseMetaPair, parseServiceTag } from './service-meta.ts';
import { vaultOptions } from './vault-options.ts';
import { parseWorkloadSocket } from './workload-socket.ts';

/** The options of every command, as data: runtime/configuration.ts makes flags, variables and file keys of them. */

/** What a listener or upstream flag of the form `db=127.0.0.1:5000` says. */
export interface UpstreamFlag {
  readonly service: string;
  readonly address: SocketAddress;
}

/** For options that have no text form. */
function noText(): never {
  throw new MeshError('SLV-1002', 'this option stands in the --config file only');
}

function upstreamFlag(value: string): UpstreamFlag {
  const separator = value.indexOf('=');
  if (separator < 1)
    throw new MeshError('SLV-1002', `"${value.slice(0, 80)}" is not an upstream; it takes the form db=127.0.0.1:5000`);
  return {
    service: parseServiceName(value.slice(0, separator)),
    address: parseSocketAddress(value.slice(separator + 1)),
  };
}

export const devOptions = {
  httpAddr: {
    parse: address,
    placeholder: 'address',
    default: '127.0.0.1:8500',
    description: 'catalog and agent API; port 0 picks a free one',
  },
  dnsAddr: {
    parse: address,
    placeholder: 'address',
    default: '127.0.0.1:8600',
    description: 'DNS, on UDP and TCP; port 0 picks a free one',
  },
  ...dnsOptions,
  identityAddr: { parse: address, placeholder: 'address', default: '127.0.0.1:8510', description: 'identity API' },
  dataDir: { parse: text, placeholder: 'dir', description: 'where to keep state; without it nothing is left behind' },
  datacenter,
  nodeName,
  trustDomain,
  defaultIntentionPolicy,
  svidTtl,
  logLevel,
  config,
} as const satisfies OptionSet;

export const identityOptions = {
  listen: {
    parse: address,
    placeholder: 'address',
    default: '127.0.0.1:8510',
    description: 'where to serve (TLS); port 0 picks a free one',
  },
  dataDir: {
    parse: text,
    placeholder: 'dir',
    default: '/var/lib/selvedge/identity',
    description: 'CA keys, audit log, and without --etcd nodes and tokens',
  },
  ...etcdOptions,
  replaceOperatorToken: {
    parse: onOff,
    default: 'false',
    description:
      'with --etcd, for one start: the operator.token of this data directory replaces the one that all processes take',
  },
  auditSync,
  trustDomain,
  datacenter,
  svidTtl,
  svidDnsName,
  backend: {
    parse: oneOf('embedded', 'vault-intermediate', 'vault-leaf'),
    placeholder: 'kind',
    default: 'embedded',
    description:
      'what signs: embedded, vault-intermediate (Vault certifies a CA for this process) or vault-leaf (Vault signs each SVID)',
  },
  federationListen: {
    parse: address,
    placeholder: 'address',
    description: 'serve the trust bundle, and nothing else, here, for other trust domains (https_web)',
  },
  federationTlsCert: { parse: text, placeholder: 'file', description: 'PEM certificate chain of --federation-listen' },
  federationTlsKey: { parse: text, placeholder: 'file', description: 'PEM private key of --federation-listen' },
  federationWebCaFile: {
    parse: text,
    placeholder: 'file',
    description: 'PEM roots to trust, beside those of Web PKI, for the https_web bundle endpoints of others',
  },
  catalog: {
    parse: serviceUrl,
    placeholder: 'url',
    description: 'catalog that says which proxies have the trust bundle; without it a rotation waits by time',
  },
  rotateIssuingAt: {
    parse: integer(0, 90),
    placeholder: 'percent',
    default: '50',
    description: 'rotate the issuing CA at this part of its life; 0: only when told',
  },
  rotateRootAt: {
    parse: integer(0, 90),
    placeholder: 'percent',
    default: '0',
    description: 'rotate the root at this part of its life; 0: only when told, with a warning from 75 on',
  },
  rotationDeadline: {
    parse: durationMs,
    placeholder: 'duration',
    default: '10m',
    description: 'after this long, proxies that do not have the new bundle are named for an operator to decide',
  },
  takeoverNow: {
    parse: onOff,
    default: 'false',
    description:
      'the CA in use is lost: the one named here signs at once, not when everybody trusts it; who does not know its root joins anew',
  },
  rotationSettle: {
    parse: durationMs,
    placeholder: 'duration',
    default: '5m',
    description: 'how long connections under the old root get to end, once every SVID is renewed',
  },
  attestation: {
    parse: noText,
    fromFile: async (value: unknown) => (await import('./attestation-file.ts')).parseAttestation(value),
    description:
      'in the --config file only: what attests nodes besides join tokens (JWT issuers, a Vault, certificates), and what each of them is granted',
  },
  ...vaultOptions,
  logLevel,
  config,
} as const satisfies OptionSet;

export const catalogOptions = {
  listen: {
    parse: address,
    placeholder: 'address',
    default: '127.0.0.1:8501',
    description: 'where to serve (TLS); port 0 picks a free one',
  },
  dnsAddr: {
    parse: address,
    placeholder: 'address',
    description: 'serve DNS here, on UDP and TCP: 127.0.0.1:8600 by custom; without it there is none',
  },
  ...dnsOptions,
  dataDir: {
    parse: text,
    placeholder: 'dir',
    default: '/var/lib/selvedge/catalog',
    description: 'the store, the audit log and the operator token',
  },
  ...etcdOptions,
  auditSync,
  datacenter,
  nodeName,
  defaultIntentionPolicy,
  identity: {
    parse: serviceUrl,
    placeholder: 'url',
    repeatable: true,
    default: 'https://127.0.0.1:8510',
    description:
      'identity service, for the SVID of the catalog; again for each further process of it: one that answers is asked',
  },
  ...joining,
  ...attestOptions,
  svidTtl: askedSvidTtl,
  logLevel,
  config,
} as const satisfies OptionSet;

export const edgeProxyOptions = {
  service: {
    parse: parseServiceName,
    placeholder: 'name',
    description: 'service that this proxy stands for (several: `services` in the --config file)',
  },
  services: {
    parse: noText,
    fromFile: async (value: unknown) => (await import('./sidecar-services.ts')).parseSidecarServices(value),
    description:
      'in the --config file only: the services of a proxy that carries several, each with service, listen, local, upstreams',
  },
  serviceId: {
    parse: parseServiceName,
    placeholder: 'id',
    description: 'id of this instance in the catalog; the service name when absent',
  },
  reroute: {
    parse: oneOf('on', 'off'),
    placeholder: 'on|off',
    default: 'on',
    description:
      'off: whatever the catalog says, an upstream is answered by its own identity only: no redirect, split, failover or mirror leads to another service',
  },
  locality: {
    parse: parseLocality,
    placeholder: 'region/zone',
    description: 'where this host is, for PrioritizeByLocality of service-resolver: eu-west/a, or the region alone',
  },
  serviceTag: {
    parse: parseServiceTag,
    placeholder: 'tag',
    repeatable: true,
    description: 'a tag of this instance in the catalog',
  },
  serviceMeta: {
    parse: parseMetaPair,
    placeholder: 'key=value',
    repeatable: true,
    description: 'a fact about this instance, for subsets of service-resolver: version=2',
  },
  local: {
    parse: address,
    placeholder: 'address',
    description: 'where the application listens; absent for a service that only calls',
  },
  listen: {
    parse: address,
    placeholder: 'address',
    default: '127.0.0.1:21000',
    description: 'where other proxies reach this one (mTLS); port 0 picks a free one',
  },
  advertise: { parse: address, placeholder: 'address', description: 'what to tell others instead of --listen' },
  upstream: {
    parse: upstreamFlag,
    placeholder: 'name=address',
    repeatable: true,
    description: 'local address at which the application reaches a service: db=127.0.0.1:5000',
  },
  httpProxyAddr: {
    parse: address,
    placeholder: 'address',
    description:
      'one HTTP port for all services: by Host (db.mesh) or as an HTTP proxy (http_proxy=); who connects acts as --service; loopback only',
  },
  meshListeners: {
    parse: onOff,
    default: 'false',
    description:
      'listen for every service at the address of its name, db.mesh, and its port; who connects acts as --service; one service of a host',
  },
  workloadApiSocket: {
    parse: parseWorkloadSocket,
    placeholder: 'path',
    description:
      "UNIX socket at which the application gets SVIDs itself (SPIFFE Workload API, Envoy's SDS); fd:3 for one passed on by systemd",
  },
  catalog: { parse: serviceUrl, placeholder: 'url', default: 'http://127.0.0.1:8500', description: 'catalog service' },
  identity: {
    parse: serviceUrl,
    placeholder: 'url',
    repeatable: true,
    default: 'http://127.0.0.1:8510',
    description: 'identity service; again for each further process of it: one that answers is asked',
  },
  ...joining,
  ...attestOptions,
  nodeName,
  dataDir: {
    parse: text,
    placeholder: 'dir',
    description: 'node key, SVIDs and the local copy of the catalog (0600); without it a restart begins anew',
  },
  maxCacheAge: {
    parse: durationMs,
    placeholder: 'duration',
    default: '7d',
    description:
      'how long ago the catalog may have confirmed the local copy that a start without the catalog begins with; an older one denies',
  },
  adminAddr: {
    parse: address,
    placeholder: 'address',
    default: '127.0.0.1:19000',
    description: 'metrics, readiness, decisions, breakers; loopback only',
  },
  agentAddr: {
    parse: address,
    placeholder: 'address',
    description: "serve Consul's API here: /v1/agent by itself, the rest from the catalog; loopback only",
  },
  dnsAddr: {
    parse: address,
    placeholder: 'address',
    description: 'serve DNS here for this host, on UDP and TCP: 127.0.0.1:8600 by custom; without it there is none',
  },
  ...dnsOptions,
  checkInterval: {
    parse: durationMs,
    placeholder: 'duration',
    default: '10s',
    description: 'how often the TCP check of --local runs',
  },
  enableLocalScriptChecks: {
    parse: onOff,
    default: 'false',
    description: "let clients with the agent's token register checks that run programs, as this process's user",
  },
  svidTtl: askedSvidTtl,
  keyType: {
    parse: parseKeyType,
    placeholder: 'kind',
    default: defaultKeyType,
    description: `key of the SVIDs: ${keyTypes.join(', ')}`,
  },
  accessLog: {
    parse: oneOf('none', 'errors', 'all'),
    placeholder: 'which',
    default: 'errors',
    description: 'requests to log: none, errors (refused or failed), all',
  },
  maxConnections: {
    parse: integer(1, 1_000_000),
    placeholder: 'count',
    default: '10000',
    description: 'inbound connections at once; a quarter of them from one address',
  },
  tlsMinVersion: {
    parse: oneOf('1.2', '1.3'),
    placeholder: 'version',
    default: '1.3',
    description: 'the oldest TLS that callers may speak; 1.2 is for those that have no proxy and can not speak 1.3',
  },
  logLevel,
  config,
} as const satisfies OptionSet;

/** What every client command takes to reach the catalog. */
export const catalogClientOptions = {
  catalog: { parse: serviceUrl, placeholder: 'url', default: 'http://127.0.0.1:8500', description: 'catalog service' },
  tokenFile: {
    parse: text,
    placeholder: 'file',
    description: 'file with a token (the first one, of an operator, is the <data-dir>/operator.token of the catalog)',
  },
  caFile: joining.caFile,
  config,
} as const satisfies OptionSet;

/** What every client command takes to reach the identity service. */
export const identityClientOptions = {
  identity: {
    parse: serviceUrl,
    placeholder: 'url',
    default: 'https://127.0.0.1:8510',
    description: 'identity service',
  },
  tokenFile: {
    parse: text,
    placeholder: 'file',
    description: 'operator token (the identity service writes it to <data-dir>/operator.token)',
  },
  caFile: joining.caFile,
  caPin: joining.caPin,
  config,
} as const satisfies OptionSet;
