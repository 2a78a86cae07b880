import { z } from 'zod';

/**
 * Federation with other trust domains (SPIFFE_Federation.md): `/v1/identity/federation`, for operators. A relationship is one-way: whose SVIDs we can verify.
 * Bundles of different trust domains are never merged.
 */

/** `POST /v1/identity/federation`. */
export const createFederationSchema = z.strictObject({
  trustDomain: z.string().min(1).max(255),
  /** `https://` URL of their bundle endpoint, without user and fragment. */
  url: z.string().min(1).max(2_048),
  /** By what the endpoint is known: Web PKI, or an SVID. */
  profile: z.enum(['https_web', 'https_spiffe']),
  /** The ID that the endpoint must show; with https_spiffe only. */
  endpointSpiffeId: z.string().max(2_048).optional(),
  /** Their bundle as of now (a SPIFFE bundle document): by it the endpoint is proven at first. Needed with https_spiffe, unless the endpoint is of a trust domain known already. */
  bundle: z.looseObject({ keys: z.array(z.unknown()) }).optional(),
});

/** A relationship, and how its bundle is. */
export const federationSchema = z.object({
  trustDomain: z.string(),
  url: z.string(),
  profile: z.enum(['https_web', 'https_spiffe']),
  endpointSpiffeId: z.string().optional(),
  /** `none`: nothing known yet, so no SVID of theirs is valid; `configured`: what the operator gave; `fetched`: what their endpoint says. */
  bundle: z.enum(['none', 'configured', 'fetched']),
  sequence: z.number().optional(),
  roots: z.number(),
  jwtKeys: z.number(),
  fetchedAt: z.iso.datetime().optional(),
  /** The last attempt, if it failed; the bundle stays in use. */
  failure: z.object({ at: z.iso.datetime(), reason: z.string() }).optional(),
});

export type CreateFederation = z.infer<typeof createFederationSchema>;
export type FederationView = z.infer<typeof federationSchema>;
