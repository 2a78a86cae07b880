import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { dnsFactsQuestionSchema, dnsFactsSchema } from '#policies/wire/dns-facts.ts';
import { proxyOnly } from '../access/permissions.ts';
import { blockWhile, readerOf } from '../consul/blocking-read.ts';
import type { CatalogEnv } from '../consul/route-table.ts';
import { CatalogDnsFacts } from '../dns/dns-facts.ts';
import type { CatalogParts } from '../parts.ts';
import { permit } from './access.ts';
import { problems } from './names.ts';

const route = createRoute({
  method: 'post',
  path: '/v1/mesh/feed/dns',
  request: { body: { required: true, content: { 'application/json': { schema: dnsFactsQuestionSchema } } } },
  responses: {
    200: {
      description: 'What differs from what the agent has, once something does or its wait is over.',
      content: { 'application/json': { schema: dnsFactsSchema } },
    },
    ...problems,
  },
});

/** POST /v1/mesh/feed/dns: for the agents of hosts, which answer DNS from it. */
export function mountDnsFactsRoute(app: OpenAPIHono<CatalogEnv>, parts: CatalogParts): void {
  const facts = new CatalogDnsFacts(parts.state);
  app.openapi(route, async (c) => {
    permit(proxyOnly(c.var.caller));
    const { known, waitMs } = c.req.valid('json');
    let differing = facts.differing(known);
    const isSame = (): boolean => {
      differing = facts.differing(known);
      return Object.keys(differing.facts).length === 0;
    };
    const follow = (look: () => void) => facts.follow(Object.keys(known), look);
    if (waitMs > 0) await blockWhile(parts, isSame, follow, { waitMs }, readerOf(c));
    return c.json(differing, 200);
  });
}
