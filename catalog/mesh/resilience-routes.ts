import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { parseResiliencePolicy, resilienceSchema } from '#policies/resilience-form.ts';
import { nameOf } from '../access/caller.ts';
import { knownOnly, operatorOnly } from '../access/permissions.ts';
import type { CatalogEnv } from '../consul/route-table.ts';
import type { CatalogParts } from '../parts.ts';
import { unchanged, type WritePlan } from '../state/catalog-writer.ts';
import { encode } from '../state/indexed.ts';
import { keyOf } from '../state/keys.ts';
import { permit } from './access.ts';
import { problems, serviceParam } from './names.ts';

const path = '/v1/mesh/resilience/{service}';
const json = <S extends z.ZodType>(schema: S) => ({ 'application/json': { schema } });

const viewSchema = z
  .object({
    service: z.string(),
    /** As it was written; null: never, so all is default. */
    written: z.record(z.string(), z.unknown()).nullable(),
    effective: resilienceSchema,
    /** Store revision of the writing; 0 for defaults. */
    revision: z.number(),
  })
  .openapi('ResilienceView');

const answer = { 200: { description: 'The policy for calls to the service.', content: json(viewSchema) }, ...problems };
const getRoute = createRoute({ method: 'get', path, request: { params: serviceParam }, responses: answer });
const putRoute = createRoute({
  method: 'put',
  path,
  request: { params: serviceParam, body: { required: true, content: json(resilienceSchema) } },
  responses: answer,
});
const deleteRoute = createRoute({ method: 'delete', path, request: { params: serviceParam }, responses: answer });

/** GET, PUT, DELETE /v1/mesh/resilience/:service: how callers call it. Written in part, the rest is default; pushed live to every proxy that calls it. */
export function mountResilienceRoutes(app: OpenAPIHono<CatalogEnv>, parts: CatalogParts): void {
  const { state, writer, context } = parts;
  const view = (service: string) => {
    const found = state.resilience.get(service);
    const written = found?.record.Policy ?? null;
    const { retries, breaker, ...rest } = parseResiliencePolicy(written ?? {});
    const effective = {
      ...rest,
      retries: { ...retries, on: [...retries.on] },
      breaker: { ...breaker, failureStatuses: [...breaker.failureStatuses] },
    };
    return { service, written, effective, revision: found?.modifyIndex ?? 0 };
  };

  app.openapi(getRoute, (c) => {
    permit(knownOnly(c.var.caller));
    return c.json(view(c.req.valid('param').service), 200);
  });

  app.openapi(putRoute, async (c) => {
    permit(operatorOnly(c.var.caller));
    const { service } = c.req.valid('param');
    const Policy: unknown = await c.req.json(); // parsed by the route's schema already; what was written is kept, not what it became
    const record = { Service: service, Policy };
    await writer.commit((): WritePlan<void> => {
      const before = state.resilience.get(service);
      const key = keyOf('resilience', service);
      const same = before !== undefined && JSON.stringify(before.record) === JSON.stringify(record);
      return {
        compare: [unchanged(key, before?.modifyIndex)],
        operations: same ? [] : [{ kind: 'put', key, value: encode(record) }],
        result: undefined,
      };
    });
    context.log.info({ audit: 'resilience-put', caller: nameOf(c.var.caller), service }, 'resilience policy written');
    return c.json(view(service), 200);
  });

  app.openapi(deleteRoute, async (c) => {
    permit(operatorOnly(c.var.caller));
    const { service } = c.req.valid('param');
    await writer.commit((): WritePlan<void> => {
      const before = state.resilience.get(service);
      if (before === undefined) return { compare: [], operations: [], result: undefined };
      const key = keyOf('resilience', service);
      return {
        compare: [unchanged(key, before.modifyIndex)],
        operations: [{ kind: 'delete', key }],
        result: undefined,
      };
    });
    context.log.info(
      { audit: 'resilience-delete', caller: nameOf(c.var.caller), service },
      'resilience policy deleted',
    );
    return c.json(view(service), 200);
  });
}
