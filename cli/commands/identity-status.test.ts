import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IdentityStatus } from '#policies/wire/identity-api.ts';
import { statusRow } from './identity-status.ts';

const status: IdentityStatus = {
  trustDomain: 'mesh.test',
  datacenter: 'dc1',
  backend: { kind: 'embedded', healthy: true },
  rootPins: ['sha256:aa', 'sha256:bb'],
  bundleSequence: 7,
  svidTtlSeconds: 14_400,
  issued: 12,
  refused: 1,
  issuedLastMinute: 3,
  health: 'ok',
  timeToOutageSeconds: 9_060,
  earliestExpiry: '2026-11-30T06:00:00.000Z',
};

test('the table of the status: how long without the CA, the first end, the rate; of Vault its token and what it says, last', () => {
  const row = statusRow(status);
  assert.deepEqual(Object.keys(row).slice(-3), ['lastMinute', 'refused', 'rootPins']);
  assert.deepEqual([row['outage'], row['lastMinute'], row['rootPins']], ['2 h 31 min', 3, 'sha256:aa,sha256:bb']);

  const backend = { kind: 'vault-leaf', healthy: false, reason: 'since …: Vault is sealed' } as const;
  const inTrouble = statusRow({ ...status, backend, health: 'red', timeToOutageSeconds: 42, vaultTokenSeconds: 1_200 });
  assert.deepEqual([inTrouble['backend'], inTrouble['health']], ['vault-leaf', 'red']);
  assert.deepEqual([inTrouble['outage'], inTrouble['vaultToken']], ['42 s', '20 min']);
  assert.equal(Object.keys(inTrouble).at(-1), 'note');
});
