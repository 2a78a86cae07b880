import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '#policies/spiffe-id.ts';
import type { FeedEndpoint } from '#policies/wire/feed.ts';
import { endpointFlaw } from './endpoint-flaw.ts';

const good: FeedEndpoint = {
  id: 'n/db',
  node: 'n',
  address: '10.0.0.5',
  port: 21000,
  spiffeId: 'spiffe://mesh.test/ns/default/dc/dc2/svc/db',
  status: 'passing',
  weight: 1,
};
const cases: [name: string, change: Partial<FeedEndpoint>, flaw: RegExp | undefined][] = [
  ['an instance of the upstream, in any datacenter', {}, undefined],
  ['by IPv6', { address: 'fd00::1' }, undefined],
  ['of another service', { spiffeId: 'spiffe://mesh.test/ns/default/dc/dc1/svc/evil' }, /not the identity of db/],
  ['of another trust domain', { spiffeId: 'spiffe://evil.test/ns/default/dc/dc1/svc/db' }, /not the identity of db/],
  ['of another namespace', { spiffeId: 'spiffe://mesh.test/ns/other/dc/dc1/svc/db' }, /not the identity of db/],
  ['with no service in its ID', { spiffeId: 'spiffe://mesh.test/db' }, /not the identity of db/],
  ['with no SPIFFE ID at all', { spiffeId: 'https://db' }, /scheme/],
  ['by host name', { address: 'db.internal' }, /no IP address/],
  ['without a port', { port: 0 }, /port/],
];
for (const [name, change, flaw] of cases) {
  test(name, () => {
    const found = endpointFlaw({ ...good, ...change }, 'db', parseTrustDomain('mesh.test'));
    if (flaw === undefined) assert.equal(found, undefined);
    else assert.match(found ?? 'no flaw', flaw);
  });
}
