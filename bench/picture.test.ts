import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pictureOf } from './picture.ts';
import type { Row } from './report.ts';

const row = (subject: string, metric: string, value: number, ratioToBest: number | null = null): Row => ({
  suite: 'proxy',
  case: 'http',
  subject,
  metric,
  unit: metric,
  value,
  ratioToBest,
});

test('the bars of a case are as long as their values are large, and ours shows its ratio', () => {
  const rows = [row('selvedge', 'requests/s', 300, 1.5), row('other', 'requests/s', 200), row('other', 'p99', 3)];
  const svg = pictureOf(rows, ['requests/s'], 'a <caption>');
  const lengths = [...svg.matchAll(/<rect x="190"[^>]* width="([\d.]+)"/g)].map(([, length]) => Number(length));
  assert.equal(lengths.length, 2);
  assert.ok(Math.abs((lengths[0] ?? 0) / (lengths[1] ?? 1) - 1.5) < 0.01);
  assert.match(svg, /300 \(x1\.50\)/);
  assert.match(svg, /a &lt;caption&gt;/);
});

test('a case without the metric is not drawn', () => {
  assert.doesNotMatch(pictureOf([row('selvedge', 'p99', 3, 1)], ['requests/s'], 'c'), /p99/);
});
