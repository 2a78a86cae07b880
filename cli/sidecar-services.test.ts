import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseSidecarServices } from './sidecar-services.ts';

const good = { service: 'web', listen: '127.0.0.1:21000' };

describe('services of an edge proxy', () => {
  test('are read with their defaults', () => {
    const [web, db] = parseSidecarServices([
      { ...good, upstreams: { db: '127.0.0.1:5000' } },
      {
        service: 'db',
        'service-id': 'db-1',
        'service-tag': ['blue'],
        'service-meta': { version: '2' },
        local: '127.0.0.1:5432',
        listen: '127.0.0.1:21001',
        advertise: '10.0.0.5:21001',
      },
    ]);
    assert.deepEqual(web, {
      service: 'web',
      serviceId: 'web',
      tags: [],
      meta: {},
      local: undefined,
      listen: { host: '127.0.0.1', port: 21000 },
      advertise: undefined,
      httpProxyAddr: undefined,
      meshListeners: false,
      workloadApiSocket: undefined,
      upstreams: [{ service: 'db', address: { host: '127.0.0.1', port: 5000 } }],
    });
    assert.equal(db?.serviceId, 'db-1');
    assert.deepEqual([db.tags, db.meta], [['blue'], { version: '2' }]);
    assert.deepEqual(db?.advertise, { host: '10.0.0.5', port: 21001 });
  });

  const refused: [name: string, value: unknown, text: RegExp][] = [
    ['no list', 'web', /services/],
    ['an empty list', [], /services/],
    ['an unknown key', [{ ...good, lsten: 'x' }], /services\.0: .*lsten/],
    ['a bad address', [{ ...good, local: 'here' }], /services\.0\.local: "here" is not an address/],
    ['a bad name', [{ ...good, service: 'a b' }], /services\.0\.service/],
    ['a bad upstream', [{ ...good, upstreams: { db: 'x' } }], /services\.0\.upstreams\.db/],
    ['one service twice', [good, good], /web stands there twice/],
  ];
  for (const [name, value, text] of refused) {
    test(`refuse ${name}`, () => assert.throws(() => parseSidecarServices(value), { code: 'SLV-1002', message: text }));
  }
});
