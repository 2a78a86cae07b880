import { ConsulError } from '#policies/consul/consul-error.ts';
import { agentServiceFields } from '#policies/consul/filter/consul-fields.ts';
import { decodeBody } from '#policies/consul/go-json.ts';
import {
  type AgentParts,
  type AgentRequest,
  type AgentRoute,
  bodyOf,
  done,
  filtered,
  json,
  parseGoBoolean,
  parseWait,
  pathPart,
} from './agent-route.ts';
import { admitScripts } from './script-access.ts';
import { serviceAliases, serviceSchema, toServiceDefinition } from './service-definition.ts';
import { sidecarOf } from './sidecar-service.ts';
import { contentHash, serviceView } from './views.ts';

/** /v1/agent/services and /v1/agent/service/*. */
export function serviceRoutes(parts: AgentParts): AgentRoute[] {
  const { state, datacenter } = parts;
  return [
    {
      path: '/v1/agent/services',
      method: 'GET',
      handle: (c) => {
        const views = [...state.services.values()].map(
          (service) => [service.ID, serviceView(service, datacenter)] as const,
        );
        return json(filtered(c, agentServiceFields, views));
      },
    },
    {
      path: '/v1/agent/service/register',
      method: 'PUT',
      handle: async (c) => {
        const flag = c.req.query('replace-existing-checks');
        const replace = flag === '' || (flag !== undefined && parseGoBoolean(flag, 'replace-existing-checks'));
        const request = decodeBody(serviceSchema, await bodyOf(c), { aliases: serviceAliases });
        const definition = toServiceDefinition(request);
        const sidecar = sidecarOf(definition.service, request.Connect?.SidecarService, state);
        admitScripts(parts.scripts, c, [...definition.checks, ...(sidecar?.checks ?? [])]);
        state.register(definition, replace, 'client', sidecar);
        return done();
      },
    },
    {
      path: '/v1/agent/service/deregister/:id',
      method: 'PUT',
      handle: (c) => {
        state.deregister(pathPart(c, 'id'));
        return done();
      },
    },
    {
      path: '/v1/agent/service/maintenance/:id',
      method: 'PUT',
      handle: (c) => {
        const enable = c.req.query('enable') ?? '';
        if (enable === '') throw new ConsulError(400, 'Missing value for enable');
        const reason = (c.req.query('reason') ?? '').slice(0, 4096);
        state.setMaintenance(pathPart(c, 'id'), parseGoBoolean(enable, 'enable'), reason);
        return done();
      },
    },
    { path: '/v1/agent/service/:id', method: 'GET', handle: (c) => readService(c, parts) },
  ];
}

/** Hash-blocking: with `?hash=` of what the client has, the answer waits for another, at most `?wait=` and a sixteenth of it as jitter. */
async function readService(c: AgentRequest, parts: AgentParts): Promise<Response> {
  const { state, changes, datacenter, timers, context } = parts;
  const id = pathPart(c, 'id');
  const known = c.req.query('hash') ?? '';
  const waitMs = parseWait(c.req.query('wait') ?? '');
  const late = new AbortController();
  const cancel =
    known === '' ? () => undefined : timers.after(waitMs * (1 + context.random() / 16), () => late.abort());
  const signal = AbortSignal.any([late.signal, c.req.raw.signal]);
  try {
    for (;;) {
      const service = state.services.get(id);
      if (service === undefined) throw new ConsulError(404, `unknown service ID: ${id}`);
      const view = serviceView(service, datacenter);
      const hash = contentHash(view);
      if (hash !== known || signal.aborted || changes.ended) {
        // LastContact comes always: without it Consul's Go client drops the headers that follow.
        const headers = { 'x-consul-contenthash': hash, 'x-consul-knownleader': 'true', 'x-consul-lastcontact': '0' };
        return json({ ...view, ContentHash: hash }, 200, headers);
      }
      await changes.next(signal);
    }
  } finally {
    cancel();
  }
}
