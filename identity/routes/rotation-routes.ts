import { createRoute } from '@hono/zod-openapi';
import { type RotationView, rotateSchema, rotationViewSchema } from '#policies/wire/rotation-api.ts';
import type { Operators } from '../operators.ts';
import type { RotationDriver } from '../rotation/rotation-driver.ts';
import type { IdentityApp } from './app.ts';
import { answerOf, bodyOf, problems } from './openapi-parts.ts';
import { operatorsOnly } from './operators-only.ts';

/** What rotation is asked for. */
export interface RotationRouteParts {
  readonly operator: Operators | undefined;
  readonly driver: RotationDriver;
}

const path = '/v1/identity/rotation';
const view = answerOf('Where the rotation stands.', rotationViewSchema);
const showRoute = createRoute({
  method: 'get',
  path,
  summary: 'Where the rotation of the CA stands, and whom it waits for',
  responses: { 200: view, ...problems(401, 409) },
});
const rotateRoute = createRoute({
  method: 'post',
  path,
  summary: 'Rotate the issuing CA or the root, or force the rotation under way past what it waits for',
  request: { body: bodyOf(rotateSchema) },
  responses: { 200: view, ...problems(400, 401, 409) },
});
const taintRoute = createRoute({
  method: 'post',
  path: `${path}/taint`,
  summary:
    'Have every SVID under the old CA renewed at once; with no rotation under way, every SVID, under a new issuing CA',
  responses: { 200: view, ...problems(401, 409) },
});

/** `/v1/identity/rotation`, for operators only. */
export function addRotationRoutes(app: IdentityApp, { operator, driver }: RotationRouteParts): void {
  operatorsOnly(app, operator, [path]);
  const viewNow = (): RotationView => driver.view();
  app.openapi(showRoute, (c) => c.json(viewNow(), 200));
  app.openapi(rotateRoute, async (c) => {
    const { target, force, compromised } = c.req.valid('json');
    await driver.rotate(target, { force, compromised, by: c.env.remoteAddress });
    return c.json(viewNow(), 200);
  });
  app.openapi(taintRoute, async (c) => {
    await driver.taint(c.env.remoteAddress);
    return c.json(viewNow(), 200);
  });
}
