import { z } from 'zod';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { parseGoDuration } from '#policies/consul/go-duration.ts';
import { decodeBody } from '#policies/consul/go-json.ts';
import { ChainFlaw } from '#policies/discovery-chain/chain-flaw.ts';
import { type ChainRequest, compileChain } from '#policies/discovery-chain/compile.ts';
import { isServiceName } from '#policies/service-name.ts';
import { denied } from '../access/denied.ts';
import { knownOnly } from '../access/permissions.ts';
import { chainEntriesOf, chainTopics } from '../config-entries/chains.ts';
import type { CatalogParts } from '../parts.ts';
import { answerRead } from './read.ts';
import { bodyOf, type CatalogRequest, pathName, queryOf, type Route } from './route-table.ts';

/** /v1/discovery-chain: where calls to a service go. Compiled from config entries alone, so the service need not exist. */
export function discoveryChainRoutes(parts: CatalogParts): Route[] {
  return [
    {
      path: '/v1/discovery-chain/:service',
      methods: {
        GET: (c) => answerChain(c, parts, {}),
        POST: async (c) => answerChain(c, parts, await overridesOf(c)),
      },
      missing: 'Missing chain name',
    },
  ];
}

type Overrides = Pick<ChainRequest, 'overrideProtocol' | 'overrideConnectTimeoutNs' | 'overrideMeshGateway'>;

function answerChain(c: CatalogRequest, parts: CatalogParts, overrides: Overrides): Promise<Response> {
  denied(knownOnly(c.var.caller));
  const { state, trustDomain } = parts;
  const service = pathName(c, 'service');
  if (!isServiceName(service)) throw new ConsulError(400, `${JSON.stringify(service)} is not a valid service name`);
  const datacenter = queryOf(c).get('compile-dc') || parts.datacenter;
  if (!isServiceName(datacenter)) throw new ConsulError(400, 'compile-dc is not the name of a datacenter');
  return answerRead(c, parts, chainTopics(state, service), () => {
    try {
      const request = { service, datacenter, trustDomain, ...overrides };
      return { json: { Chain: compileChain(request, chainEntriesOf(state)) } };
    } catch (error) {
      if (!(error instanceof ChainFlaw)) throw error;
      throw new ConsulError(500, error.message); // as Consul: it is no mistake of who asks
    }
  });
}

const overridesSchema = z.object({
  OverrideMeshGateway: z.object({ Mode: z.enum(['', 'none', 'local', 'remote']).default('') }).default({ Mode: '' }),
  OverrideProtocol: z.string().max(32).default(''),
  OverrideConnectTimeout: z.union([z.string().max(64), z.int().min(0)]).default(0),
});

async function overridesOf(c: CatalogRequest): Promise<Overrides> {
  const body = await bodyOf(c);
  if (body.length === 0) return {};
  const aliases = {
    override_mesh_gateway: 'OverrideMeshGateway',
    override_protocol: 'OverrideProtocol',
    override_connect_timeout: 'OverrideConnectTimeout',
  };
  const given = decodeBody(overridesSchema, body, { aliases });
  const timeout = given.OverrideConnectTimeout;
  const ns = typeof timeout === 'number' ? timeout : parseGoDuration(timeout === '' ? '0' : timeout);
  if (ns === undefined || ns < 0) {
    throw new ConsulError(400, `Request decode failed: invalid duration ${JSON.stringify(timeout)}`);
  }
  return {
    overrideProtocol: given.OverrideProtocol.toLowerCase() || undefined,
    overrideConnectTimeoutNs: ns,
    overrideMeshGateway: given.OverrideMeshGateway.Mode || undefined,
  };
}
