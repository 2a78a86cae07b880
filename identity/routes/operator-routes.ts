import { createRoute, z } from '@hono/zod-openapi';
import { MeshError } from '#policies/errors/mesh-error.ts';
import {
  changeGrantSchema,
  createJoinTokenSchema,
  type JoinTokenView,
  joinTokenSchema,
  type NodeView,
  nodeSchema,
} from '#policies/wire/identity-api.ts';
import type { IdentityAudit } from '../audit-events.ts';
import { grants, requireGrantable } from '../grant.ts';
import type { JoinTokenRecord, JoinTokens } from '../join-tokens.ts';
import type { NodeRecord, Nodes } from '../nodes.ts';
import type { Operators } from '../operators.ts';
import type { HeldSvids } from '../status/held-svids.ts';
import type { TrustPublication } from '../trust-publication.ts';
import type { IdentityApp } from './app.ts';
import { answerOf, bodyOf, problems } from './openapi-parts.ts';
import { operatorsOnly } from './operators-only.ts';

/** What operators use is made of. */
export interface OperatorRouteParts {
  /** Undefined in `dev`: nobody is asked. */
  readonly operator: Operators | undefined;
  readonly tokens: JoinTokens;
  readonly nodes: Nodes;
  readonly held: HeldSvids;
  readonly trust: TrustPublication;
  readonly audit: IdentityAudit;
}

const idParameter = z.object({ id: z.string().min(1).max(128) });
const done = { description: 'Done.' } as const;

const createTokenRoute = createRoute({
  method: 'post',
  path: '/v1/identity/join-tokens',
  summary: 'Make a join token; the answer shows it, once',
  request: { body: bodyOf(createJoinTokenSchema) },
  responses: { 200: answerOf('The token.', joinTokenSchema), ...problems(400, 401, 403) },
});
const listTokensRoute = createRoute({
  method: 'get',
  path: '/v1/identity/join-tokens',
  summary: 'List join tokens, without the secrets',
  responses: { 200: answerOf('The tokens.', z.array(joinTokenSchema)), ...problems(401) },
});
const withdrawTokenRoute = createRoute({
  method: 'delete',
  path: '/v1/identity/join-tokens/{id}',
  summary: 'Withdraw a join token',
  request: { params: idParameter },
  responses: { 204: done, ...problems(400, 401, 404) },
});
const listNodesRoute = createRoute({
  method: 'get',
  path: '/v1/identity/nodes',
  summary: 'List nodes and what they may be',
  responses: { 200: answerOf('The nodes.', z.array(nodeSchema)), ...problems(401) },
});
const showNodeRoute = createRoute({
  method: 'get',
  path: '/v1/identity/nodes/{id}',
  summary: 'Show a node: what it may be, and who vouched for it',
  request: { params: idParameter },
  responses: { 200: answerOf('The node.', nodeSchema), ...problems(400, 401, 404) },
});
const changeGrantRoute = createRoute({
  method: 'put',
  path: '/v1/identity/nodes/{id}/grant',
  summary: 'Change what a node may be; SVIDs of what it may not be any more are taken back with the next trust bundle',
  request: { params: idParameter, body: bodyOf(changeGrantSchema) },
  responses: { 200: answerOf('The node.', nodeSchema), ...problems(400, 401, 403, 404) },
});
const readmitRoute = createRoute({
  method: 'post',
  path: '/v1/identity/nodes/{id}/readmit',
  summary: 'Let a node of the name of this revoked one attest itself again, with a new key',
  request: { params: idParameter },
  responses: { 204: done, ...problems(400, 401, 404) },
});
const revokeNodeRoute = createRoute({
  method: 'delete',
  path: '/v1/identity/nodes/{id}',
  summary: 'Revoke a node: it gets no more SVIDs, and those that it holds are taken back with the next trust bundle',
  request: { params: idParameter },
  responses: { 204: done, ...problems(400, 401, 404) },
});

/** `/v1/identity/join-tokens` and `/v1/identity/nodes`, for operators only. */
export function addOperatorRoutes(app: IdentityApp, parts: OperatorRouteParts): void {
  const { operator, tokens, nodes, held, trust, audit } = parts;
  operatorsOnly(app, operator, ['/v1/identity/join-tokens', '/v1/identity/nodes']);

  app.openapi(createTokenRoute, async (c) => {
    await audit.ready();
    const { token, record } = await tokens.create(c.req.valid('json'));
    const { id, services, node } = record;
    await audit.append({
      event: 'join-token-created',
      joinToken: id,
      services,
      name: node,
      remote: c.env.remoteAddress,
    });
    return c.json({ ...tokenView(record), token }, 200);
  });
  app.openapi(listTokensRoute, async (c) => c.json((await tokens.list()).map(tokenView), 200));
  app.openapi(withdrawTokenRoute, async (c) => {
    const { id } = c.req.valid('param');
    await tokens.withdraw(id);
    await audit.append({ event: 'join-token-withdrawn', joinToken: id, remote: c.env.remoteAddress });
    return c.body(null, 204);
  });
  app.openapi(listNodesRoute, async (c) => c.json((await nodes.list()).map(nodeView), 200));
  app.openapi(showNodeRoute, async (c) => {
    const found = await nodes.get(c.req.valid('param').id);
    if (found === undefined) throw new MeshError('SLV-2170', 'There is no such node.');
    return c.json(nodeView(found.node), 200);
  });
  app.openapi(changeGrantRoute, async (c) => {
    const { services } = c.req.valid('json');
    requireGrantable(services);
    await audit.ready();
    const node = await nodes.changeGrant(c.req.valid('param').id, services);
    const { id, name } = node;
    held.forget(id, (service) => !grants(services, service));
    await trust.refresh();
    await audit.append({ event: 'node-grant-changed', node: id, name, services, remote: c.env.remoteAddress });
    return c.json(nodeView(node), 200);
  });
  app.openapi(readmitRoute, async (c) => {
    await audit.ready();
    const { id, name } = await nodes.readmit(c.req.valid('param').id);
    await audit.append({ event: 'node-readmitted', node: id, name, remote: c.env.remoteAddress });
    return c.body(null, 204);
  });
  app.openapi(revokeNodeRoute, async (c) => {
    const { id, name } = await nodes.revoke(c.req.valid('param').id);
    held.forget(id);
    await trust.refresh();
    await audit.append({ event: 'node-revoked', node: id, name, remote: c.env.remoteAddress });
    return c.body(null, 204);
  });
}

function tokenView(record: JoinTokenRecord): JoinTokenView {
  const { id, services, node, description, createdAtMs, expiresAtMs, redeemed } = record;
  return {
    id,
    services,
    ...(node === undefined ? {} : { node }),
    ...(description === undefined ? {} : { description }),
    createdAt: iso(createdAtMs),
    expiresAt: iso(expiresAtMs),
    ...(redeemed === undefined ? {} : { redeemedBy: redeemed.node }),
  };
}

function nodeView(node: NodeRecord): NodeView {
  const { id, name, services, attestation, source, subject, joinedAtMs, lastIssuedAtMs, revokedAtMs } = node;
  return {
    id,
    name,
    services,
    attestation,
    ...(source === undefined ? {} : { source }),
    ...(subject === undefined ? {} : { subject }),
    joinedAt: iso(joinedAtMs),
    ...(lastIssuedAtMs === undefined ? {} : { lastIssuedAt: iso(lastIssuedAtMs) }),
    ...(revokedAtMs === undefined ? {} : { revokedAt: iso(revokedAtMs) }),
  };
}

function iso(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
