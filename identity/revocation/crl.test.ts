import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import type { CaBackend } from '../ca-backend.ts';
import { RunningService } from '../testing/running-service.ts';
import { CrlPublication } from './crl-publication.ts';

/** OpenSSL is the judge: it is what outsiders have. */
describe('the CRL', () => {
  let service: RunningService;
  let folder = '';
  let nowMs = Date.now();
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'selvedge-crl-'));
    service = await RunningService.start({}, { clock: () => nowMs });
  });
  after(async () => {
    await service?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });

  const fetched = async (): Promise<string> => {
    const { status, headers, body } = await service.ask('/v1/identity/crl.pem');
    assert.deepEqual([status, headers['content-type']], [200, 'application/x-pem-file']);
    return String(body['text']);
  };
  const shown = async (): Promise<string> =>
    execFileSync('openssl', ['crl', '-noout', '-text'], { input: await fetched(), encoding: 'utf8' });
  const numberOf = (text: string): bigint => {
    const found = /CRL Number:\s+(0x[0-9A-F]+|\d+)/i.exec(text)?.[1];
    return BigInt(found ?? -1);
  };

  /** What `openssl verify -crl_check` says of an SVID. */
  async function judged(chain: string): Promise<string> {
    const [leaf = '', issuing = ''] = chain.split(/(?<=-----END CERTIFICATE-----\n)/);
    const files = { leaf, issuing, crl: await fetched() };
    for (const [name, pem] of Object.entries(files)) await writeFile(join(folder, name), pem);
    const at = (name: string): string => join(folder, name);
    const args = ['verify', '-crl_check', '-CAfile', join(service.folder, 'ca.pem'), '-untrusted', at('issuing')];
    const { stdout, stderr } = spawnSync('openssl', [...args, '-CRLfile', at('crl'), at('leaf')], { encoding: 'utf8' });
    return stdout + stderr;
  }

  test('with nothing revoked is empty, signed, and has all that RFC 5280 asks of it', async () => {
    const text = await shown();
    assert.match(text, /Version 2/);
    assert.match(text, /No Revoked Certificates/);
    assert.match(text, /X509v3 Authority Key Identifier/);
    assert.match(text, /X509v3 Issuing Distribution Point: critical\s+Only User Certificates/);
    assert.match(text, /Last Update: .*GMT\s+Next Update: .*GMT/);
    const der = await service.ask('/v1/identity/crl');
    assert.deepEqual([der.status, der.headers['content-type']], [200, 'application/pkix-crl']);
  });

  test('makes OpenSSL refuse what was revoked by serial, by SPIFFE ID and with its node, and nothing else', async () => {
    const node = await service.node('web', 'db', 'api');
    const lost = await service.node('web');
    const [kept, bySerial, byId, byNode] = [
      (await service.svid(node, 'web')).issued,
      (await service.svid(node, 'web')).issued,
      (await service.svid(node, 'db')).issued,
      (await service.svid(lost, 'web')).issued,
    ];
    for (const { chain } of [kept, bySerial, byId, byNode]) assert.match(await judged(chain), /: OK/);
    const revoke = (body: object) => service.operate('/v1/identity/revocations', { body });
    await revoke({ serial: bySerial.serial });
    await revoke({ spiffeId: byId.spiffeId });
    await revoke({ node: lost.nodeId });
    for (const { chain } of [bySerial, byId, byNode]) assert.match(await judged(chain), /certificate revoked/);
    assert.match(await judged(kept.chain), /: OK/);
    const text = await shown();
    assert.equal(text.match(/Serial Number/g)?.length, 3);
    assert.equal(text.match(/Privilege Withdrawn/g)?.length, 2, 'of a serial no reason is given');
  });

  test('is the same until something changes or an hour is over; its number only grows, over a restart too', async () => {
    const first = await fetched();
    assert.equal(await fetched(), first);
    const numbers = [numberOf(await shown())];
    await service.operate('/v1/identity/revocations', { body: { serial: 'abcd' } });
    numbers.push(numberOf(await shown()));
    nowMs += 3_600_000;
    numbers.push(numberOf(await shown()));
    nowMs -= 60_000;
    numbers.push(numberOf(await shown()));
    nowMs += 120_000;
    await service.restart();
    numbers.push(numberOf(await shown()));
    assert.deepEqual(
      numbers,
      numbers.toSorted((a, b) => (a < b ? -1 : 1)),
    );
    assert.equal(new Set(numbers).size, numbers.length);
  });
});

test('where Vault signs each certificate there is none, and the error says what to do', async () => {
  const parts = { backend: { kind: 'vault-leaf' } as CaBackend } as ConstructorParameters<typeof CrlPublication>[0];
  await assert.rejects(new CrlPublication(parts).current(), (error) => isMeshError(error, 'SLV-2172'));
});
