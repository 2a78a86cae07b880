import { type AgentParts, type AgentRequest, type AgentRoute, json, pathPart, plainText } from './agent-route.ts';
import type { LocalService } from './service-definition.ts';
import { checkView, serviceView } from './views.ts';

/** Consul's codes, for load balancers that look at nothing else. */
const httpStatus = { passing: 200, warning: 429, critical: 503, maintenance: 503 } as const;
const badness = ['passing', 'warning', 'critical', 'maintenance'] as const;

/** /v1/agent/health/service/*: how local services are, as a status code; `?format=text` for the bare word. */
export function healthRoutes({ state, datacenter, nodeName }: AgentParts): AgentRoute[] {
  const infoOf = (service: LocalService) => ({
    AggregatedStatus: state.statusOf(service.ID),
    Service: serviceView(service, datacenter),
    Checks: [...state.checksOf(service.ID), ...state.checksOf('')].map((check) => {
      return checkView(check, check.definition.serviceId === '' ? undefined : service, nodeName);
    }),
  });
  return [
    {
      path: '/v1/agent/health/service/id/:id',
      method: 'GET',
      handle: (c) => {
        const id = pathPart(c, 'id');
        const service = state.services.get(id);
        if (service === undefined) {
          const nothing = { AggregatedStatus: 'critical', Service: null, Checks: null };
          return wantsText(c) ? plainText(404, `ServiceId ${id} not found`) : json(nothing, 404);
        }
        const info = infoOf(service);
        const code = httpStatus[info.AggregatedStatus];
        return wantsText(c) ? plainText(code, info.AggregatedStatus) : json(info, code);
      },
    },
    {
      path: '/v1/agent/health/service/name/:name',
      method: 'GET',
      handle: (c) => {
        const name = pathPart(c, 'name');
        const infos = [...state.services.values()].filter((service) => service.Service === name).map(infoOf);
        if (infos.length === 0) return wantsText(c) ? plainText(404, `ServiceName ${name} Not Found`) : json([], 404);
        const worst = badness.findLast((status) => infos.some((info) => info.AggregatedStatus === status)) ?? 'passing';
        return wantsText(c) ? plainText(httpStatus[worst], worst) : json(infos, httpStatus[worst]);
      },
    },
  ];
}

function wantsText(c: AgentRequest): boolean {
  return c.req.query('format') === 'text' || (c.req.header('accept') ?? '').startsWith('text/plain');
}
