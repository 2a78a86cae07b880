import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { resolveProbeHost } from '#runtime/probe-address.ts';
import { parseHostPort } from './host-port.ts';
import { clip } from './probe.ts';

const running = new AbortController().signal;

describe('where a probe may connect', () => {
  it('goes to no link-local or metadata address, however it is written', async () => {
    for (const host of [
      '169.254.169.254',
      '169.254.170.2',
      new URL('http://2852039166/').hostname,
      new URL('http://0xa9.0xfe.1.1/').hostname,
      '::ffff:169.254.169.254',
      '::ffff:a9fe:a9fe',
      '::a9fe:a9fe',
      '64:ff9b::a9fe:a9fe',
      '2002:a9fe:a9fe::1',
      'fe80::1',
      'fe80::1%eth0',
      'febf::1',
      'fd00:ec2::254',
      'fd00:0ec2:0:0::254',
      'fd20:ce::254',
      '168.63.129.16',
      '100.100.100.200',
      '192.0.0.192',
    ]) {
      await assert.rejects(resolveProbeHost(host, running), /link-local or metadata/, host);
    }
    assert.deepEqual(await resolveProbeHost('127.0.0.1', running), { address: '127.0.0.1', family: 4 });
    assert.deepEqual(await resolveProbeHost('fd00::1', running), { address: 'fd00::1', family: 6 });
  });

  it('judges what a name resolves to, and stops when told to', async () => {
    const { address } = await resolveProbeHost('localhost', running);
    assert.match(address, /^(127\.0\.0\.1|::1)$/);
    await assert.rejects(resolveProbeHost('localhost', AbortSignal.abort(new Error('stopped'))), /stopped/);
  });

  for (const [text, expected] of [
    ['127.0.0.1:80', { host: '127.0.0.1', port: 80 }],
    ['db.internal:5432', { host: 'db.internal', port: 5432 }],
    ['[::1]:53', { host: '::1', port: 53 }],
    ['db', undefined],
    ['db:', undefined],
    [':80', undefined],
    ['db:65536', undefined],
    ['db:80/path', undefined],
    ['user@db:80', undefined],
    ['http://db:80', undefined],
    ['::1:80', undefined],
    ['', undefined],
  ] as const) {
    it(`reads ${JSON.stringify(text)}`, () => assert.deepEqual(parseHostPort(text), expected));
  }

  it('cuts output at whole characters', () => {
    assert.equal(clip('aé', 2), 'a');
    assert.equal(clip('aé', 3), 'aé');
  });
});
