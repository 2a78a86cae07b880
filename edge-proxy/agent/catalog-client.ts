import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Clock } from '#runtime/clock.ts';
import { type MeshResponse, meshRequest } from '#runtime/mesh-http.ts';
import type { Svid } from '#runtime/svid/svid.ts';
import type { TrustSource } from '#runtime/svid/trust.ts';
import { isCatalogOf } from '../catalog-identity.ts';
import type { LocalService } from './service-definition.ts';
import type { CheckView } from './views.ts';

const timeoutMs = 5000;

/** Body of PUT /v1/catalog/register. */
export interface CatalogRegistration {
  readonly Node: string;
  readonly Address: string;
  readonly Datacenter: string;
  readonly Service?: LocalService;
  readonly Checks: readonly CheckView[];
}

/** Body of PUT /v1/catalog/deregister. */
export type CatalogDeregistration = { readonly Node: string } & (
  | { readonly ServiceID: string }
  | { readonly CheckID: string }
);

/** What the catalog holds of a node: services and checks by id, in Consul's names. */
export interface CatalogNode {
  readonly services: ReadonlyMap<string, Readonly<Record<string, unknown>>>;
  readonly checks: ReadonlyMap<string, Readonly<Record<string, unknown>>>;
}

/**
 * The agent's door to the catalog. `as` is the service in whose name is spoken (its SVID is shown); undefined: the node's own, without one.
 * Rejects with SLV-4301 when the catalog refused (asking again is no use), with anything else when it could not be asked.
 */
export interface CatalogClient {
  register(body: CatalogRegistration, as: string | undefined): Promise<void>;
  deregister(body: CatalogDeregistration, as: string | undefined): Promise<void>;
  nodeState(node: string, as: string | undefined): Promise<CatalogNode>;
}

export interface CatalogClientOptions {
  /** `http://…` (dev) or `https://…`: the catalog then proves to be `/svc/selvedge-catalog`. */
  readonly url: string;
  readonly trust: TrustSource | undefined;
  svidFor(service: string): Svid | undefined;
  readonly clock: Clock;
}

const item = z.record(z.string(), z.unknown());
const nodeServicesSchema = z.object({ Services: z.array(item).nullish() }).nullable();
const nodeChecksSchema = z.array(item).nullable();

/** The real one, over HTTP. */
export function createCatalogClient(options: CatalogClientOptions): CatalogClient {
  const expect = isCatalogOf(options.trust?.own);
  const call = async (method: string, path: string, as: string | undefined, body?: unknown): Promise<MeshResponse> => {
    const svid = as === undefined ? undefined : options.svidFor(as);
    const response = await meshRequest({
      url: `${options.url}${path}`,
      method,
      expect,
      clock: options.clock,
      timeoutMs,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
      ...(svid === undefined ? {} : { svid }),
      ...(options.trust === undefined ? {} : { trust: options.trust }),
    });
    if (response.status === 200) return response;
    const text = response.body.toString('utf8', 0, 512);
    const code = response.status >= 400 && response.status < 500 && response.status !== 429 ? 'SLV-4301' : 'SLV-1006';
    throw new MeshError(code, `The catalog answered ${response.status} to ${method} ${path}: ${text}`);
  };
  return {
    async register(body, as) {
      await call('PUT', '/v1/catalog/register', as, body);
    },
    async deregister(body, as) {
      await call('PUT', '/v1/catalog/deregister', as, body);
    },
    async nodeState(node, as) {
      const name = encodeURIComponent(node);
      const [services, checks] = await Promise.all([
        call('GET', `/v1/catalog/node-services/${name}`, as),
        call('GET', `/v1/health/node/${name}`, as),
      ]);
      return {
        services: byId(parse(nodeServicesSchema, services)?.Services ?? [], 'ID'),
        checks: byId(parse(nodeChecksSchema, checks) ?? [], 'CheckID'),
      };
    },
  };
}

function parse<S extends z.ZodType>(schema: S, response: MeshResponse): z.output<S> {
  try {
    return schema.parse(JSON.parse(response.body.toString()));
  } catch (cause) {
    throw new MeshError('SLV-1006', 'The catalog answered with something that is not what Consul answers.', { cause });
  }
}

function byId(items: readonly Readonly<Record<string, unknown>>[], key: string) {
  return new Map(items.map((each) => [String(each[key]), each]));
}
