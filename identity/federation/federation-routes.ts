import { createRoute, z } from '@hono/zod-openapi';
import { parseTrustDomain, type TrustDomain } from '#policies/spiffe-id.ts';
import { createFederationSchema, type FederationView, federationSchema } from '#policies/wire/federation-api.ts';
import type { Operators } from '../operators.ts';
import type { IdentityApp } from '../routes/app.ts';
import { answerOf, bodyOf, problems } from '../routes/openapi-parts.ts';
import { operatorsOnly } from '../routes/operators-only.ts';
import type { Federation } from './federation.ts';

const path = '/v1/identity/federation';
const params = z.object({ trustDomain: z.string().min(1).max(255) });
const view = answerOf('The relationship.', federationSchema);

const createFederationRoute = createRoute({
  method: 'post',
  path,
  summary: 'Federate with another trust domain: its bundle is fetched, now and at its refresh hint',
  request: { body: bodyOf(createFederationSchema) },
  responses: { 200: view, ...problems(400, 401, 409) },
});
const listRoute = createRoute({
  method: 'get',
  path,
  summary: 'List the trust domains that this one federates with',
  responses: { 200: answerOf('The relationships.', z.array(federationSchema)), ...problems(401) },
});
const deleteRoute = createRoute({
  method: 'delete',
  path: `${path}/{trustDomain}`,
  summary: 'End a federation: SVIDs of that trust domain are valid no more',
  request: { params },
  responses: { 204: { description: 'Done.' }, ...problems(400, 401, 404) },
});
const refreshRoute = createRoute({
  method: 'post',
  path: `${path}/{trustDomain}/refresh`,
  summary: 'Fetch the bundle of that trust domain now',
  request: { params },
  responses: { 200: view, ...problems(400, 401, 404) },
});

/** `/v1/identity/federation`, for operators only. */
export function addFederationRoutes(
  app: IdentityApp,
  { operator, federation }: { readonly operator: Operators | undefined; readonly federation: Federation },
): void {
  operatorsOnly(app, operator, [path]);
  app.openapi(createFederationRoute, async (c) => {
    const { trustDomain } = await federation.create(c.req.valid('json'), c.env.remoteAddress);
    return c.json(viewOf(federation, trustDomain), 200);
  });
  app.openapi(listRoute, (c) =>
    c.json(
      federation.relationships.list.map(({ trustDomain }) => viewOf(federation, trustDomain)),
      200,
    ),
  );
  app.openapi(deleteRoute, async (c) => {
    await federation.delete(parseTrustDomain(c.req.valid('param').trustDomain), c.env.remoteAddress);
    return c.body(null, 204);
  });
  app.openapi(refreshRoute, async (c) => {
    const trustDomain = parseTrustDomain(c.req.valid('param').trustDomain);
    await federation.refresh(trustDomain);
    return c.json(viewOf(federation, trustDomain), 200);
  });
}

function viewOf(federation: Federation, trustDomain: TrustDomain): FederationView {
  const { url, profile, held } = federation.relationships.get(trustDomain);
  const failure = federation.failureOf(trustDomain);
  const bundle = held.kind === 'none' ? undefined : held.bundle;
  return {
    trustDomain,
    url,
    profile: profile.kind,
    ...(profile.kind === 'https_spiffe' ? { endpointSpiffeId: profile.endpointId } : {}),
    bundle: held.kind,
    ...(bundle === undefined ? {} : { sequence: bundle.sequence }),
    roots: bundle?.x509Authorities.length ?? 0,
    jwtKeys: bundle?.jwtAuthorities.length ?? 0,
    ...(held.kind === 'fetched' ? { fetchedAt: iso(held.fetchedAtMs) } : {}),
    ...(failure === undefined ? {} : { failure: { at: iso(failure.atMs), reason: failure.reason } }),
  };
}

function iso(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
