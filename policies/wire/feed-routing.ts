import { z } from 'zod';
import { retryConditions } from '../resilience.ts';

/**
 * How calls to an upstream find their instances, where that takes more than one list of them: the discovery chain of the upstream, compiled by the catalog
 * (policies/discovery-chain/) and brought into what a proxy needs (policies/routing/routing-of-chain.ts). Unknown fields are refused, so that a newer chain
 * is never half understood. Durations in milliseconds.
 */

/** Where in the world something runs; '' where nobody said. */
const localitySchema = z.strictObject({ region: z.string(), zone: z.string() });

/** One instance: where its edge proxy listens and who must answer there. */
export const feedEndpointSchema = z.strictObject({
  /** Stable: `<node>/<service id>`. */
  id: z.string(),
  node: z.string(),
  address: z.string(),
  port: z.number(),
  spiffeId: z.string(),
  status: z.enum(['passing', 'warning', 'critical']),
  weight: z.number(),
  /** Sent only in targets that are called by locality. */
  locality: localitySchema.exactOptional(),
});

/** Headers removed, then set, then added. */
const headerEdits = z.strictObject({
  remove: z.array(z.string()).exactOptional(),
  set: z.record(z.string(), z.string()).exactOptional(),
  add: z.record(z.string(), z.string()).exactOptional(),
});

const text = z.string().exactOptional();
const valueMatch = { name: z.string(), present: z.literal(true).exactOptional(), exact: text, regex: text };

/** What a request must be; of the lists all items, of the methods one. */
const routeMatch = z.strictObject({
  pathExact: text,
  pathPrefix: text,
  pathRegex: text,
  caseInsensitive: z.literal(true).exactOptional(),
  headers: z
    .array(z.strictObject({ ...valueMatch, prefix: text, suffix: text, invert: z.literal(true).exactOptional() }))
    .exactOptional(),
  queryParameters: z.array(z.strictObject(valueMatch)).exactOptional(),
  methods: z.array(z.string()).exactOptional(),
});

/** Retries of a route, in Consul's words as far as proxies act on them. */
const routeRetries = z.strictObject({
  /** Tries beyond the first; absent: the policy's. */
  attempts: z.int().min(0).exactOptional(),
  /** Absent: the policy's. */
  on: z.array(z.enum(retryConditions)).exactOptional(),
  /** Answers that are tried again, whatever `on` says. */
  statuses: z.array(z.int().min(100).max(599)).exactOptional(),
});

const route = z.strictObject({
  /** Absent: every request. */
  match: routeMatch.exactOptional(),
  /** A splitter or a destination. */
  next: z.string(),
  prefixRewrite: text,
  requestTimeoutMs: z.number().exactOptional(),
  idleTimeoutMs: z.number().exactOptional(),
  retries: routeRetries.exactOptional(),
  requestHeaders: headerEdits.exactOptional(),
  responseHeaders: headerEdits.exactOptional(),
});

const split = z.strictObject({
  /** Hundredths of a percent: those of a splitter come to 10,000. */
  weight: z.int().min(0).max(10_000),
  /** A destination. */
  next: z.string(),
  requestHeaders: headerEdits.exactOptional(),
  responseHeaders: headerEdits.exactOptional(),
});

const hashPolicy = z.strictObject({
  /** Of what; `name` of a header, cookie or query parameter. */
  on: z.enum(['header', 'cookie', 'query-parameter', 'source-ip']),
  name: text,
  /** A cookie that is not there is made: how long it lasts, 0 for as long as the client does. */
  cookie: z.strictObject({ ttlMs: z.number(), path: text }).exactOptional(),
  /** When it gives something, those behind it are not asked. */
  terminal: z.literal(true).exactOptional(),
});

/** How an instance is chosen, where service-resolver says so. */
const loadBalancer = z.discriminatedUnion('policy', [
  z.strictObject({ policy: z.enum(['round-robin', 'random']) }),
  z.strictObject({ policy: z.literal('least-request'), choices: z.int().min(1).exactOptional() }),
  z.strictObject({
    policy: z.literal('ring-hash'),
    hash: z.array(hashPolicy),
    minimumRingSize: z.int().min(1).exactOptional(),
    maximumRingSize: z.int().min(1).exactOptional(),
  }),
  z.strictObject({ policy: z.literal('maglev'), hash: z.array(hashPolicy) }),
]);

const destination = z.strictObject({
  /** The first that has a healthy instance is called. */
  targets: z.array(z.string()).min(1),
  /** Absent: the balancer of the resilience policy. */
  loadBalancer: loadBalancer.exactOptional(),
  /** A destination that gets a copy of a share of the requests, 0..1. */
  mirror: z.strictObject({ destination: z.string(), share: z.number().gt(0).max(1) }).exactOptional(),
});

/** `resilience` is a whole policy (policies/resilience.ts), checked by resilience-form.ts on arrival. */
const target = z.strictObject({
  service: z.string(),
  endpoints: z.array(feedEndpointSchema),
  resilience: z.unknown(),
  /** Instances that are near are called first. */
  byLocality: z.literal(true).exactOptional(),
});

/** The chain of one upstream. Names are the catalog's, of meaning within it only. */
export const feedRoutingSchema = z.strictObject({
  /** The first that matches decides; the last matches every request. */
  routes: z.array(route).min(1),
  splitters: z.record(z.string(), z.array(split).min(1)),
  destinations: z.record(z.string(), destination),
  targets: z.record(z.string(), target),
});

export type Locality = z.infer<typeof localitySchema>;
export type FeedEndpoint = z.infer<typeof feedEndpointSchema>;
export type FeedRouting = z.infer<typeof feedRoutingSchema>;
export type FeedRoute = z.infer<typeof route>;
export type FeedRouteMatch = z.infer<typeof routeMatch>;
export type FeedRouteRetries = z.infer<typeof routeRetries>;
export type FeedSplit = z.infer<typeof split>;
export type FeedHeaderEdits = z.infer<typeof headerEdits>;
export type FeedLoadBalancer = z.infer<typeof loadBalancer>;
export type FeedHashPolicy = z.infer<typeof hashPolicy>;
export type FeedTarget = z.infer<typeof target>;
