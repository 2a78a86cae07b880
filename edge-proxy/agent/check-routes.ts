import { z } from 'zod';
import type { CheckStatus } from '#policies/consul/check-status.ts';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { checkFields } from '#policies/consul/filter/consul-fields.ts';
import { decodeBody } from '#policies/consul/go-json.ts';
import {
  type AgentParts,
  type AgentRequest,
  type AgentRoute,
  bodyOf,
  done,
  filtered,
  json,
  pathPart,
} from './agent-route.ts';
import { checkAliases, checkSchema, knownStatus, toCheckDefinition } from './check-definition.ts';
import { admitScripts } from './script-access.ts';
import { checkView } from './views.ts';

/** Body of PUT /v1/agent/check/update/:id. The output is cut to what is kept. */
const updateSchema = z.object({
  Status: z.string().max(32).default(''),
  Output: z.string().max(1_048_576).default(''),
});

/** /v1/agent/checks and /v1/agent/check/*. */
export function checkRoutes({ state, nodeName, scripts }: AgentParts): AgentRoute[] {
  const heard = (id: string, status: CheckStatus, output: string): Response => {
    // Consul answers 500 here, and its clients look at the text.
    if (!state.heard(id, status, output))
      throw new ConsulError(500, `CheckID ${JSON.stringify(id)} does not have associated TTL`);
    return done();
  };
  const setTo = (path: string, status: CheckStatus): AgentRoute => ({
    path: `/v1/agent/check/${path}/:id`,
    method: 'PUT',
    handle: (c: AgentRequest) => heard(pathPart(c, 'id'), status, c.req.query('note') ?? ''),
  });
  return [
    {
      path: '/v1/agent/checks',
      method: 'GET',
      handle: (c) => {
        const views = [...state.checks.values()].map((check) => {
          const service = state.services.get(check.definition.serviceId);
          return [check.definition.id, checkView(check, service, nodeName)] as const;
        });
        return json(filtered(c, checkFields, views));
      },
    },
    {
      path: '/v1/agent/check/register',
      method: 'PUT',
      handle: async (c) => {
        const request = decodeBody(checkSchema, await bodyOf(c), { aliases: checkAliases });
        if (request.Name === '') throw new ConsulError(400, 'Missing check name');
        const definition = toCheckDefinition(request, { id: request.Name, name: request.Name });
        admitScripts(scripts, c, [definition]);
        state.registerCheck(definition, 'client');
        return done();
      },
    },
    {
      path: '/v1/agent/check/deregister/:id',
      method: 'PUT',
      handle: (c) => {
        state.deregisterCheck(pathPart(c, 'id'));
        return done();
      },
    },
    setTo('pass', 'passing'),
    setTo('warn', 'warning'),
    setTo('fail', 'critical'),
    {
      path: '/v1/agent/check/update/:id',
      method: 'PUT',
      handle: async (c) => {
        const { Status, Output } = decodeBody(updateSchema, await bodyOf(c));
        return heard(pathPart(c, 'id'), knownStatus(Status, `Invalid check status: '${Status}'`), Output);
      },
    },
  ];
}
