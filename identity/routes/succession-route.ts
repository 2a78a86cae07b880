import { createRoute } from '@hono/zod-openapi';
import { successionAnswerSchema, successionPath } from '#policies/wire/succession.ts';
import type { Succession } from '../succession.ts';
import type { IdentityApp } from './app.ts';
import { answerOf, problems } from './openapi-parts.ts';

const route = createRoute({
  method: 'get',
  path: successionPath,
  summary: 'How the roots of the last 90 days followed on one another, each step signed under the one before',
  responses: { 200: answerOf('Compact JWSs, oldest first.', successionAnswerSchema), ...problems(503) },
});

/** `GET /v1/identity/succession`, for anybody: who needs it can not verify this service yet. */
export function addSuccessionRoute(app: IdentityApp, succession: Succession): void {
  app.openapi(route, async (c) => c.json({ steps: [...(await succession.steps())] }, 200));
}
