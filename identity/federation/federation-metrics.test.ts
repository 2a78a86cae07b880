import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '#policies/spiffe-id.ts';
import { createMetrics } from '#runtime/metrics.ts';
import { makeCa } from '#test/mini-ca.ts';
import { registerFederationMetrics } from './federation-metrics.ts';
import type { HeldBundle, Relationship } from './relationship.ts';

const nowMs = Date.UTC(2026, 10, 23);

function relationship(name: string, held: HeldBundle): Relationship {
  const trustDomain = parseTrustDomain(name);
  return { trustDomain, url: `https://${name}/`, profile: { kind: 'https_web' }, createdAtMs: nowMs - 90_000, held };
}

test('each trust domain shows when its bundle was fetched, which it is, how old, and whether fetching fails', async () => {
  const bundle = { ...makeCa('a.test').bundle, sequence: 7 };
  const list: Relationship[] = [
    relationship('a.test', { kind: 'fetched', bundle, fetchedAtMs: nowMs - 30_000 }),
    relationship('b.test', { kind: 'configured', bundle: { ...bundle, sequence: 0 } }),
    relationship('c.test', { kind: 'none' }),
  ];
  const metrics = createMetrics();
  const failureOf = (domain: string) => (domain === 'a.test' ? undefined : { atMs: nowMs, reason: 'refused' });
  registerFederationMetrics(metrics, { relationships: { list }, failureOf }, () => nowMs);
  const shown = async (): Promise<string[]> =>
    (await metrics.exposition()).text
      .split('\n')
      .filter((line) => line.startsWith('selvedge_identity_federation_'))
      .map((line) => line.replace('selvedge_identity_federation_', ''));
  assert.deepEqual(await shown(), [
    `last_fetch_seconds{trust_domain="a.test"} ${nowMs / 1_000 - 30}`,
    'bundle_sequence{trust_domain="a.test"} 7',
    'bundle_sequence{trust_domain="b.test"} 0',
    'bundle_age_seconds{trust_domain="a.test"} 30',
    'bundle_age_seconds{trust_domain="b.test"} 90',
    'failing{trust_domain="a.test"} 0',
    'failing{trust_domain="b.test"} 1',
    'failing{trust_domain="c.test"} 1',
  ]);
  list.splice(0, 3);
  assert.deepEqual(await shown(), [], 'a relationship that ended leaves nothing behind');
});
