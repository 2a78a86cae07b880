import { ConsulError } from '#policies/consul/consul-error.ts';
import { presentedToken, tokenNotFound } from '../access/caller.ts';
import { denied } from '../access/denied.ts';
import { knownOnly, operatorOnly } from '../access/permissions.ts';
import type { CatalogParts } from '../parts.ts';
import { createToken, revokeToken } from '../tokens/token-register.ts';
import { aclTokenView, operatorFileRecord, parseAclToken } from './acl-token-form.ts';
import { refuseUnsupported } from './query-options.ts';
import { answerRead } from './read.ts';
import { bodyOf, type CatalogRequest, jsonAnswer, pathName, queryOf, type Route } from './route-table.ts';

/** Consul's words; clients look for `ACL not found` in them. */
const noSuchToken = `token does not exist: ${tokenNotFound}`;

/**
 * The part of /v1/acl that is about tokens themselves: who am I, and what whoever hands out tokens (Vault, Terraform, a script) needs. Policies, roles, auth methods
 * are not offered (not-offered.ts).
 */
export function aclRoutes(parts: CatalogParts): Route[] {
  const { state } = parts;
  const unchangeable = (c: CatalogRequest): never => {
    denied(operatorOnly(c.var.caller));
    throw new ConsulError(
      501,
      'A token is not changed here: make another with PUT /v1/acl/token, then delete this one',
    );
  };
  return [
    {
      path: '/v1/acl/tokens',
      methods: {
        GET: (c) => {
          refuseDisabled(parts);
          denied(operatorOnly(c.var.caller));
          const query = queryOf(c);
          for (const name of ['policy', 'role', 'authmethod', 'servicename']) {
            if (query.get(name)) throw new ConsulError(501, `?${name} is not offered here: list all`);
          }
          return answerRead(c, parts, ['tokens'], () => ({
            json: state.tokens.list().map((token) => ({ ...aclTokenView(token), Legacy: false })),
          }));
        },
      },
    },
    { path: '/v1/acl/token', methods: { PUT: (c) => create(c, parts) } },
    { path: '/v1/acl/token/self', methods: { GET: (c) => self(c, parts) } },
    { path: '/v1/acl/token/:id/clone', methods: { PUT: unchangeable } },
    {
      path: '/v1/acl/token/:id',
      missing: 'Missing token ID',
      methods: {
        GET: (c) => {
          refuseDisabled(parts);
          denied(operatorOnly(c.var.caller));
          const id = pathName(c, 'id');
          return answerRead(c, parts, ['tokens'], () => {
            const token = state.tokens.get(id);
            if (token === undefined) throw new ConsulError(403, noSuchToken);
            return { json: aclTokenView(token) };
          });
        },
        PUT: unchangeable,
        DELETE: async (c) => {
          refuseDisabled(parts);
          denied(operatorOnly(c.var.caller));
          refuseUnsupported(c.req.raw, parts.datacenter);
          if (!(await revokeToken(parts, c.var.caller, pathName(c, 'id')))) throw new ConsulError(403, noSuchToken);
          return jsonAnswer(true);
        },
      },
    },
  ];
}

/** PUT /v1/acl/bootstrap, which Consul takes from anyone. A catalog has its first token from its first start on. */
export function bootstrapRoute(parts: CatalogParts): Route {
  return {
    path: '/v1/acl/bootstrap',
    methods: {
      PUT: () => {
        refuseDisabled(parts);
        throw new ConsulError(
          403,
          'Permission denied: ACL bootstrap no longer allowed: the first token is the content of operator.token in the data directory of the catalog',
        );
      },
    },
  };
}

async function create(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  refuseDisabled(parts);
  denied(operatorOnly(c.var.caller));
  refuseUnsupported(c.req.raw, parts.datacenter);
  const request = parseAclToken(await bodyOf(c), parts.datacenter, parts.context.clock());
  const { accessor, secret } = await createToken(parts, c.var.caller, request);
  const token = parts.state.tokens.get(accessor);
  if (token === undefined) throw new ConsulError(403, noSuchToken); // revoked by somebody this very moment
  return jsonAnswer(aclTokenView(token, secret), { 'cache-control': 'no-store' });
}

/** Who presents the token; what is presented goes back as its secret (Consul). */
function self(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  refuseDisabled(parts);
  const { caller } = c.var;
  denied(knownOnly(caller));
  const secret = presentedToken(c.req.raw);
  return answerRead(c, parts, ['tokens'], () => {
    if (caller.kind === 'operator') return { json: aclTokenView(operatorFileRecord, secret) };
    const token = caller.kind === 'token' ? parts.state.tokens.get(caller.session.accessor) : undefined;
    if (token === undefined) throw new ConsulError(403, noSuchToken);
    return { json: aclTokenView(token, secret) };
  });
}

/** Where nothing is guarded Consul says this of every token. */
function refuseDisabled({ callers }: CatalogParts): void {
  if (callers.open) throw new ConsulError(401, 'ACL support disabled');
}
