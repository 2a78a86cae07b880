import { z } from 'zod';

/** `POST /v1/identity/rotation` (operator): begins a rotation, or with `force` goes past what the one under way waits for. */
export const rotateSchema = z.strictObject({
  target: z.enum(['issuing', 'root']),
  force: z.boolean().default(false),
  /** The key of the root may be known to others: nothing leads from it to the new one. */
  compromised: z.boolean().default(false),
});

const pairSchema = z.object({ root: z.string(), issuing: z.string() });

/** `GET /v1/identity/rotation` and `POST /v1/identity/rotation/taint` (operator). Authorities are named by the hex SHA-256 of their SubjectPublicKeyInfo. */
export const rotationViewSchema = z.object({
  state: z.enum(['idle', 'prepared', 'published', 'seen', 'activated']),
  target: z.enum(['issuing', 'root']).optional(),
  startedAt: z.iso.datetime().optional(),
  /** Another CA takes over, or is to as soon as nothing else is under way. */
  takeover: z.object({ from: z.string(), to: z.string() }).optional(),
  active: pairSchema,
  /** Made, not used yet. */
  next: pairSchema.optional(),
  /** Not used any more, still trusted. */
  old: pairSchema.optional(),
  /** Authorities whose SVIDs are asked to renew at once. */
  tainted: z.array(z.string()),
  waitingFor: z
    .object({
      reason: z.string(),
      /** Proxies or holders of SVIDs, by name; the first hundred. */
      missing: z.array(z.string()),
      missingCount: z.number(),
      /** The deadline has passed: an operator may force it. */
      overdue: z.boolean(),
    })
    .optional(),
  bundleSequence: z.number(),
  rootNotAfter: z.iso.datetime(),
  /** Absent: not ours to replace (`GET /v1/identity/status` says it). */
  issuingNotAfter: z.iso.datetime().optional(),
  /** What an operator should look at. */
  warnings: z.array(z.string()),
});

export type RotationView = z.infer<typeof rotationViewSchema>;
