import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultResiliencePolicy } from '#policies/resilience.ts';
import type { FeedEndpoint, Locality } from '#policies/wire/feed-routing.ts';
import type { TargetView } from '../view/service-view.ts';
import { nearestFirst } from './nearest-first.ts';

const at = (id: string, region?: string, zone = ''): FeedEndpoint => ({
  id,
  node: 'n',
  address: '10.0.0.1',
  port: 1,
  spiffeId: 'spiffe://mesh.test/ns/default/dc/dc1/svc/db',
  status: 'passing',
  weight: 1,
  ...(region === undefined ? {} : { locality: { region, zone } }),
});
const target = (endpoints: readonly FeedEndpoint[], byLocality = true): TargetView => ({
  name: 'db',
  service: 'db',
  endpoints,
  resilience: defaultResiliencePolicy,
  byLocality,
});
const all = [at('far', 'us', 'a'), at('near', 'eu', 'b'), at('here', 'eu', 'a'), at('unknown')];
const own: Locality = { region: 'eu', zone: 'a' };

const cases: [name: string, target: TargetView, own: Locality | undefined, expected: Record<string, string[]>][] = [
  [
    'zone, region, the rest',
    target(all),
    own,
    { 'db~zone': ['here'], 'db~region': ['near'], 'db~elsewhere': ['far', 'unknown'] },
  ],
  ['a group without instances is none', target(all.slice(0, 1)), own, { 'db~elsewhere': ['far'] }],
  [
    'without a zone of our own the region is nearest',
    target(all),
    { region: 'eu', zone: '' },
    { 'db~region': ['near', 'here'], 'db~elsewhere': ['far', 'unknown'] },
  ],
  [
    'zones of another region are others',
    target(all),
    { region: 'asia', zone: 'a' },
    { 'db~elsewhere': ['far', 'near', 'here', 'unknown'] },
  ],
  ['nobody said where we are', target(all), undefined, { db: all.map(({ id }) => id) }],
  ['nobody asked for it', target(all, false), own, { db: all.map(({ id }) => id) }],
  ['nobody is there', target([]), own, { db: [] }],
];
for (const [name, given, where, expected] of cases) {
  test(name, () => {
    const parts = nearestFirst(given, where).map((part) => [part.name, part.endpoints.map(({ id }) => id)]);
    assert.deepEqual(Object.fromEntries(parts), expected);
  });
}
