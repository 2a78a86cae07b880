import { ConsulError } from '#policies/consul/consul-error.ts';
import { version } from '#runtime/version.ts';
import { type AgentParts, type AgentRoute, done, json, parseGoBoolean } from './agent-route.ts';

/** What is known of the agent and its host: /v1/agent/self, members, version, maintenance. */
export function nodeRoutes({ datacenter, nodeName, nodeAddress, state }: AgentParts): AgentRoute[] {
  const member = {
    Name: nodeName,
    Addr: nodeAddress,
    Port: 0,
    Tags: { role: 'node', dc: datacenter },
    Status: 1,
    ProtocolMin: 1,
    ProtocolMax: 5,
    ProtocolCur: 2,
    DelegateMin: 2,
    DelegateMax: 5,
    DelegateCur: 4,
  };
  return [
    {
      path: '/v1/agent/self',
      method: 'GET',
      // Prometheus and others begin with it: they need `Config.Datacenter`.
      handle: () =>
        json({
          Config: {
            Datacenter: datacenter,
            PrimaryDatacenter: datacenter,
            NodeName: nodeName,
            Server: false,
            Version: version,
          },
          Member: member,
        }),
    },
    // Agents do not gossip here, so each knows itself; the catalog knows all nodes.
    { path: '/v1/agent/members', method: 'GET', handle: () => json([member]) },
    {
      path: '/v1/agent/version',
      method: 'GET',
      handle: () => json({ SHA: '', BuildDate: '0001-01-01T00:00:00Z', HumanVersion: version, FIPS: '' }),
    },
    {
      path: '/v1/agent/maintenance',
      method: 'PUT',
      handle: (c) => {
        const enable = c.req.query('enable') ?? '';
        if (enable === '') throw new ConsulError(400, 'Missing value for enable');
        state.setNodeMaintenance(parseGoBoolean(enable, 'enable'), (c.req.query('reason') ?? '').slice(0, 4_096));
        return done();
      },
    },
    ...notOffered,
  ];
}

/** What Consul's agents have and these do not: known, and refused with where to look instead. */
const notOffered: readonly AgentRoute[] = (
  [
    ['GET', '/v1/agent/host', 'The agent does not describe its host'],
    ['GET', '/v1/agent/metrics/stream', 'Metrics do not come as a stream: ask /v1/agent/metrics'],
    ['GET', '/v1/agent/monitor', 'The log of the edge proxy is its standard error'],
    ['PUT', '/v1/agent/reload', 'The edge proxy takes its options when it starts: restart it'],
    ['PUT', '/v1/agent/join/:address', 'Agents do not gossip: each is given its catalog (--catalog)'],
    ['PUT', '/v1/agent/leave', 'To leave, stop the edge proxy: it deregisters what it registered'],
    ['PUT', '/v1/agent/force-leave/:node', 'Agents do not gossip: deregister the node at the catalog'],
    ['PUT', '/v1/agent/token/:kind', 'The agent has one token, in agent.token of its data directory'],
  ] as const
).map(([method, path, instead]) => ({
  path,
  method,
  handle: () => {
    throw new ConsulError(501, `${path} is not offered. ${instead}`);
  },
}));
