import { checkFields, serviceEntryFields } from '#policies/consul/filter/consul-fields.ts';
import { denied } from '../access/denied.ts';
import { knownOnly } from '../access/permissions.ts';
import type { CatalogParts } from '../parts.ts';
import { aggregate, type CheckStatus, checkStatuses } from '../state/checks.ts';
import type { ServiceInstance } from '../state/services.ts';
import { centralConfig } from './central-config.ts';
import { hasNodeMeta, hasTags } from './matching.ts';
import { parseFlag } from './query-options.ts';
import { answerList } from './read.ts';
import { type CatalogRequest, pathName, queryOf, type Route } from './route-table.ts';
import { checkView, serviceEntryView } from './views.ts';

/** /v1/health: what is registered, and how it is. */
export function healthRoutes(parts: CatalogParts): Route[] {
  const { state, datacenter } = parts;

  const entries = (query: URLSearchParams, instances: readonly ServiceInstance[]) => {
    const passingOnly = parseFlag(query, 'passing');
    return instances.filter(hasTags(query)).flatMap((instance) => {
      const node = state.nodes.get(instance.record.Node);
      if (node === undefined || !hasNodeMeta(query)(node)) return [];
      const checks = state.checks.ofInstance(instance.record.Node, instance.record.ID);
      if (passingOnly && aggregate(checks) !== 'passing') return [];
      return [serviceEntryView(instance, node, checks, datacenter)];
    });
  };

  const read = (
    c: CatalogRequest,
    parameter: string,
    answer: (name: string, query: URLSearchParams) => Promise<Response>,
  ) => {
    denied(knownOnly(c.var.caller));
    const query = queryOf(c);
    parseFlag(query, 'passing'); // refused before anything waits
    return answer(pathName(c, parameter), query);
  };

  return [
    {
      path: '/v1/health/service/:name',
      missing: 'Missing service name',
      methods: {
        GET: (c) =>
          read(c, 'name', (name, query) => {
            const { topics, show } = centralConfig(state, query);
            return answerList(c, parts, [`health/${name}`, ...topics], serviceEntryFields, () =>
              entries(query, state.services.named(name).map(show)),
            );
          }),
      },
    },
    {
      path: '/v1/health/connect/:name',
      missing: 'Missing service name',
      methods: {
        GET: (c) =>
          read(c, 'name', (name, query) => {
            const { topics, show } = centralConfig(state, query);
            return answerList(c, parts, [`connect-health/${name}`, ...topics], serviceEntryFields, () =>
              entries(query, state.services.inMesh(name).map(show)),
            );
          }),
      },
    },
    {
      path: '/v1/health/ingress/:name',
      missing: 'Missing service name',
      methods: {
        // Instances of ingress gateways that lead to the service: there are none, for none can be registered.
        GET: (c) => read(c, 'name', () => answerList(c, parts, ['kind/ingress-gateway'], serviceEntryFields, () => [])),
      },
    },
    {
      path: '/v1/health/node/:node',
      missing: 'Missing node name',
      methods: {
        GET: (c) =>
          read(c, 'node', (node) =>
            answerList(c, parts, [`node-checks/${node}`], checkFields, () => state.checks.onNode(node).map(checkView)),
          ),
      },
    },
    {
      path: '/v1/health/checks/:name',
      missing: 'Missing service name',
      methods: {
        GET: (c) =>
          read(c, 'name', (name, query) =>
            answerList(c, parts, [`service-checks/${name}`, ...nodesTopic(query)], checkFields, () =>
              state.checks.ofService(name).filter(onNodeWith(query)).map(checkView),
            ),
          ),
      },
    },
    {
      path: '/v1/health/state/:state',
      missing: 'Missing check state',
      methods: {
        GET: (c) =>
          read(c, 'state', (name, query) =>
            answerList(c, parts, ['checks', ...nodesTopic(query)], checkFields, () =>
              isState(name) ? state.checks.withStatus(name).filter(onNodeWith(query)).map(checkView) : [],
            ),
          ),
      },
    },
  ];

  function onNodeWith(query: URLSearchParams) {
    return ({ record }: { record: { Node: string } }): boolean => {
      if (!query.has('node-meta')) return true;
      const node = state.nodes.get(record.Node);
      return node !== undefined && hasNodeMeta(query)(node);
    };
  }
}

/** An answer that was filtered by what nodes say of themselves changes with them. */
function nodesTopic(query: URLSearchParams): 'nodes'[] {
  return query.has('node-meta') ? ['nodes'] : [];
}

function isState(name: string): name is CheckStatus | 'any' {
  return name === 'any' || checkStatuses.some((status) => status === name);
}
