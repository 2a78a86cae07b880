import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMetrics } from '#runtime/metrics.ts';
import { startAgent } from './testing/running-agent.ts';

test('metrics in Consul’s form and in that of Prometheus', async (t) => {
  const metrics = createMetrics();
  metrics.counter('selvedge_calls_total', 'Calls.', ['service']).cell({ service: 'web' }).value += 3;
  metrics.gauge('selvedge_open', 'Open.', [], () => [[{}, 7]]);
  const histogram = metrics.histogram('selvedge_seconds', 'Time.', ['service'], [1, 10]);
  for (const [service, seconds] of [
    ['web', 2],
    ['web', 4],
    ['db', 1],
  ] as const)
    histogram.cell({ service }).observe(seconds);
  const { send } = await startAgent(t, { metrics });
  const { json } = await send('GET', '/v1/agent/metrics');
  assert.match(json.Timestamp, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC$/);
  assert.deepEqual(json.Points, []);
  const named = (list: { Name: string }[], name: string) => list.filter(({ Name }) => Name === name);
  assert.deepEqual(named(json.Gauges, 'selvedge_open'), [{ Name: 'selvedge_open', Value: 7, Labels: {} }]);
  const none = { Rate: 0, Min: 0, Max: 0, Stddev: 0 };
  assert.deepEqual(named(json.Counters, 'selvedge_calls_total'), [
    { Name: 'selvedge_calls_total', Count: 3, Sum: 3, Mean: 1, ...none, Labels: { service: 'web' } },
  ]);
  assert.deepEqual(named(json.Samples, 'selvedge_seconds'), [
    { Name: 'selvedge_seconds', Count: 2, Sum: 6, Mean: 3, ...none, Labels: { service: 'web' } },
    { Name: 'selvedge_seconds', Count: 1, Sum: 1, Mean: 1, ...none, Labels: { service: 'db' } },
  ]);
  const text = await send('GET', '/v1/agent/metrics?format=prometheus');
  assert.match(text.headers.get('content-type') ?? '', /^text\/plain/);
  assert.match(text.text, /^selvedge_calls_total\{service="web"\} 3$/m);
  assert.equal((await send('GET', '/v1/agent/metrics?format=xml')).status, 400);
});

test('an agent without metrics says where they are', async (t) => {
  const { send } = await startAgent(t);
  assert.equal((await send('GET', '/v1/agent/metrics')).status, 501);
});
