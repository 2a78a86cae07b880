import { z } from '@hono/zod-openapi';
import type { TypedResponse } from 'hono';
import { problemMediaType } from '#runtime/problem.ts';
import { readyResponse } from '#runtime/ready-response.ts';

const problemSchema = z.object({
  type: z.string(),
  title: z.string(),
  status: z.number(),
  detail: z.string(),
  instance: z.string().optional(),
  code: z.string().regex(/^SLV-\d{4}$/),
  fix: z.string(),
  context: z.record(z.string(), z.unknown()).optional(),
});

/** A JSON request body that must be there. */
export function bodyOf<T extends z.ZodType>(schema: T) {
  return { required: true, content: { 'application/json': { schema } } } as const;
}

/** A JSON answer. */
export function answerOf<T extends z.ZodType>(description: string, schema: T) {
  return { description, content: { 'application/json': { schema } } } as const;
}

/** The answer 200 with this JSON, as `c.json` gives it, but written as it is: for what is asked often. */
export function readyAnswer<T extends object>(value: T): TypedResponse<T, 200, 'json'> {
  const response = readyResponse(200, Buffer.from(JSON.stringify(value)), { 'content-type': 'application/json' });
  // Hono's type says what is in a Response; no Response shows it.
  return response as Response & TypedResponse<T, 200, 'json'>;
}

/** What a route may answer instead: RFC 9457 problem details with an error code of Selvedge's catalogue. */
export function problems(...statuses: readonly number[]) {
  // What can answer 503 writes, and a full disk is 507.
  return Object.fromEntries(
    [...statuses, ...(statuses.includes(503) ? [507] : [])].map((status) => [
      status,
      {
        description: 'Refused or failed; the code says why.',
        content: { [problemMediaType]: { schema: problemSchema } },
      },
    ]),
  );
}
