import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { parseSpiffeId } from '#policies/spiffe-id.ts';
import { readCertificate } from '#policies/svid-leaf.ts';
import { createLogger } from '#runtime/logging.ts';
import { certificatesOfPem } from '#runtime/svid/pem.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { waitFor } from '#test/wait-for.ts';
import { type Answer, RunningService } from '../testing/running-service.ts';
import { Revocations } from './revocations.ts';

const web = 'spiffe://mesh.test/ns/default/dc/dc1/svc/web';
const codeOf = ({ status, body }: Answer): string => `${status} ${String(body['code'] ?? '')}`.trim();

describe('revocations in the store', () => {
  test('one of a certificate goes two minutes after its end, one without a known end and one of a SPIFFE ID stay', async () => {
    let nowMs = 1_000_000;
    const log = createLogger({ process: 'test', level: 'silent' });
    await using store = await openSqliteStore({ path: undefined, clock: () => nowMs, log });
    const revocations = new Revocations(store, () => nowMs);
    await revocations.add({ kind: 'serial', serial: '0a', notAfterMs: 2_000_000 }, 'lost');
    nowMs += 1;
    await revocations.add({ kind: 'serial', serial: '0b', notAfterMs: undefined }, undefined);
    nowMs += 1;
    const id = { kind: 'spiffe-id', spiffeId: parseSpiffeId(web) } as const;
    const first = await revocations.add(id, undefined);
    nowMs += 1;
    assert.deepEqual(await revocations.add(id, 'again'), first, 'once is enough');
    const kinds = async (): Promise<string[]> => (await revocations.list()).map(({ id }) => id.split('-')[0] ?? '');
    assert.deepEqual(await kinds(), ['serial', 'serial', 'id']);
    nowMs = 2_120_000;
    assert.equal((await revocations.list()).length, 3);
    nowMs += 1;
    assert.deepEqual(await kinds(), ['serial', 'id']);
    await revocations.prune();
    assert.equal((await store.range('identity/revocations/')).kvs.length, 3, 'the clock may be wrong');
    nowMs -= 1;
    assert.equal((await revocations.list()).length, 3, 'and right again');
    nowMs += 30 * 86_400_000 + 1;
    await revocations.prune();
    assert.equal((await store.range('identity/revocations/')).kvs.length, 2);
    for (const unknown of ['', 'serial-0c', '../x', 'serial-', 'id-zz'])
      await assert.rejects(revocations.delete(unknown), (error) => isMeshError(error, 'SLV-2171'));
    await revocations.delete('serial-0b');
    assert.deepEqual(await kinds(), ['id']);
  });
});

describe('revocations over the API', () => {
  let service: RunningService;
  before(async () => {
    service = await RunningService.start();
  });
  after(() => service?.[Symbol.asyncDispose]());
  const revoke = (body: object) => service.operate('/v1/identity/revocations', { body });

  const refused: readonly [what: string, body: object, status: string][] = [
    ['nothing', {}, '400 SLV-1009'],
    ['two things', { serial: '0a', node: 'x' }, '400 SLV-1009'],
    ['a serial that is none', { serial: 'xyz' }, '400 SLV-1009'],
    ['a serial of half a byte', { serial: 'abc' }, '400 SLV-1009'],
    ['a SPIFFE ID that is none', { spiffeId: 'web' }, '400 SLV-5001'],
    ['a SPIFFE ID of another trust domain', { spiffeId: 'spiffe://other.test/x' }, '400 SLV-1009'],
    ['the trust domain', { spiffeId: 'spiffe://mesh.test' }, '400 SLV-1009'],
    ['itself', { spiffeId: 'spiffe://mesh.test/ns/default/dc/dc1/svc/selvedge-identity' }, '403 SLV-2002'],
    ['a node that is not there', { node: '0'.repeat(32) }, '404 SLV-2170'],
  ];
  for (const [what, body, status] of refused) {
    test(`${what} is not revoked: ${status}`, async () => assert.equal(codeOf(await revoke(body)), status));
  }

  test('the CA that signs now is not revoked, but that before it is', async () => {
    const signer = async (): Promise<string> => {
      const { issued } = await service.svid(await service.node('web'), 'web');
      return readCertificate(certificatesOfPem(issued.chain)[1] ?? assert.fail()).serialHex;
    };
    const first = await signer();
    assert.equal(codeOf(await revoke({ serial: first.toUpperCase() })), '403 SLV-2002');
    await service.operate('/v1/identity/rotation/taint', { method: 'POST', body: {} });
    await waitFor(
      'the next CA to sign for the service itself, too',
      async () => (await revoke({ serial: first })).status === 200,
      10_000,
    );
    assert.notEqual(await signer(), first);
    const { body } = await service.ask('/v1/identity/bundle/signed');
    assert.ok(await service.trust?.acceptSigned(String(body['jws'])), 'what it signs is believed');
  });

  test('are for operators only', async () => {
    assert.equal(codeOf(await service.ask('/v1/identity/revocations')), '401 SLV-2001');
    assert.equal(codeOf(await service.ask('/v1/identity/revocations', { body: { serial: '0a' } })), '401 SLV-2001');
  });

  test('of a SPIFFE ID: the bundle says so, nothing is issued for it, by key or by SVID, until it is taken back', async () => {
    const node = await service.node('web');
    const { svid } = await service.svid(node, 'web');
    const sequence = service.trust?.sequence ?? 0;
    const { body } = await revoke({ spiffeId: web, reason: 'a drill' });
    const signed = await service.ask('/v1/identity/bundle/signed');
    assert.ok(await service.trust?.acceptSigned(String(signed.body['jws'])));
    assert.ok((service.trust?.sequence ?? 0) > sequence);
    assert.ok(service.trust?.isRevoked(svid.serialHex, svid.spiffeId));
    assert.equal(codeOf(await service.issue(node, { service: 'web' })), '403 SLV-2123');
    await assert.rejects(service.issue(node, { service: 'web' }, { svid }), 'its SVID opens no door');
    const { status } = await service.operate(`/v1/identity/revocations/${String(body['id'])}`, { method: 'DELETE' });
    assert.equal(status, 204);
    assert.equal(codeOf(await service.issue(node, { service: 'web' })), '200');
    assert.match(await service.auditLog(), /"event":"revoked".*"reason":"a drill"[\s\S]*"event":"revocation-deleted"/);
  });

  test('of a serial, in whatever way it is written: that SVID is refused, another is issued', async () => {
    const node = await service.node('web');
    const { svid } = await service.svid(node, 'web');
    const spelled = svid.serialHex.toUpperCase().replace(/..(?!$)/g, '$&:');
    const { body } = await revoke({ serial: spelled });
    assert.equal(body['what'], svid.serialHex);
    assert.equal(Date.parse(String(body['until'])), svid.notAfterMs);
    await assert.rejects(service.ask('/v1/identity/svids', { body: { service: 'web', csr: 'x' }, svid }));
    assert.equal(codeOf(await service.issue(node, { service: 'web' })), '200');
  });

  test('whoever waits for the bundle hears of it at once, and not before', async () => {
    const { body } = await service.ask('/v1/identity/bundle');
    const sequence = Number(body['spiffe_sequence']);
    let answered = false;
    const waiting = service.ask(`/v1/identity/bundle/signed?sequence=${sequence}&wait=9`).then((answer) => {
      answered = true;
      return answer;
    });
    assert.equal((await service.ask(`/v1/identity/bundle/signed?sequence=${sequence - 1}&wait=9`)).status, 200);
    assert.equal(answered, false);
    await revoke({ serial: '0a0b' });
    assert.equal((await waiting).status, 200);
    assert.equal(codeOf(await service.ask('/v1/identity/bundle/signed?wait=61')), '400 SLV-1009');
  });
});
