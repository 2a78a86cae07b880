import { z } from 'zod';

/** An edge proxy as the catalog knows it: one feed of it. */
const meshProxySchema = z.object({
  proxy: z.string(),
  /** Who opened the feed; null: an operator, or anyone in dev mode. */
  spiffeId: z.string().nullable(),
  services: z.array(z.string()),
  upstreams: z.array(z.string()),
  connected: z.boolean(),
  /** Whether it counts: connected, or heard within two keep-alives. */
  live: z.boolean(),
  /** Milliseconds since it connected, acknowledged or went away. */
  heardAgoMs: z.number(),
  /** The newest acknowledgement; null: none yet. */
  acknowledged: z
    .object({
      revision: z.number(),
      ageMs: z.number(),
      bundleSequence: z.number(),
      rejected: z.array(z.object({ kind: z.string(), name: z.string(), reason: z.string() })),
    })
    .nullable(),
});

/** `GET /v1/mesh/proxies`: every proxy that follows the feed, or did within ten minutes. For operators and for identity, whose rotation waits for them. */
export const meshProxiesSchema = z.object({ revision: z.number(), proxies: z.array(meshProxySchema) });
