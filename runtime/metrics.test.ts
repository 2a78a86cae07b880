import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMetrics } from './metrics.ts';

test('counters, gauges and histograms show what was counted, in the text format', async () => {
  const metrics = createMetrics();
  const requests = metrics.counter('selvedge_test_total', 'requests', ['source', 'code']);
  const web = requests.cell({ source: 'web', code: '2xx' });
  web.value += 2;
  requests.cell({ source: 'web', code: '2xx' }).value += 1;
  requests.cell({ source: 'api', code: '5xx' }).value += 1;
  metrics.gauge('selvedge_test_gauge', 'now', ['service'], () => [[{ service: 'db' }, 7]]);
  let known: number | undefined;
  metrics.gauge('selvedge_test_unlabelled', 'now, if it is known', [], () =>
    known === undefined ? [] : [[{}, known]],
  );
  assert.doesNotMatch((await metrics.exposition()).text, /^selvedge_test_unlabelled /m);
  known = 3;
  const durations = metrics
    .histogram('selvedge_test_seconds', 'how long', ['source'], [0.1, 1])
    .cell({ source: 'web' });
  for (const seconds of [0.05, 0.1, 0.5, 5]) durations.observe(seconds);
  const { text, contentType } = await metrics.exposition();
  assert.match(contentType, /^text\/plain/);
  for (const line of [
    'selvedge_test_total{source="web",code="2xx"} 3',
    'selvedge_test_total{source="api",code="5xx"} 1',
    'selvedge_test_gauge{service="db"} 7',
    'selvedge_test_unlabelled 3',
    'selvedge_test_seconds_bucket{source="web",le="0.1"} 2',
    'selvedge_test_seconds_bucket{source="web",le="1"} 3',
    'selvedge_test_seconds_bucket{source="web",le="+Inf"} 4',
    'selvedge_test_seconds_sum{source="web"} 5.65',
    'selvedge_test_seconds_count{source="web"} 4',
    '# TYPE selvedge_test_seconds histogram',
  ]) {
    assert.ok(text.split('\n').includes(line), `${line} is missing in\n${text}`);
  }
});
