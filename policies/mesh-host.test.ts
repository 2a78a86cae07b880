import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serviceOfHost } from './mesh-host.ts';

test('a host means a service, or it is none of the mesh', () => {
  for (const [host, service] of [
    ['db', 'db'],
    ['DB:8080', 'db'],
    ['db.mesh', 'db'],
    ['db.mesh.', 'db'],
    ['a.b.mesh:443', 'a.b'],
    ['db.service.consul', 'db'],
    ['db.service.DC1.consul', 'db'],
    ['db.service.dc1.dc.consul', 'db'],
    ['db.connect.consul', 'db'],
    ['a.b.virtual.consul', 'a.b'],
    ['service.service.consul', 'service'],
    ['db.service.dc2.consul', undefined],
    ['db.service.dc2.dc.consul', undefined],
    ['primary.db.service.consul', undefined],
    ['_db._tcp.service.consul', undefined],
    ['db.node.consul', undefined],
    ['service.consul', undefined],
    ['consul', 'consul'],
    ['.mesh', undefined],
    ['-.mesh', undefined],
    ['db..mesh', undefined],
    ['localhost:3000', undefined],
    ['example.com', undefined],
    ['db.mesh.example.com', undefined],
    ['127.0.0.1:80', undefined],
    ['1', undefined],
    ['[::1]:80', undefined],
    ['', undefined],
  ] as const) {
    assert.equal(serviceOfHost(host, 'dc1'), service, host);
  }
});
