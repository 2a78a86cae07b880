import { z } from 'zod';
import { isServiceName } from '#policies/service-name.ts';

/**
 * Bounds of what is registered. Ids and node names are Consul's free text (`host:container:8080`, `_node_maintenance`), so printable ASCII; the
 * names of services are what SPIFFE IDs are made of, so they follow policies/service-name.ts.
 */
const printable = (max: number) =>
  z
    .string()
    .max(max)
    .regex(/^[\x20-\x7e]*$/, 'must be printable ASCII');

/** Name of a node. */
export const nodeName = printable(128).min(1, 'must not be empty');
/** Id of an instance or a check. With a node's name, percent-encoded, it fits a key of the store. */
export const itemId = printable(200);
/** Name of a service. */
export const serviceName = z.string().refine(isServiceName, 'is not a valid service name');
/** A label that people read: the name of a check. */
export const label = z.string().max(256);
/** Host name or IP address. */
export const hostAddress = printable(255);
export const port = z.int().min(0).max(65_535);
/** Consul's limits: 64 pairs, keys of 128 and values of 512 characters. */
export const metadata = z
  .record(printable(128), z.string().max(512))
  .refine((pairs) => Object.keys(pairs).length <= 64, 'holds more than 64 pairs');
export const tags = z.array(z.string().max(255)).max(128);
