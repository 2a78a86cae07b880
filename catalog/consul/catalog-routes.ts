import { ConsulError } from '#policies/consul/consul-error.ts';
import { agentServiceFields, catalogServiceFields, nodeFields } from '#policies/consul/filter/consul-fields.ts';
import type { Filter } from '#policies/consul/filter/filter.ts';
import { decodeBody } from '#policies/consul/go-json.ts';
import { nameOf } from '../access/caller.ts';
import { denied } from '../access/denied.ts';
import { knownOnly } from '../access/permissions.ts';
import type { CatalogParts } from '../parts.ts';
import { deregistrationSchema, planDeregistration } from '../registry/deregister.ts';
import { planRegistration } from '../registry/register.ts';
import { registrationSchema, toRegistration } from '../registry/registration.ts';
import type { Node } from '../state/nodes.ts';
import type { ServiceInstance } from '../state/services.ts';
import { centralConfig } from './central-config.ts';
import { hasNodeMeta, hasTags, warningHeader } from './matching.ts';
import { refuseUnsupported } from './query-options.ts';
import { answerList, answerRead } from './read.ts';
import { bodyOf, type CatalogRequest, jsonAnswer, pathName, queryOf, type Route } from './route-table.ts';
import { type AgentServiceView, agentServiceView, catalogServiceView, nodeView } from './views.ts';

/** /v1/catalog: who is registered where. */
export function catalogRoutes(parts: CatalogParts): Route[] {
  const { state, datacenter } = parts;

  const instances = (c: CatalogRequest, found: readonly ServiceInstance[]) => {
    const query = queryOf(c);
    return found.filter(hasTags(query)).flatMap((instance) => {
      const node = state.nodes.get(instance.record.Node);
      return node !== undefined && hasNodeMeta(query)(node) ? [catalogServiceView(instance, node, datacenter)] : [];
    });
  };

  /** Names with the tags of those instances that pass. */
  const tagsByName = (query: URLSearchParams, passes: Filter): Readonly<Record<string, readonly string[]>> => {
    if (!isNarrowed(query)) return state.services.tagsByName();
    const names = new Map<string, Set<string>>();
    for (const instance of state.services.list()) {
      const { record } = instance;
      const node = state.nodes.get(record.Node);
      if (node === undefined || !hasNodeMeta(query)(node)) continue;
      if (!passes(catalogServiceView(instance, node, datacenter))) continue;
      const union = names.get(record.Service) ?? new Set();
      names.set(record.Service, union);
      for (const tag of record.Tags) union.add(tag);
    }
    return Object.fromEntries([...names].sort().map(([name, tags]) => [name, [...tags].sort()]));
  };

  const onNode = (
    c: CatalogRequest,
    view: (node: Node, services: readonly AgentServiceView[]) => unknown,
    { topics, show } = centralConfig(state, new URLSearchParams()),
  ) => {
    denied(knownOnly(c.var.caller));
    const name = pathName(c, 'node');
    const produce = (passes: Filter) => {
      const node = state.nodes.get(name);
      const services = state.services.onNode(name).map(show).map(agentServiceView);
      return { json: node === undefined ? null : view(node, services.filter(passes)) };
    };
    return answerRead(c, parts, [`node/${name}`, ...topics], produce, agentServiceFields);
  };

  return [
    {
      path: '/v1/catalog/datacenters',
      methods: {
        GET: (c) => {
          denied(knownOnly(c.var.caller));
          return jsonAnswer([datacenter]);
        },
      },
    },
    {
      path: '/v1/catalog/nodes',
      methods: {
        GET: (c) => {
          denied(knownOnly(c.var.caller));
          const query = queryOf(c);
          return answerList(c, parts, ['nodes'], nodeFields, () =>
            state.nodes
              .list()
              .filter(hasNodeMeta(query))
              .map((node) => nodeView(node, datacenter)),
          );
        },
      },
    },
    {
      path: '/v1/catalog/services',
      methods: {
        GET: (c) => {
          denied(knownOnly(c.var.caller));
          const query = queryOf(c);
          const topics = isNarrowed(query) ? (['services', 'nodes', 'instances'] as const) : (['services'] as const);
          return answerRead(c, parts, topics, (passes) => ({ json: tagsByName(query, passes) }), catalogServiceFields);
        },
      },
    },
    {
      path: '/v1/catalog/service/:name',
      missing: 'Missing service name',
      methods: {
        GET: (c) => {
          denied(knownOnly(c.var.caller));
          const name = pathName(c, 'name');
          const { topics, show } = centralConfig(state, queryOf(c));
          return answerList(c, parts, [`service/${name}`, ...topics], catalogServiceFields, () =>
            instances(c, state.services.named(name).map(show)),
          );
        },
      },
    },
    {
      path: '/v1/catalog/connect/:name',
      missing: 'Missing service name',
      methods: {
        GET: (c) => {
          denied(knownOnly(c.var.caller));
          const name = pathName(c, 'name');
          const { topics, show } = centralConfig(state, queryOf(c));
          return answerList(c, parts, [`connect/${name}`, ...topics], catalogServiceFields, () =>
            instances(c, state.services.inMesh(name).map(show)),
          );
        },
      },
    },
    {
      path: '/v1/catalog/node/:node',
      missing: 'Missing node name',
      methods: {
        GET: (c) =>
          onNode(c, (node, services) => ({
            Node: nodeView(node, datacenter),
            Services: Object.fromEntries(services.map((service) => [service.ID, service])),
          })),
      },
    },
    {
      path: '/v1/catalog/node-services/:node',
      missing: 'Missing node name',
      methods: {
        GET: (c) =>
          onNode(
            c,
            (node, services) => ({ Node: nodeView(node, datacenter), Services: services }),
            centralConfig(state, queryOf(c)),
          ),
      },
    },
    {
      path: '/v1/catalog/gateway-services/:gateway',
      missing: 'Missing gateway name',
      methods: {
        GET: (c) => {
          denied(knownOnly(c.var.caller));
          // Consul's answer for a gateway that no config entry describes; none can be written here.
          return answerRead(c, parts, ['kind/ingress-gateway', 'kind/terminating-gateway'], () => ({ json: [] }));
        },
      },
    },
    { path: '/v1/catalog/register', methods: { PUT: (c) => register(c, parts) } },
    { path: '/v1/catalog/deregister', methods: { PUT: (c) => deregister(c, parts) } },
  ];
}

/** An answer that depends on what single instances and nodes say of themselves changes with them. */
function isNarrowed(query: URLSearchParams): boolean {
  return query.has('node-meta') || (query.get('filter') ?? '') !== '';
}

async function register(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  const { caller } = c.var;
  refuseUnsupported(c.req.raw, parts.datacenter);
  const body = await bodyOf(c);
  const registration = toRegistration(decodeBody(registrationSchema, body), parts.datacenter);
  const { warning } = await parts.writer.commit(() => planRegistration(parts.state, caller, registration));
  parts.context.log.info(
    {
      audit: 'register',
      caller: nameOf(caller),
      node: registration.node.name,
      service: registration.service?.ID,
      checks: registration.checks.length,
    },
    'registered',
  );
  return jsonAnswer(true, warningHeader(warning === undefined ? [] : [warning]));
}

async function deregister(c: CatalogRequest, parts: CatalogParts): Promise<Response> {
  const { caller } = c.var;
  refuseUnsupported(c.req.raw, parts.datacenter);
  const request = decodeBody(deregistrationSchema, await bodyOf(c));
  if (request.Datacenter !== '' && request.Datacenter !== parts.datacenter) {
    throw new ConsulError(500, 'No path to datacenter');
  }
  await parts.writer.commit(() => planDeregistration(parts.state, caller, request));
  parts.context.log.info(
    {
      audit: 'deregister',
      caller: nameOf(caller),
      node: request.Node,
      service: request.ServiceID,
      check: request.CheckID,
    },
    'deregistered',
  );
  return jsonAnswer(true);
}
