import { z } from 'zod';
import type { SidecarConfig } from '#edge-proxy/configuration.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { parseServiceName } from '#policies/service-name.ts';
import { parseSocketAddress } from '#runtime/socket-address.ts';
import { checked, parseStructure } from './checked-text.ts';
import { maxMetaValue, metaKey, parseServiceTag } from './service-meta.ts';
import { parseWorkloadSocket } from './workload-socket.ts';

const name = z.string().transform(checked(parseServiceName));
const address = z.string().transform(checked(parseSocketAddress));
const schema = z
  .array(
    z.strictObject({
      service: name,
      'service-id': name.optional(),
      'service-tag': z.array(z.string().transform(checked(parseServiceTag))).default([]),
      'service-meta': z.record(z.string().regex(metaKey), z.string().max(maxMetaValue)).default({}),
      local: address.optional(),
      listen: address,
      advertise: address.optional(),
      'http-proxy-addr': address.optional(),
      'mesh-listeners': z.boolean().default(false),
      'workload-api-socket': z.string().transform(checked(parseWorkloadSocket)).optional(),
      upstreams: z.record(z.string(), address).default({}),
    }),
  )
  .min(1)
  .max(256);

/**
 * Reads `services` of the configuration file: a list, each with the keys that the flags of a single service have.
 * Throws SLV-1002 naming the item and key.
 */
export function parseSidecarServices(value: unknown): readonly SidecarConfig[] {
  const names = new Set<string>();
  return parseStructure('services', schema, value).map((item) => {
    if (names.has(item.service)) throw new MeshError('SLV-1002', `services: ${item.service} stands there twice`);
    names.add(item.service);
    return {
      service: item.service,
      serviceId: item['service-id'] ?? item.service,
      tags: item['service-tag'],
      meta: item['service-meta'],
      local: item.local,
      listen: item.listen,
      advertise: item.advertise,
      httpProxyAddr: item['http-proxy-addr'],
      meshListeners: item['mesh-listeners'],
      workloadApiSocket: item['workload-api-socket'],
      upstreams: Object.entries(item.upstreams).map(([service, at]) => ({
        service: parseServiceName(service),
        address: at,
      })),
    };
  });
}
