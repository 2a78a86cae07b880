import { ConsulError } from '#policies/consul/consul-error.ts';
import type { ConsulCa, ConsulRoots } from '#runtime/consul-ca.ts';
import { denied } from '../access/denied.ts';
import { knownOnly, operatorOnly, readerOnly } from '../access/permissions.ts';
import type { CatalogParts } from '../parts.ts';
import { blockWhile, readerOf } from './blocking-read.ts';
import { parseQueryOptions, type QueryOptions } from './query-options.ts';
import { readHeaders } from './read.ts';
import { type CatalogRequest, queryOf, type Route } from './route-table.ts';

/**
 * `/v1/connect/ca`: the roots, from the bundle that identity signed and this catalog carries. The CA itself is the identity service's; its configuration can be
 * looked at here, not written. @param ca undefined: this catalog carries no bundle
 */
export function caRoutes(parts: CatalogParts, ca: ConsulCa | undefined): Route[] {
  return [
    {
      path: '/v1/connect/ca/roots',
      methods: {
        GET: async (c) => {
          denied(knownOnly(c.var.caller));
          const { roots, options, headers } = await read(c);
          if (queryOf(c).has('pem'))
            return answer(roots.pem, { ...headers, 'content-type': 'application/pem-certificate-chain' });
          return jsonOf(roots.json(parts.context.clock(), options.pretty ? 4 : undefined), headers);
        },
      },
    },
    {
      path: '/v1/connect/ca/configuration',
      methods: {
        GET: async (c) => {
          denied(readerOnly(c.var.caller));
          const { roots, options, headers } = await read(c);
          const { index } = roots;
          const configuration = {
            Provider: 'selvedge',
            Config: {},
            State: null,
            ForceWithoutCrossSigning: false,
            CreateIndex: index,
            ModifyIndex: index,
          };
          return jsonOf(JSON.stringify(configuration, undefined, options.pretty ? 4 : undefined), headers);
        },
        PUT: (c) => {
          denied(operatorOnly(c.var.caller));
          throw new ConsulError(
            501,
            'The CA is configured at the identity service, not here: selvedge serve identity --backend, selvedge identity rotate',
          );
        },
      },
    },
  ];

  async function read(
    c: CatalogRequest,
  ): Promise<{ roots: ConsulRoots; options: QueryOptions; headers: Record<string, string> }> {
    const options = parseQueryOptions(c.req.raw, parts.datacenter);
    let roots = await rootsNow();
    const watch = (look: () => void): (() => void) => {
      const readAgain = (): void => {
        rootsNow().then(
          (now) => {
            roots = now;
            look();
          },
          (err: unknown) => parts.context.log.error({ err }, 'the signed bundle can not be read'),
        );
      };
      readAgain(); // it may have changed while it was read
      return ca?.onChange(readAgain) ?? (() => undefined);
    };
    if (options.index > 0) await blockWhile(parts, () => roots.index <= options.index, watch, options, readerOf(c));
    return { roots, options, headers: readHeaders(parts, options, roots.index) };
  }

  async function rootsNow(): Promise<ConsulRoots> {
    const roots = await ca?.roots();
    if (roots === undefined)
      throw new ConsulError(500, 'Connect must be enabled in order to use this endpoint: no trust bundle is here yet');
    return roots;
  }
}

function jsonOf(text: string, headers: Readonly<Record<string, string>>): Response {
  return answer(text, { ...headers, 'content-type': 'application/json' });
}

function answer(text: string, headers: Readonly<Record<string, string>>): Response {
  return new Response(text, { headers: { ...headers, 'x-content-type-options': 'nosniff' } });
}
