import { z } from 'zod';
import { callingSchema } from '../caller-settings.ts';
import { jwtRequirementSchema } from '../jwt-form.ts';
import { requestLimitSchema } from '../resilience-form.ts';
import { feedEndpointSchema, feedRoutingSchema } from './feed-routing.ts';

/**
 * The contract between the catalog and the edge proxies.
 *
 * `GET /v1/mesh/feed?proxy=ID&service=web&upstream=db[&since=REV][&new=db][&names=mesh][&limits=1]` answers `application/x-ndjson`: one FeedMessage a line, for as long as the
 * connection lives. `service` (own services: their intentions) and `upstream` may repeat. The first update after connecting either continues from
 * `since` or has `reset: true` and holds everything asked for; it comes also when nothing changed. A bundle is sent at each connect. `since` is
 * the revision of the last update; the catalog continues only a line that it remembers and that asked for no less, but for those upstreams that `new`
 * names: the proxy has nothing of them yet, so they are sent in any case. An older catalog starts afresh instead. Outside of dev the caller shows an
 * SVID of each `service` it names (one connection per SVID), and the feed ends with that SVID.
 * `POST /v1/mesh/feed/ack` tells what a proxy has applied.
 */

const action = z.enum(['allow', 'deny']);
const headerMatch = z.strictObject({
  name: z.string(),
  present: z.literal(true).exactOptional(),
  exact: z.string().exactOptional(),
  prefix: z.string().exactOptional(),
  suffix: z.string().exactOptional(),
  contains: z.string().exactOptional(),
  regex: z.string().exactOptional(),
  invert: z.boolean().exactOptional(),
  ignoreCase: z.boolean().exactOptional(),
});
const httpMatch = z.strictObject({
  pathExact: z.string().exactOptional(),
  pathPrefix: z.string().exactOptional(),
  pathRegex: z.string().exactOptional(),
  headers: z.array(headerMatch).exactOptional(),
  methods: z.array(z.string()).exactOptional(),
});
/** An intention as it travels: policies/intention.ts. Unknown fields are refused, so that a newer rule is never half understood. */
export const feedIntentionSchema = z.strictObject({
  source: z.string(),
  destination: z.string(),
  action: action.exactOptional(),
  permissions: z
    .array(z.strictObject({ action, http: httpMatch, jwt: jwtRequirementSchema.exactOptional() }))
    .exactOptional(),
  description: z.string().exactOptional(),
  observe: z.literal(true).exactOptional(),
  expiresAtMs: z.number().exactOptional(),
  meta: z.record(z.string(), z.string()).exactOptional(),
  jwt: jwtRequirementSchema.exactOptional(),
  precedence: z.number(),
  createdAtMs: z.number(),
  updatedAtMs: z.number(),
  createIndex: z.number(),
  modifyIndex: z.number(),
});

const base64url = z.string().regex(/^[A-Za-z0-9_-]{1,1400}$/);
/** A public key of an issuer of tokens: policies/jwks.ts. */
export const issuerKeySchema = z.strictObject({
  kid: z.string().exactOptional(),
  alg: z.string().exactOptional(),
  jwk: z.discriminatedUnion('kty', [
    z.strictObject({ kty: z.literal('EC'), crv: z.string(), x: base64url, y: base64url }),
    z.strictObject({ kty: z.literal('RSA'), n: base64url, e: base64url }),
    z.strictObject({ kty: z.literal('OKP'), crv: z.literal('Ed25519'), x: base64url }),
  ]),
});

/** Where a token stands in a request; exactly one is set. */
export const tokenLocationSchema = z.union([
  z.strictObject({
    header: z.strictObject({
      /** Lower case. */
      name: z.string(),
      valuePrefix: z.string(),
      /** The header goes on to the application. */
      forward: z.boolean(),
    }),
  }),
  z.strictObject({ queryParam: z.string() }),
  z.strictObject({ cookie: z.string() }),
]);

/** Whose tokens the intentions ask for, with what verifies them. */
export const feedJwtProviderSchema = z.strictObject({
  name: z.string(),
  issuer: z.string().exactOptional(),
  /** One of them; [] any. */
  audiences: z.array(z.string()),
  locations: z.array(tokenLocationSchema),
  /** The application gets the claims in this header. */
  forwarding: z.strictObject({ headerName: z.string(), pad: z.boolean() }).exactOptional(),
  clockSkewSeconds: z.number(),
  /** Verified tokens that are remembered. */
  cacheSize: z.number(),
  keys: z.array(issuerKeySchema),
  /** Why there are no keys: then every token of it is refused. */
  flaw: z.string().exactOptional(),
});

const protocol = z.enum(['tcp', 'http', 'http2', 'grpc']);

/** What decides who may call one of the proxy's own services. */
export const feedIntentionsSchema = z.strictObject({
  kind: z.literal('intentions'),
  /** The destination: a service of this proxy. */
  name: z.string(),
  protocol,
  defaultAction: action,
  /** All whose destination is `name` or `*`, in no particular order. */
  intentions: z.array(feedIntentionSchema),
  /** All that the intentions name and that there are; absent where they name none. */
  jwtProviders: z.array(feedJwtProviderSchema).exactOptional(),
});

/** What a service lets pass of requests; what is not said is refused (policies/request-normalization.ts). */
const normalizationSchema = z.strictObject({
  escapedSlashes: z.enum(['KEEP_UNCHANGED', 'UNESCAPE_AND_REDIRECT', 'UNESCAPE_AND_FORWARD']).exactOptional(),
  underscores: z.enum(['DROP_HEADER', 'ALLOW']).exactOptional(),
});

/**
 * How to reach one upstream. `resilience` is a whole policy (policies/resilience.ts), checked by resilience-form.ts on arrival. With `routing`, which is sent
 * only where config entries say more than that, `endpoints` is empty: a proxy that does not know it refuses the whole and says so. Just so with `normalization`.
 */
export const feedUpstreamSchema = z.strictObject({
  kind: z.literal('upstream'),
  name: z.string(),
  protocol,
  endpoints: z.array(feedEndpointSchema),
  resilience: z.unknown(),
  routing: feedRoutingSchema.exactOptional(),
  normalization: normalizationSchema.exactOptional(),
});

/** Where the names `<service>.mesh` lead: of each service of the mesh its address, and the ports of its instances. Sent to who asks by `names=mesh`. */
export const feedMeshNamesSchema = z.strictObject({
  kind: z.literal('mesh-names'),
  name: z.literal('mesh'),
  services: z.array(z.strictObject({ service: z.string(), address: z.string(), ports: z.array(z.number()) })),
});

/** What one instance of a service takes of all callers together: by path the first that is for it, else `all`. */
const instanceLimitsSchema = z.strictObject({
  all: requestLimitSchema.exactOptional(),
  routes: z
    .array(
      z.strictObject({
        pathExact: z.string().exactOptional(),
        pathPrefix: z.string().exactOptional(),
        pathRegex: z.string().exactOptional(),
        limit: requestLimitSchema,
      }),
    )
    .exactOptional(),
});

/**
 * How much callers may ask of one of the proxy's own services, each for itself (`requestLimit`) and all together, and how; and what the service says of its own calls.
 * Sent to who asks by `limits=1`.
 */
export const feedLimitsSchema = z.strictObject({
  kind: z.literal('limits'),
  name: z.string(),
  requestLimit: requestLimitSchema.exactOptional(),
  instanceLimits: instanceLimitsSchema.exactOptional(),
  normalization: normalizationSchema.exactOptional(),
  calling: callingSchema.exactOptional(),
});

/** The trust bundle and revocation list of the own trust domain, signed by identity (policies/wire/signed-bundle.ts). */
export const feedBundleSchema = z.strictObject({ kind: z.literal('bundle'), name: z.string(), jws: z.string() });

/** One thing that a proxy holds, whole. A resource that ends is sent with its empty value, never left out. */
export const feedResourceSchema = z.discriminatedUnion('kind', [
  feedIntentionsSchema,
  feedUpstreamSchema,
  feedMeshNamesSchema,
  feedBundleSchema,
  feedLimitsSchema,
]);

/** One line of the feed. `revision` is the catalog's store revision. */
export const feedMessageSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('hello'),
    catalog: z.string(),
    datacenter: z.string(),
    trustDomain: z.string(),
    /** A line comes at least this often; twice this long without one means that the feed is dead. */
    keepAliveMs: z.number(),
  }),
  z.strictObject({
    type: z.literal('update'),
    revision: z.number(),
    /** True: forget what is not in this message. */
    reset: z.boolean(),
    resources: z.array(feedResourceSchema),
  }),
  z.strictObject({ type: z.literal('keepalive'), revision: z.number() }),
]);

/** Body of `POST /v1/mesh/feed/ack`. */
export const feedAckSchema = z.strictObject({
  proxy: z.string().max(256),
  revision: z.number(),
  /** Resources that the proxy refused, and why; it keeps the last good one, or denies where it had none. */
  rejected: z.array(z.strictObject({ kind: z.string(), name: z.string(), reason: z.string() })).max(100),
  /** Sequence of the trust bundle in use: rotation waits for it. */
  bundleSequence: z.number(),
});

export type FeedJwtProvider = z.infer<typeof feedJwtProviderSchema>;
export type TokenLocation = z.infer<typeof tokenLocationSchema>;
export type { FeedEndpoint } from './feed-routing.ts';
export type FeedIntentions = z.infer<typeof feedIntentionsSchema>;
export type FeedUpstream = z.infer<typeof feedUpstreamSchema>;
export type FeedMeshNames = z.infer<typeof feedMeshNamesSchema>;
export type FeedNormalization = z.infer<typeof normalizationSchema>;
export type FeedInstanceLimits = z.infer<typeof instanceLimitsSchema>;
export type FeedLimits = z.infer<typeof feedLimitsSchema>;
export type FeedResource = z.infer<typeof feedResourceSchema>;
export type FeedMessage = z.infer<typeof feedMessageSchema>;
export type FeedAck = z.infer<typeof feedAckSchema>;
