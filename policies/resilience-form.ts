import { z } from 'zod';
import { MeshError } from './errors/mesh-error.ts';
import { defaultResiliencePolicy as defaults, type ResiliencePolicy, retryConditions } from './resilience.ts';
import { isServiceName } from './service-name.ts';

const day = 86_400_000;
const durationMs = (min: number) => z.int().min(min).max(day);
const ratio = z.number().min(0).max(1);
const status = z.int().min(100).max(599);
const serviceName = z.string().max(128).refine(isServiceName, 'must be the name of a service');

const retries = z
  .strictObject({
    attempts: z.int().min(0).max(10).default(defaults.retries.attempts),
    on: z.array(z.enum(retryConditions)).max(retryConditions.length).readonly().default(defaults.retries.on),
    statuses: z.array(status).max(100).readonly().optional(),
    backoffBaseMs: durationMs(1).default(defaults.retries.backoffBaseMs),
    backoffMaxMs: durationMs(1).default(defaults.retries.backoffMaxMs),
    budgetRatio: ratio.default(defaults.retries.budgetRatio),
    budgetMinPerSecond: z.number().min(0).max(1_000).default(defaults.retries.budgetMinPerSecond),
    maxBodyBytes: z.int().min(0).max(16_777_216).default(defaults.retries.maxBodyBytes),
    retryNonIdempotent: z.boolean().default(defaults.retries.retryNonIdempotent),
  })
  .refine((value) => value.backoffMaxMs >= value.backoffBaseMs, {
    path: ['backoffMaxMs'],
    error: 'must not be below backoffBaseMs',
  });

const breaker = z.strictObject({
  enabled: z.boolean().default(defaults.breaker.enabled),
  errorRate: ratio.default(defaults.breaker.errorRate),
  volumeThreshold: z.int().min(1).max(1_000_000).default(defaults.breaker.volumeThreshold),
  windowMs: durationMs(100).default(defaults.breaker.windowMs),
  openMs: durationMs(10).default(defaults.breaker.openMs),
  closeAfterSuccesses: z.int().min(1).max(1_000).default(defaults.breaker.closeAfterSuccesses),
  failureStatuses: z.array(status).max(100).readonly().default(defaults.breaker.failureStatuses),
  slowCalls: z.strictObject({ durationMs: durationMs(1), rate: z.number().gt(0).max(1) }).optional(),
});

const outlier = z
  .strictObject({
    enabled: z.boolean().default(defaults.outlier.enabled),
    consecutiveFailures: z.int().min(1).max(1_000_000).default(defaults.outlier.consecutiveFailures),
    baseEjectionMs: durationMs(10).default(defaults.outlier.baseEjectionMs),
    maxEjectionMs: durationMs(10).default(defaults.outlier.maxEjectionMs),
    maxEjectedRatio: ratio.default(defaults.outlier.maxEjectedRatio),
  })
  .refine((value) => value.maxEjectionMs >= value.baseEjectionMs, {
    path: ['maxEjectionMs'],
    error: 'must not be below baseEjectionMs',
  });

/** What each caller of a service may ask of it. */
export const requestLimitSchema = z.strictObject({
  perSecond: z.number().gt(0).max(1_000_000),
  burst: z.int().min(1).max(1_000_000),
});

/**
 * The partial form of a resilience policy: every field optional, unknown ones refused; parsed, it is a whole ResiliencePolicy. By `optional`, for an OpenAPI document
 * would show what is `exactOptional` as required.
 */
export const resilienceSchema = z.strictObject({
  connectTimeoutMs: durationMs(1).default(defaults.connectTimeoutMs),
  perTryTimeoutMs: durationMs(1).default(defaults.perTryTimeoutMs),
  requestTimeoutMs: durationMs(1).default(defaults.requestTimeoutMs),
  idleTimeoutMs: durationMs(1).default(defaults.idleTimeoutMs),
  retries: retries.prefault({}),
  breaker: breaker.prefault({}),
  outlier: outlier.prefault({}),
  maxConcurrent: z.int().min(1).max(1_000_000).default(defaults.maxConcurrent),
  balancer: z.enum(['round-robin', 'least-request', 'random']).default(defaults.balancer),
  panicThreshold: ratio.optional(),
  mirror: z.strictObject({ service: serviceName, share: z.number().gt(0).max(1) }).optional(),
  requestLimit: requestLimitSchema.optional(),
});

/**
 * Reads a partial policy and fills in the defaults of policies/resilience.ts.
 * @throws MeshError SLV-5005 naming every wrong field
 */
export function parseResiliencePolicy(partial: unknown): ResiliencePolicy {
  const parsed = resilienceSchema.safeParse(partial);
  if (parsed.success) return parsed.data as ResiliencePolicy; // what is left out is absent: JSON knows no undefined
  const flaws = parsed.error.issues.slice(0, 10).map((issue) => {
    const place = issue.path.length > 0 ? `${issue.path.map(String).join('.')}: ` : '';
    return place + issue.message;
  });
  throw new MeshError('SLV-5005', `The resilience policy is not valid: ${flaws.join('; ')}.`, {
    detail: { problems: flaws },
  });
}
