import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecentUse } from './recent-use.ts';

const minute = 60_000;

test('an hour is remembered, in slices, within bounds', () => {
  let now = 1_700_000_000_000;
  const use = new RecentUse(() => now);
  const call = (template: string, allowed: number) => ({
    source: 'web',
    method: 'GET',
    template,
    example: template,
    allowed,
    denied: 1,
    observed: 0,
  });
  use.take({ service: 'db', calls: [call('/a', 1), call('/b', 1)], missed: 2 });
  now += 30 * minute;
  use.take({ service: 'db', calls: [call('/a', 5)], missed: 0 });
  const shown = () => use.of('db').map(({ template, allowed, denied }) => `${template} ${allowed} ${denied}`);
  assert.deepEqual([shown(), use.missed('db')], [['/a 6 2', '/b 1 1'], 2]);
  now += 36 * minute;
  assert.deepEqual([shown(), use.missed('db')], [['/a 5 1'], 0]);
  assert.deepEqual(use.of('db', 'api'), []);
  now -= 2 * 60 * minute; // the clock was set back
  assert.deepEqual([shown(), use.destinations()], [[], []]);
  for (let path = 0; path < 2_100; path++) use.take({ service: 'db', calls: [call(`/${path}`, 1)], missed: 0 });
  assert.equal(use.of('db').length, 2_048);
  assert.equal(use.missed('db'), 2 * (2_100 - 2_048));
});
