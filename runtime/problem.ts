import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { HttpAnswer } from './http-answer.ts';
import type { Logger } from './logging.ts';

/** Media type of RFC 9457. */
export const problemMediaType = 'application/problem+json';

/**
 * The answer to a request that failed: RFC 9457 problem details with the members `code`, `fix` and, where the error has facts, `context`.
 * What is not a MeshError is a fault of ours: it becomes SLV-1007 with an id, under which the cause is logged and never shown.
 *
 * @param instance what it happened to: the request's path
 */
export function problemAnswer(error: unknown, log: Logger, instance?: string): HttpAnswer {
  const known = error instanceof MeshError ? error : internal(error, log, instance);
  const { status, title, fix } = known.entry;
  const body = {
    type: `urn:selvedge:error:${known.code}`,
    title,
    status,
    detail: known.message,
    ...(instance === undefined ? {} : { instance }),
    code: known.code,
    fix,
    ...(Object.keys(known.detail).length === 0 ? {} : { context: known.detail }),
  };
  return {
    status,
    headers: { 'content-type': problemMediaType, 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' },
    body: `${JSON.stringify(body)}\n`,
  };
}

/** The same as a Response, for an application of Hono's. */
export function problemResponse(error: unknown, log: Logger, instance?: string): Response {
  const { body, ...head } = problemAnswer(error, log, instance);
  return new Response(body, head);
}

/** The id is for people to find a log line by, not part of any decision: it needs no injected randomness. */
function internal(error: unknown, log: Logger, instance: string | undefined): MeshError {
  const id = randomUUID();
  log.error({ err: error, id, instance }, 'internal error');
  return new MeshError('SLV-1007', `An internal error; the log has its cause under ${id}.`, { detail: { id } });
}

const problemSchema = z.object({
  code: z.string().max(16).optional(),
  title: z.string().max(1_024),
  detail: z.string().max(8_192).optional(),
  fix: z.string().max(8_192).optional(),
  context: z.record(z.string(), z.unknown()).optional(),
});

/** A problem that another process answered with. `code` may be of a newer release than this one. */
export type RemoteProblem = z.infer<typeof problemSchema>;

/** @returns the problem in an answer's body, or undefined when it holds none */
export function readProblem(body: Uint8Array): RemoteProblem | undefined {
  try {
    return problemSchema.parse(JSON.parse(Buffer.from(body).toString('utf8')));
  } catch {
    return undefined; // an answer from something that is not Selvedge; the caller has its status
  }
}
