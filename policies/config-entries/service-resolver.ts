import { z } from 'zod';
import { ConsulError } from '../consul/consul-error.ts';
import { serviceEntryFields } from '../consul/filter/consul-fields.ts';
import { compileFilter } from '../consul/filter/filter.ts';
import {
  defaultOnly,
  durationText,
  entryFields,
  entryObject,
  flag,
  invalidEntry,
  judgeServiceEntry,
  listOf,
  mapOf,
  text,
} from './entry-object.ts';
import { judgeLoadBalancer, loadBalancerSchema } from './load-balancer.ts';

const targetFields = { Service: text, ServiceSubset: text, Namespace: defaultOnly, Partition: defaultOnly, Peer: text };
/** How targets of failover are ordered; `default` is what earlier releases of Consul called `sequential`. */
export function isFailoverMode(mode: string | undefined): boolean {
  return mode === undefined || mode === 'sequential' || mode === 'default' || mode === 'order-by-locality';
}

/** @throws ConsulError 400 in Consul's words */
export function judgePrioritizeByLocality(mode: string | undefined): void {
  if (mode !== undefined && mode !== 'none' && mode !== 'failover')
    throw invalidEntry("Prioritize by locality mode must be one of '', 'none', or 'failover'");
}

const policySchema = entryObject({ Mode: text, Regions: listOf(z.string().max(256)) });

const failoverSchema = entryObject({
  Service: text,
  ServiceSubset: text,
  Namespace: defaultOnly,
  Datacenters: listOf(z.string().max(128)),
  Targets: listOf(entryObject({ ...targetFields, Datacenter: text })),
  Policy: policySchema.exactOptional(),
});
type Failover = z.output<typeof failoverSchema>;

/** Which instances answer for a service: subsets, another service instead of it, others when none of its own is left. */
export const serviceResolverSchema = entryObject({
  ...entryFields('service-resolver'),
  Name: z.string().max(256).default(''),
  DefaultSubset: text,
  Subsets: mapOf(entryObject({ Filter: text, OnlyPassing: flag })),
  Redirect: entryObject({ ...targetFields, Datacenter: text }).exactOptional(),
  /** By subset; `*` is for those that are not named. */
  Failover: mapOf(failoverSchema),
  ConnectTimeout: durationText,
  RequestTimeout: durationText,
  LoadBalancer: loadBalancerSchema.exactOptional(),
  PrioritizeByLocality: entryObject({ Mode: text }).exactOptional(),
});
export type ServiceResolver = z.output<typeof serviceResolverSchema>;

/** @throws ConsulError 400 in Consul's words */
export function judgeServiceResolver(entry: ServiceResolver): void {
  judgeServiceEntry(entry);
  const isSubset = (name: string): boolean => Object.hasOwn(entry.Subsets ?? {}, name);
  for (const [name, { Filter = '' }] of Object.entries(entry.Subsets ?? {})) judgeSubset(name, Filter);
  if (entry.DefaultSubset !== undefined && !isSubset(entry.DefaultSubset)) {
    throw invalidEntry(`DefaultSubset ${JSON.stringify(entry.DefaultSubset)} is not a valid subset`);
  }
  judgeRedirect(entry, isSubset);
  for (const [subset, failover] of Object.entries(entry.Failover ?? {})) {
    judgeFailover(entry.Name, subset, failover, isSubset);
  }
  for (const field of ['ConnectTimeout', 'RequestTimeout'] as const) {
    if (entry[field]?.startsWith('-')) throw invalidEntry(`Bad ${field} '${entry[field]}', must be >= 0`);
  }
  if (entry.LoadBalancer !== undefined) judgeLoadBalancer(entry.LoadBalancer);
  judgePrioritizeByLocality(entry.PrioritizeByLocality?.Mode);
}

type IsSubset = (name: string) => boolean;

function judgeSubset(name: string, filter: string): void {
  if (name === '') throw invalidEntry('Subset defined with empty name');
  if (!/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(name) || name.length > 63) {
    throw invalidEntry(
      `Subset ${JSON.stringify(name)} is invalid: Subset names must be a valid DNS hostname, and thus must be fewer than 64 characters and contain only lower case letters, digits and hyphens`,
    );
  }
  try {
    compileFilter(filter, serviceEntryFields);
  } catch (error) {
    if (!(error instanceof ConsulError)) throw error;
    throw invalidEntry(`Filter for subset ${JSON.stringify(name)} is not a valid expression: ${error.message}`);
  }
}

function judgeRedirect(entry: ServiceResolver, isSubset: IsSubset): void {
  const { Redirect: to } = entry;
  if (to === undefined) return;
  if (entry.Failover !== undefined) throw invalidEntry('Redirect and Failover cannot both be set');
  if (Object.keys(to).length === 0) throw invalidEntry('Redirect is empty');
  judgePeer('Redirect.', to, 'Redirect.');
  if (to.Service === undefined) {
    for (const field of ['ServiceSubset', 'Peer'] as const) {
      if (to[field] !== undefined) throw invalidEntry(`Redirect.${field} defined without Redirect.Service`);
    }
  }
  if (to.ServiceSubset !== undefined && to.Service === entry.Name && !isSubset(to.ServiceSubset)) {
    throw invalidEntry(
      `Redirect.ServiceSubset ${JSON.stringify(to.ServiceSubset)} is not a valid subset of ${JSON.stringify(entry.Name)}`,
    );
  }
}

function judgeFailover(service: string, subset: string, failover: Failover, isSubset: IsSubset): void {
  const at = `Bad Failover[${JSON.stringify(subset)}]`;
  const { Service, ServiceSubset, Datacenters = [], Targets = [], Policy } = failover;
  if (subset !== '*' && !isSubset(subset)) throw invalidEntry(`${at}: not a valid subset subset`);
  if (Service === undefined && ServiceSubset === undefined && Datacenters.length === 0 && Targets.length === 0) {
    throw invalidEntry(`${at}: one of Service, ServiceSubset, Namespace, Targets, or Datacenters is required`);
  }
  if (!isFailoverMode(Policy?.Mode)) {
    throw invalidEntry(`${at}: Policy must be one of '', 'sequential', or 'order-by-locality'`);
  }
  if (ServiceSubset !== undefined && (Service === undefined || Service === service) && !isSubset(ServiceSubset)) {
    throw invalidEntry(
      `${at}: ServiceSubset ${JSON.stringify(ServiceSubset)} is not a valid subset of ${JSON.stringify(Service ?? '')}`,
    );
  }
  if (Targets.length > 0) {
    if (Datacenters.length > 0) throw invalidEntry(`${at}: Targets cannot be set with Datacenters`);
    if (ServiceSubset !== undefined) throw invalidEntry(`${at}: Targets cannot be set with ServiceSubset`);
    if (Service !== undefined) throw invalidEntry(`${at}: Targets cannot be set with Service`);
  }
  for (const [index, target] of Targets.entries()) {
    const place = `${at}.Targets[${index}]: `;
    judgePeer(place, target, '');
    const own = target.Service === undefined || target.Service === service;
    if (target.ServiceSubset !== undefined && own && !isSubset(target.ServiceSubset)) {
      throw invalidEntry(
        `${place}ServiceSubset ${JSON.stringify(target.ServiceSubset)} is not a valid subset of ${JSON.stringify(service)}`,
      );
    }
  }
  if (Datacenters.includes('')) throw invalidEntry(`${at}.Datacenters: found empty datacenter`);
}

type Target = NonNullable<ServiceResolver['Redirect']>;

function judgePeer(place: string, target: Target, other: string): void {
  if (target.Peer === undefined) return;
  for (const field of ['ServiceSubset', 'Datacenter'] as const) {
    if (target[field] !== undefined) throw invalidEntry(`${place}Peer cannot be set with ${other}${field}`);
  }
}
