import { z } from 'zod';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { decodeBody } from '#policies/consul/go-json.ts';
import { parseSpiffeId, type SpiffeId, serviceIdentityOf } from '#policies/spiffe-id.ts';
import { type AgentParts, type AgentRoute, bodyOf, json } from './agent-route.ts';

const authorizeSchema = z.object({
  Target: z.string().max(128).default(''),
  ClientCertURI: z.string().max(2048).default(''),
  ClientCertSerial: z.string().max(256).default(''),
});

/** POST /v1/agent/connect/authorize: a refusal is a 200 with `Authorized: false` (Consul). */
export function connectRoutes({ authorize, context }: AgentParts): AgentRoute[] {
  return [
    {
      path: '/v1/agent/connect/authorize',
      method: 'POST',
      handle: async (c) => {
        const { Target, ClientCertURI } = decodeBody(authorizeSchema, await bodyOf(c));
        if (Target === '') throw new ConsulError(400, 'Target service must be specified');
        requireServiceId(ClientCertURI);
        try {
          const { allowed, rule, reason } = await authorize(Target, ClientCertURI);
          return json({ Authorized: allowed, Reason: `${rule}: ${reason}` });
        } catch (err) {
          context.log.error({ err, target: Target }, 'authorize failed');
          return json({
            Authorized: false,
            Reason: 'The decision failed, so it is no; the log of the agent has the cause',
          });
        }
      },
    },
  ];
}

function requireServiceId(text: string): void {
  let id: SpiffeId;
  try {
    id = parseSpiffeId(text);
  } catch {
    // Consul's words; the grammar's flaw adds nothing that a client could use.
    throw new ConsulError(400, 'ClientCertURI not a valid Connect identifier');
  }
  if (serviceIdentityOf(id) === undefined) throw new ConsulError(400, 'ClientCertURI not a valid Service identifier');
}
