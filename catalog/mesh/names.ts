import { z } from '@hono/zod-openapi';
import { wildcard } from '#policies/intention-precedence.ts';
import { isServiceName } from '#policies/service-name.ts';

/** Name of a service in a path, query or body of our own API. */
export const serviceNameSchema = z
  .string()
  .max(128)
  .refine(isServiceName, 'is not a valid service name')
  .openapi({ example: 'web' });

/** `{service}` in a path. */
export const serviceParam = z.object({
  service: serviceNameSchema.openapi({ param: { name: 'service', in: 'path' }, example: 'web' }),
});

/** Source or destination of an intention: a service, or `*` for all. */
export const intentionNameSchema = z
  .string()
  .max(128)
  .refine((name) => name === wildcard || isServiceName(name), 'is neither a service name nor *')
  .openapi({ example: 'web' });

/** `{source}` and `{destination}` in a path. */
export const pairParams = z.object({
  source: intentionNameSchema.openapi({ param: { name: 'source', in: 'path' }, example: 'web' }),
  destination: intentionNameSchema.openapi({ param: { name: 'destination', in: 'path' }, example: 'db' }),
});

/** A query parameter that is there or not, as Consul's: `?force`. */
export const flagSchema = z.literal(['', 'true', '1']).optional();

/** What an error looks like (RFC 9457). */
export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number(),
    detail: z.string(),
    instance: z.string().optional(),
    code: z.string(),
    fix: z.string(),
  })
  .openapi('Problem');

/** The errors that every route may answer with. */
export const problems = {
  default: {
    description: 'The request was refused or failed.',
    content: { 'application/problem+json': { schema: problemSchema } },
  },
};
