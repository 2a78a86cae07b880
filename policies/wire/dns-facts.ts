import { z } from 'zod';

/**
 * `POST /v1/mesh/feed/dns`: what the agent of a host that serves DNS follows at the catalog: as much as it was asked about, in one query for all of it, which waits
 * until one of the answers is another one than the agent has.
 *
 * What is asked is `kind/name`, the name in lower case: the instances of a `service/`, those that carry it into the mesh `connect/`, a `node/`, the holder of
 * an `address/` in hexadecimal digits, the address that stands for a service in the `mesh/`.
 */
export const dnsFactKinds = ['service', 'connect', 'node', 'address', 'mesh'] as const;
export type DnsFactKind = (typeof dnsFactKinds)[number];

/** Most facts that one agent follows. */
export const maxDnsFacts = 1_024;
/** Longest wait of one query. */
export const maxDnsWaitMs = 60_000;

/** `kind/name`. A name is what DNS can ask: printable, without capitals, 253 bytes at most. */
export const dnsFactKey = z.string().regex(/^(?:service|connect|node|address|mesh)\/[\x21-\x40\x5b-\x7e]{1,253}$/);

/** What the agent asks, and has: by key the tag of the answer it has, '' for none. */
export const dnsFactsQuestionSchema = z.strictObject({
  known: z
    .record(dnsFactKey, z.string().max(32))
    .refine((known) => Object.keys(known).length <= maxDnsFacts, `holds more than ${maxDnsFacts} questions`),
  waitMs: z.int().min(0).max(maxDnsWaitMs).default(0),
});

/** Those answers that the agent has not; none when the wait was over. A tag is the same for as long as its answer is. */
export const dnsFactsSchema = z.object({
  revision: z.number(),
  facts: z.record(z.string(), z.object({ tag: z.string().max(32), value: z.unknown() })),
});
export type DnsFacts = z.infer<typeof dnsFactsSchema>;

const hex = z.string().regex(/^(?:[0-9a-f]{8}|[0-9a-f]{32})$/);
const place = z.union([
  z.object({ kind: z.enum(['node', 'own']), hex }),
  z.object({ kind: z.literal('host'), host: z.string() }),
]);
const reach = z.object({ address: place, forA: place, forAaaa: place });
const instances = z.array(
  z.object({
    /** Null: its name is no DNS name. */
    node: z.string().nullable(),
    tags: z.array(z.string()),
    port: z.number(),
    status: z.enum(['passing', 'warning', 'critical']),
    weight: z.number(),
    reach,
  }),
);

/** The value of a fact, by its kind; null: there is none. */
export const dnsFactSchemas = {
  service: instances,
  connect: instances,
  node: z.object({ name: z.string(), reach, meta: z.record(z.string(), z.string()) }).nullable(),
  address: z.object({ kind: z.enum(['node', 'service']), name: z.string() }).nullable(),
  mesh: hex.nullable(),
} as const satisfies Record<DnsFactKind, z.ZodType>;
export type DnsFactValue<Kind extends DnsFactKind> = z.infer<(typeof dnsFactSchemas)[Kind]>;
export type DnsPlace = z.infer<typeof place>;
