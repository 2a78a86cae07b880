import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { encodeSnapshot, takeSnapshot } from '#store/snapshot.ts';
import { operatorOnly } from '../access/permissions.ts';
import type { CatalogEnv } from '../consul/route-table.ts';
import type { CatalogParts } from '../parts.ts';
import { permit } from './access.ts';
import { problems } from './names.ts';

const route = createRoute({
  method: 'get',
  path: '/v1/mesh/backup',
  responses: {
    200: { description: 'All that the catalog holds, as of one moment: for `selvedge catalog restore`.' },
    ...problems,
  },
});

/** GET /v1/mesh/backup, for operators: while everything goes on, whichever the store. */
export function mountBackupRoute(app: OpenAPIHono<CatalogEnv>, { store, context }: CatalogParts): void {
  app.openapi(route, async (c) => {
    permit(operatorOnly(c.var.caller));
    const snapshot = await takeSnapshot(store, 'catalog', context.clock());
    return c.body(new Uint8Array(await encodeSnapshot(snapshot)), 200, { 'content-type': 'application/gzip' });
  });
}
