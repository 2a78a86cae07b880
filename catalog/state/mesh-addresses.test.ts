import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from './indexed.ts';
import { MeshAddresses } from './mesh-addresses.ts';

const stored = (key: string, record: unknown) => ({
  key,
  value: encode(record),
  createRevision: 1,
  modRevision: 1,
  version: 1,
});

test('an address lies in 127.64.0.0/10, is the same for whoever looks, and is given once', () => {
  const [one, other] = [new MeshAddresses(), new MeshAddresses()];
  const taken = new Set<string>();
  for (let index = 0; index < 2_000; index++) {
    const service = `service-${index}`;
    const { key, record } = one.freeFor(service);
    assert.deepEqual(other.freeFor(service), { key, record });
    assert.match(record.Address, /^127\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.\d{1,3}\.\d{1,3}$/);
    assert.ok(!taken.has(record.Address), record.Address);
    taken.add(record.Address);
    for (const addresses of [one, other]) addresses.put(stored(key, record));
  }
  assert.equal(one.of('service-7')?.Service, 'service-7');
});

test('where the place is taken, the next one', () => {
  const addresses = new MeshAddresses();
  const first = addresses.freeFor('web');
  addresses.put(stored(first.key, { ...first.record, Service: 'other' }));
  const second = addresses.freeFor('web');
  assert.notEqual(second.key, first.key);
  const [a, b] = [first, second].map(({ record }) =>
    Buffer.from(record.Address.split('.').map(Number)).readUInt32BE(0),
  );
  assert.equal((b ?? 0) - (a ?? 0), 1);
});
