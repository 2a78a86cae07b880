import { createRoute, z } from '@hono/zod-openapi';
import { formatSpiffeBundle } from '#policies/trust-bundle.ts';
import { type IdentityStatus, identityStatusSchema } from '#policies/wire/identity-api.ts';
import type { Metrics } from '#runtime/metrics.ts';
import type { CaBackend } from '../ca-backend.ts';
import type { CheckedConfig } from '../identity-config.ts';
import type { IssueCounts } from '../issue-counts.ts';
import type { ProcessRoll } from '../processes/process-roll.ts';
import type { ServiceHealth } from '../status/service-health.ts';
import type { TrustPublication } from '../trust-publication.ts';
import type { IdentityApp } from './app.ts';
import { answerOf } from './openapi-parts.ts';

/** What anybody may read is made of: nothing of it is secret, and first contact needs it before anything can be proven. */
export interface PublicRouteParts {
  readonly config: Pick<CheckedConfig, 'trustDomain' | 'datacenter' | 'svidTtlSeconds'>;
  readonly backend: CaBackend;
  readonly trust: TrustPublication;
  readonly health: ServiceHealth;
  readonly pins: () => readonly string[];
  readonly counts: IssueCounts;
  readonly metrics: Metrics;
  readonly version: string;
}

const bundleSchema = z.looseObject({
  keys: z.array(
    z.looseObject({
      kty: z.string(),
      use: z.enum(['x509-svid', 'jwt-svid']),
      x5c: z.array(z.string()).optional(),
      kid: z.string().optional(),
    }),
  ),
  spiffe_sequence: z.number().int(),
  spiffe_refresh_hint: z.number().int(),
});
const readinessSchema = z.object({ ready: z.boolean(), reasons: z.array(z.string()) });

const bundleRoute = createRoute({
  method: 'get',
  path: '/v1/identity/bundle',
  summary: 'The trust bundle as a SPIFFE bundle document',
  responses: { 200: answerOf('The bundle (JWKS).', bundleSchema) },
});
const statusRoute = createRoute({
  method: 'get',
  path: '/v1/identity/status',
  summary: 'How the service is',
  responses: { 200: answerOf('Its state.', identityStatusSchema) },
});
const readinessRoute = createRoute({
  method: 'get',
  path: '/readyz',
  summary: 'Whether the mesh can rely on it: red once half of the outage budget is gone',
  responses: { 200: answerOf('They can.', readinessSchema), 503: answerOf('They can not; why.', readinessSchema) },
});

/** Bundle, status, health, metrics and the OpenAPI document. */
export function addPublicRoutes(app: IdentityApp, parts: PublicRouteParts): void {
  const { config, backend, trust, health, pins, counts, metrics, version } = parts;

  app.openapi(bundleRoute, (c) => c.json(bundleSchema.parse(formatSpiffeBundle(trust.bundle)), 200));
  app.openapi(statusRoute, (c) => {
    const endMs = backend.issuingCaNotAfterMs;
    const { timeToOutageMs, budgetMs, state } = health.outage;
    const { tokenLeftMs } = health;
    const status: IdentityStatus = {
      trustDomain: config.trustDomain,
      datacenter: config.datacenter,
      backend: { kind: backend.kind, healthy: backend.health.state === 'healthy', ...noticeOf(backend.health) },
      rootPins: [...pins()],
      bundleSequence: trust.bundle.sequence,
      ...(endMs === undefined ? {} : { issuingCaNotAfter: new Date(endMs).toISOString() }),
      svidTtlSeconds: config.svidTtlSeconds,
      ...counts.totals,
      issuedLastMinute: health.issuedLastMinute,
      health: state,
      ...(health.failures.length === 0 ? {} : { failures: [...health.failures] }),
      ...(timeToOutageMs === undefined ? {} : { timeToOutageSeconds: Math.floor(timeToOutageMs / 1_000) }),
      ...(budgetMs === undefined ? {} : { outageBudgetSeconds: Math.floor(budgetMs / 1_000) }),
      earliestExpiry: new Date(health.earliestEndMs).toISOString(),
      ...(tokenLeftMs === undefined ? {} : { vaultTokenSeconds: Math.floor(tokenLeftMs / 1_000) }),
      ...processesOf(health.roll),
    };
    return c.json(status, 200);
  });
  app.openapi(readinessRoute, (c) => {
    const reasons = [...health.reasons];
    const body = { ready: reasons.length === 0, reasons };
    return body.ready ? c.json(body, 200) : c.json(body, 503);
  });
  app.get('/livez', (c) => c.text('ok\n'));
  app.get('/metrics', async (c) => {
    const { contentType, text } = await metrics.exposition();
    return c.body(text, 200, { 'content-type': contentType });
  });
  app.doc31('/openapi.json', {
    openapi: '3.1.0',
    info: {
      title: 'Selvedge identity',
      version,
      description: 'Joins nodes, mints X.509-SVIDs, publishes the trust bundle.',
    },
  });
}

function processesOf(roll: ProcessRoll | undefined): Pick<IdentityStatus, 'processes'> {
  const call = roll?.last;
  if (call === undefined) return {};
  const list = call.processes.map(({ name, role, sinceMs, fence, isSelf }) => ({
    name,
    role,
    since: new Date(sinceMs).toISOString(),
    fence,
    self: isSelf,
  }));
  return { processes: { asOf: new Date(call.atMs).toISOString(), current: call === roll?.current, list } };
}

/** Also what is not yet trouble. */
function noticeOf(health: CaBackend['health']): { reason?: string } {
  if (health.state !== 'healthy') return reasonOf(health);
  return health.notice === undefined ? {} : { reason: health.notice };
}

function reasonOf(health: CaBackend['health']): { reason?: string } {
  if (health.state === 'healthy') return {};
  return { reason: `since ${new Date(health.sinceMs).toISOString()}: ${health.reason}` };
}
