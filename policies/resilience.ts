/**
 * How a proxy calls one upstream: timeouts, retries, breaker, bulkhead, balancing. Pure data with safe defaults; pushed live in the feed.
 * Every duration is in milliseconds. The parser of a partial policy (`parseResiliencePolicy`) stands in resilience-form.ts.
 */

/** What a gRPC call may be answered to be tried again, in Envoy's words. */
export const grpcRetryConditions = [
  'cancelled',
  'deadline-exceeded',
  'internal',
  'resource-exhausted',
  'unavailable',
] as const;
export type GrpcRetryCondition = (typeof grpcRetryConditions)[number];

/** All that may be listed. */
export const retryConditions = [
  'connect-failure',
  'refused',
  'reset',
  'timeout',
  '5xx',
  'gateway-error',
  'envoy-ratelimited',
  ...grpcRetryConditions,
] as const;

/**
 * When a failed try may be tried again. `envoy-ratelimited`: turned away by a rate limit, that of another instance may have room. `reset` and statuses only for idempotent methods unless `retryNonIdempotent`; gRPC's statuses for every call: it has no
 * idempotent methods, so that to list one is to say that it may be done.
 */
export type RetryCondition = (typeof retryConditions)[number];

/** Retries: never once a byte of the answer went down. */
export interface RetryPolicy {
  /** Tries beyond the first; 0 turns retries off. */
  readonly attempts: number;
  readonly on: readonly RetryCondition[];
  /** Answers that are tried again whatever `on` says; absent: none. */
  readonly statuses?: readonly number[];
  readonly backoffBaseMs: number;
  readonly backoffMaxMs: number;
  /** Share of requests that may be retries, 0..1 (Envoy's retry budget, 0.2). */
  readonly budgetRatio: number;
  /** Retries per second that are always allowed, so that a quiet service can retry at all. */
  readonly budgetMinPerSecond: number;
  /** A request body longer than this is not replayed. */
  readonly maxBodyBytes: number;
  readonly retryNonIdempotent: boolean;
}

/** When an endpoint that answers, but takes its time, counts as out of order. */
export interface SlowCallPolicy {
  /** To the head of the answer; a call that took at least so long was slow. */
  readonly durationMs: number;
  /** The breaker opens when this share of the calls in the window was slow, 0..1; volumeThreshold holds here, too. */
  readonly rate: number;
}

/** The opossum breaker of one endpoint. */
export interface BreakerPolicy {
  readonly enabled: boolean;
  /** Opens when this share of calls in the window failed, 0..1. */
  readonly errorRate: number;
  /** Calls in the window below which it never opens. */
  readonly volumeThreshold: number;
  readonly windowMs: number;
  /** How long it stays open before a probe. */
  readonly openMs: number;
  /** Successful probes in a row that close it. */
  readonly closeAfterSuccesses: number;
  /** Answer statuses that count as failures. */
  readonly failureStatuses: readonly number[];
  /** Absent: no call is too slow. */
  readonly slowCalls?: SlowCallPolicy;
}

/** Passive health checking of endpoints, in Envoy's and Consul's words. */
export interface OutlierPolicy {
  readonly enabled: boolean;
  readonly consecutiveFailures: number;
  readonly baseEjectionMs: number;
  readonly maxEjectionMs: number;
  /** Share of endpoints that may be ejected at once, 0..1; at least one endpoint stays. */
  readonly maxEjectedRatio: number;
}

/** A copy of a share of the requests, to try something out on them. */
export interface MirrorPolicy {
  /** Whom the copies go to. */
  readonly service: string;
  /** Share of the requests, 0..1. */
  readonly share: number;
}

/** What each caller may ask of a service, held by the proxy of the service. */
export interface RequestLimitPolicy {
  readonly perSecond: number;
  /** As many at once, after a while without any. */
  readonly burst: number;
}

/** All of it for one upstream. */
export interface ResiliencePolicy {
  readonly connectTimeoutMs: number;
  /** For one try: from when the request is whole to the head of the answer. */
  readonly perTryTimeoutMs: number;
  /** The same for the request with all its tries. */
  readonly requestTimeoutMs: number;
  /** No byte either way on a connection or stream for this long ends it. */
  readonly idleTimeoutMs: number;
  readonly retries: RetryPolicy;
  readonly breaker: BreakerPolicy;
  readonly outlier: OutlierPolicy;
  /** Requests (or TCP connections) in flight to one upstream at once; above it: refused at once. */
  readonly maxConcurrent: number;
  readonly balancer: 'round-robin' | 'least-request' | 'random';
  /** While fewer than this share of the instances are healthy, those that are not are called, too, 0..1; absent: only when none is. */
  readonly panicThreshold?: number;
  /** Absent: none. */
  readonly mirror?: MirrorPolicy;
  /** Requests, by each source identity, at one instance; absent: as many as they like. */
  readonly requestLimit?: RequestLimitPolicy;
}

/** Defaults: Consul's 5 s connect and 15 s request timeout; Envoy's 20 % budget; a breaker that needs evidence before it opens. */
export const defaultResiliencePolicy: ResiliencePolicy = {
  connectTimeoutMs: 5_000,
  perTryTimeoutMs: 15_000,
  requestTimeoutMs: 15_000,
  idleTimeoutMs: 3_600_000,
  retries: {
    attempts: 2,
    on: ['connect-failure', 'refused', 'reset', 'gateway-error'],
    backoffBaseMs: 25,
    backoffMaxMs: 250,
    budgetRatio: 0.2,
    budgetMinPerSecond: 3,
    maxBodyBytes: 65_536,
    retryNonIdempotent: false,
  },
  breaker: {
    enabled: true,
    errorRate: 0.5,
    volumeThreshold: 20,
    windowMs: 10_000,
    openMs: 5_000,
    closeAfterSuccesses: 3,
    failureStatuses: [500, 502, 503, 504],
  },
  outlier: {
    enabled: true,
    consecutiveFailures: 5,
    baseEjectionMs: 10_000,
    maxEjectionMs: 300_000,
    maxEjectedRatio: 0.5,
  },
  maxConcurrent: 1_024,
  balancer: 'round-robin',
};
