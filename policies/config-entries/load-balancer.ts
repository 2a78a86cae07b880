import type { z } from 'zod';
import { count, durationNs, entryObject, flag, invalidEntry, listOf, text } from './entry-object.ts';

/** How an instance is chosen. */
export const loadBalancerSchema = entryObject({
  Policy: text,
  RingHashConfig: entryObject({ MinimumRingSize: count, MaximumRingSize: count }).exactOptional(),
  LeastRequestConfig: entryObject({ ChoiceCount: count }).exactOptional(),
  HashPolicies: listOf(
    entryObject({
      Field: text,
      FieldValue: text,
      CookieConfig: entryObject({ Session: flag, TTL: durationNs, Path: text }).exactOptional(),
      SourceIP: flag,
      Terminal: flag,
    }),
    64,
  ),
});
export type LoadBalancer = z.output<typeof loadBalancerSchema>;

const policies: readonly string[] = ['random', 'round_robin', 'least_request', 'ring_hash', 'maglev'];
const hashFields: readonly string[] = ['header', 'cookie', 'query_parameter'];

/** Whether what a request says decides on its instance. */
export function isHashBased({ Policy }: LoadBalancer): boolean {
  return Policy === 'ring_hash' || Policy === 'maglev';
}

/** @throws ConsulError 400 in Consul's words */
export function judgeLoadBalancer(balancer: LoadBalancer): void {
  const policy = JSON.stringify(balancer.Policy ?? '');
  if (balancer.Policy !== undefined && !policies.includes(balancer.Policy)) {
    throw invalidEntry(`Bad LoadBalancer policy: ${policy} is not supported`);
  }
  for (const [field, config, its] of [
    ['RingHashConfig', balancer.RingHashConfig, 'ring_hash'],
    ['LeastRequestConfig', balancer.LeastRequestConfig, 'least_request'],
  ] as const) {
    if (config !== undefined && balancer.Policy !== its) {
      throw invalidEntry(
        `Bad LoadBalancer configuration. ${field} specified for incompatible load balancing policy ${policy}`,
      );
    }
  }
  const { HashPolicies = [] } = balancer;
  if (!isHashBased(balancer) && HashPolicies.length > 0) {
    throw invalidEntry(`Bad LoadBalancer configuration: HashPolicies specified for non-hash-based Policy: ${policy}`);
  }
  for (const [index, hash] of HashPolicies.entries()) {
    const flaw = flawOf(hash);
    if (flaw !== undefined) throw invalidEntry(`Bad LoadBalancer HashPolicy[${index}]: ${flaw}`);
  }
}

function flawOf(hash: NonNullable<LoadBalancer['HashPolicies']>[number]): string | undefined {
  const { Field, FieldValue, SourceIP, CookieConfig } = hash;
  const field = JSON.stringify(Field ?? '');
  if (Field !== undefined && !hashFields.includes(Field)) return `${field} is not a supported field`;
  if (SourceIP && Field !== undefined) {
    return `A single hash policy cannot hash both a source address and a ${field}`;
  }
  if (SourceIP && FieldValue !== undefined) return 'A FieldValue cannot be specified when hashing SourceIP';
  if (Field !== undefined && FieldValue === undefined) return `Field ${field} was specified without a FieldValue`;
  if (FieldValue !== undefined && Field === undefined) return 'FieldValue requires a Field to apply to';
  if (CookieConfig !== undefined && Field !== 'cookie') return `cookie_config provided for ${field}`;
  if (CookieConfig?.Session && CookieConfig.TTL !== undefined) {
    return 'a session cookie cannot have an associated TTL';
  }
  return undefined;
}
