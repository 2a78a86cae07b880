import type { Context, Next } from 'hono';
import { MeshError } from '#policies/errors/mesh-error.ts';

/**
 * Middleware: a body has to say that it is JSON, and a PUT has to have one. Otherwise hono's validators pass over it, and the route would see `{}` in its place:
 * defaults for all that the client said. Throws SLV-1009.
 */
export async function jsonBodiesOnly(c: Context, next: Next): Promise<void> {
  const length = c.req.header('content-length') ?? '0';
  const hasBody = length !== '0' || c.req.header('transfer-encoding') !== undefined;
  const isJson = /^application\/([a-z-]+\+)?json(;|$)/i.test(c.req.header('content-type') ?? '');
  if ((hasBody || c.req.method === 'PUT') && !isJson)
    throw new MeshError('SLV-1009', 'The request is malformed: it takes a body of content-type application/json.');
  await next();
}
