import { z } from 'zod';
import type { Rotation } from './rotation.ts';

const id = z.string().regex(/^[0-9a-f]{64}$/);
/** A root and the issuing CA under it, as they are written down. */
export const authorityPairSchema = z.strictObject({
  root: id,
  issuing: id,
  cross: z.base64().optional(),
  earlier: z.array(id).optional(),
});
const pair = authorityPairSchema;
const underWay = {
  target: z.enum(['issuing', 'root']),
  startedAtMs: z.number(),
  active: pair,
  compromised: z.literal(true).optional(),
};

/** A rotation as it is written down: JSON, refused when it holds anything else than a state. */
export const rotationSchema: z.ZodType<Rotation> = z.discriminatedUnion('state', [
  z.strictObject({ state: z.literal('idle'), active: pair }),
  z.strictObject({ state: z.literal('prepared'), ...underWay, next: pair }),
  z.strictObject({ state: z.literal('published'), ...underWay, next: pair, publishedAtMs: z.number() }),
  z.strictObject({ state: z.literal('seen'), ...underWay, next: pair }),
  z.strictObject({
    state: z.literal('activated'),
    ...underWay,
    old: pair,
    activatedAtMs: z.number(),
    tainted: z.boolean(),
  }),
]);
