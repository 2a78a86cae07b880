import { ConsulError } from '#policies/consul/consul-error.ts';
import type { MetricsView } from '#runtime/metrics.ts';
import { type AgentParts, type AgentRoute, json } from './agent-route.ts';

/** GET /v1/agent/metrics: those of the process, in Consul's form or, with `?format=prometheus`, in that of Prometheus. */
export function metricsRoutes({ metrics, context }: AgentParts): AgentRoute[] {
  return [
    {
      path: '/v1/agent/metrics',
      method: 'GET',
      handle: async (c) => {
        if (metrics === undefined)
          throw new ConsulError(501, '/v1/agent/metrics is not offered here: the metrics of `dev` are at /metrics');
        const format = c.req.query('format') ?? '';
        if (format === 'prometheus') {
          const { contentType, text } = await metrics.exposition();
          return new Response(text, { headers: { 'content-type': contentType } });
        }
        if (format !== '') throw new ConsulError(400, `Unknown format ${JSON.stringify(format.slice(0, 64))}`);
        return json(consulMetrics(await metrics.view(), context.clock()));
      },
    },
  ];
}

/** MetricsInfo (reference: api/agent.go). Counts are since the process began, where Consul's are of the last ten seconds; a histogram keeps no extremes. */
function consulMetrics(all: readonly MetricsView[], nowMs: number): object {
  const of = (kind: MetricsView['kind']) => all.filter((metric) => metric.kind === kind);
  const sampled = ({ name, labels, count, sum }: MetricsView) => ({
    ...{ Name: name, Count: count, Rate: 0, Sum: sum, Min: 0, Max: 0, Mean: count === 0 ? 0 : sum / count, Stddev: 0 },
    Labels: labels,
  });
  return {
    Timestamp: `${new Date(nowMs).toISOString().slice(0, 19).replace('T', ' ')} +0000 UTC`,
    Gauges: of('gauge').map(({ name, labels, sum }) => ({ Name: name, Value: sum, Labels: labels })),
    Points: [],
    Counters: of('counter').map(sampled),
    Samples: of('histogram').map(sampled),
  };
}
