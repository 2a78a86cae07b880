import { z } from 'zod';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { consulObject } from '#policies/consul-object.ts';
import { isServiceName } from '#policies/service-name.ts';
import { metadata } from '../registry/names.ts';
import type { ConfigEntry, ServiceDefaultsRecord } from '../state/config-entries.ts';

const text = z.string().max(1_024).exactOptional();
/** Given back by clients that send what they read; not taken over. */
const readOnly = z.unknown().exactOptional();
/** Fields of Consul's that say nothing when they are empty, which is how a read shows them. */
const unused = consulObject({}).exactOptional();

const schema = consulObject({
  Kind: z.literal('service-defaults'),
  Name: z.string().max(128),
  Namespace: z.enum(['', 'default']).exactOptional(),
  Partition: z.enum(['', 'default']).exactOptional(),
  Protocol: text,
  TransparentProxy: unused,
  MeshGateway: unused,
  Expose: unused,
  Meta: metadata.exactOptional(),
  Hash: readOnly,
  CreateIndex: readOnly,
  ModifyIndex: readOnly,
});

/**
 * Reads a service-defaults config entry. What Consul has and Selvedge does not is refused, not stored without effect.
 * @throws ConsulError 400
 */
export function parseServiceDefaults(body: unknown): ServiceDefaultsRecord {
  const parsed = schema.safeParse(body);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const place = issue === undefined || issue.path.length === 0 ? '' : `${issue.path.map(String).join('.')}: `;
    throw new ConsulError(400, `Request decoding failed: ${place}${issue?.message ?? 'not valid'}`);
  }
  const { Name, Protocol = '', Meta = {} } = parsed.data;
  if (!isServiceName(Name)) throw new ConsulError(400, `Name ${JSON.stringify(Name)} is not a valid service name`);
  return { Kind: 'service-defaults', Name, Protocol: parseProtocol(Protocol.toLowerCase()), Meta };
}

function parseProtocol(protocol: string): ServiceDefaultsRecord['Protocol'] {
  switch (protocol) {
    case '':
      return 'tcp';
    case 'tcp':
    case 'http':
    case 'http2':
    case 'grpc':
      return protocol;
    default:
      throw new ConsulError(400, `Protocol ${JSON.stringify(protocol)} is none of tcp, http, http2, grpc`);
  }
}

/** A service-defaults entry as Consul's API shows it. */
export function formatServiceDefaults(
  record: ServiceDefaultsRecord,
  { createIndex, modifyIndex }: Pick<ConfigEntry, 'createIndex' | 'modifyIndex'>,
): object {
  return {
    Kind: 'service-defaults',
    Name: record.Name,
    Protocol: record.Protocol,
    TransparentProxy: {},
    MeshGateway: {},
    Expose: {},
    ...(Object.keys(record.Meta).length > 0 ? { Meta: record.Meta } : {}),
    CreateIndex: createIndex,
    ModifyIndex: modifyIndex,
  };
}
