import { OpenAPIHono } from '@hono/zod-openapi';
import { HTTPException } from 'hono/http-exception';
import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';
import { browserRefusal } from '#runtime/browser-guard.ts';
import type { PeerEnv } from '#runtime/http-service.ts';
import { jsonBodiesOnly } from '#runtime/json-bodies.ts';
import type { Logger } from '#runtime/logging.ts';
import { problemResponse } from '#runtime/problem.ts';

/** Hono's view of a request to identity. */
export interface IdentityEnv {
  readonly Bindings: PeerEnv;
}
export type IdentityApp = OpenAPIHono<IdentityEnv>;

/**
 * An application whose every failure is problem+json, and whose bodies are checked by the schemas that its OpenAPI document shows.
 * @param open nobody is asked for a token: what a browser sends for a page of another site is refused, SLV-2002
 */
export function createApp(log: Logger, open: boolean): IdentityApp {
  const app: IdentityApp = new OpenAPIHono<IdentityEnv>({
    defaultHook: (result) => {
      if (!result.success) throw malformed(result.error.issues);
    },
  });
  if (open) {
    app.use(async (c, next) => {
      const refusal = browserRefusal(c.req.raw);
      if (refusal !== undefined) throw new MeshError('SLV-2002', refusal);
      await next();
    });
  }
  app.use(jsonBodiesOnly);
  app.onError((error, c) => {
    const known = error instanceof HTTPException ? fromHono(error) : error;
    const response = problemResponse(known, log, c.req.path);
    const retryAfter = isMeshError(known) ? known.detail['retryAfterSeconds'] : undefined;
    if (retryAfter !== undefined) response.headers.set('retry-after', String(retryAfter));
    return response;
  });
  app.notFound((c) => {
    const error = new MeshError('SLV-1010', `There is nothing at ${c.req.method} ${quote(c.req.path)}.`);
    return problemResponse(error, log, c.req.path);
  });
  return app;
}

interface Issue {
  readonly code: string;
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly keys?: readonly string[];
}

/** Names the field: what is wrong with it, or that it is unknown. */
function malformed(issues: readonly Issue[]): MeshError {
  const [issue] = issues;
  if (issue === undefined) return new MeshError('SLV-1009', 'The request is malformed.');
  const at = issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys') {
    const fields = (issue.keys ?? []).map((key) => quote(at === '' ? key : `${at}.${key}`));
    return new MeshError('SLV-1009', `Unknown field ${fields.join(', ')}.`, {
      detail: { field: String(issue.keys?.[0]).slice(0, 96) },
    });
  }
  return new MeshError('SLV-1009', `Field ${quote(at === '' ? 'body' : at)}: ${issue.message}.`, {
    detail: { field: at.slice(0, 96) },
  });
}

/** Hono throws its own for a body that is no JSON. */
function fromHono(error: HTTPException): MeshError {
  return new MeshError('SLV-1009', `The request is malformed: ${error.message.replace(/\.$/, '')}.`);
}
