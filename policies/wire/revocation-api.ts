import { z } from 'zod';

/** Why something is revoked, for people. */
export const reasonSchema = z.string().max(256);
const reason = reasonSchema.optional();
/** A serial number as hex; colons, as OpenSSL prints it, are taken. */
export const serialSchema = z
  .string()
  .max(80)
  .regex(/^[0-9A-Fa-f]{2}(?::?[0-9A-Fa-f]{2})*$/, 'must be a serial number in hex, two digits a byte')
  .transform((text) =>
    text
      .replaceAll(':', '')
      .toLowerCase()
      .replace(/^(?:00)+(?=..)/, ''),
  );

/** `POST /v1/identity/revocations` (operator): one certificate by its serial, all of one SPIFFE ID, or all of one node. */
export const revokeSchema = z.union([
  z.strictObject({ serial: serialSchema, reason }),
  z.strictObject({ spiffeId: z.string().max(2_048), reason }),
  z.strictObject({ node: z.string().min(1).max(128), reason }),
]);

/** An item of `GET /v1/identity/revocations`. `DELETE /v1/identity/revocations/{id}` takes one back (204); not that of a node. */
export const revocationSchema = z.object({
  id: z.string(),
  kind: z.enum(['serial', 'spiffe-id', 'node']),
  /** The serial, the SPIFFE ID, or the node's id. */
  what: z.string(),
  /** Of a node: its name. */
  name: z.string().optional(),
  reason: z.string().optional(),
  revokedAt: z.iso.datetime(),
  /** When the certificate ends, and the revocation with it; absent: it stays until it is deleted. */
  until: z.iso.datetime().optional(),
});

export type RevocationView = z.infer<typeof revocationSchema>;
