import { z } from 'zod';
import type { ServiceProtocol } from './intention.ts';
import type { ResiliencePolicy } from './resilience.ts';

/**
 * What the owner of a calling service says of its own calls (Consul: UpstreamConfig of its service-defaults): goes over what holds for the service that is called.
 * Durations in milliseconds.
 */
const settingsSchema = z.strictObject({
  connectTimeoutMs: z.int().min(1).max(86_400_000).exactOptional(),
  /** Requests in flight to an upstream that speaks HTTP; 0: none is let through. */
  maxConcurrentRequests: z.int().min(0).exactOptional(),
  /** Connections to one that does not. */
  maxConnections: z.int().min(0).exactOptional(),
  outlier: z
    .strictObject({
      enabled: z.literal(false).exactOptional(),
      consecutiveFailures: z.int().min(1).exactOptional(),
      maxEjectedRatio: z.number().min(0).max(1).exactOptional(),
      baseEjectionMs: z.int().min(1).exactOptional(),
    })
    .exactOptional(),
});
export type CallerSettings = z.infer<typeof settingsSchema>;

/** The settings of all calls of a service: by upstream, where that is named, else the defaults. */
export const callingSchema = z.strictObject({
  defaults: settingsSchema.exactOptional(),
  upstreams: z.record(z.string(), settingsSchema).exactOptional(),
});
export type Calling = z.infer<typeof callingSchema>;

/** What a service says of its calls of one upstream. */
export function settingsFor({ defaults, upstreams = {} }: Calling, upstream: string): CallerSettings | undefined {
  return Object.hasOwn(upstreams, upstream) ? upstreams[upstream] : defaults;
}

/** A policy as the caller's settings make it. @returns the same object where they say nothing */
export function calledBy(
  policy: ResiliencePolicy,
  settings: CallerSettings | undefined,
  protocol: ServiceProtocol,
): ResiliencePolicy {
  if (settings === undefined) return policy;
  const { connectTimeoutMs = policy.connectTimeoutMs, outlier } = settings;
  const most = protocol === 'tcp' ? settings.maxConnections : settings.maxConcurrentRequests;
  const { baseEjectionMs = policy.outlier.baseEjectionMs } = outlier ?? {};
  return {
    ...policy,
    connectTimeoutMs,
    maxConcurrent: most ?? policy.maxConcurrent,
    outlier: {
      ...policy.outlier,
      ...outlier,
      maxEjectionMs: Math.max(policy.outlier.maxEjectionMs, baseEjectionMs),
    },
  };
}
