import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { inspect } from 'node:util';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { type Bao, findBao, startBao } from '#test/bao.ts';
import { prepareVaultPki, type VaultPki } from '#test/vault-pki.ts';
import { forgeRequest } from '../testing/forge-request.ts';
import { caErrorOf, type VaultFailureKind, vaultFailureKind } from './failure.ts';
import { openVaultTransport, VaultError, type VaultTransport } from './transport.ts';

/*
 * Every class of error of the reference (identity.md 3.6), as a real server gives it: status, what it says, what we make of it. What the backends then do
 * about each kind is tested beside them.
 */

const { skip } = await findBao();

describe('errors of a real bao', { skip }, () => {
  let bao: Bao;
  let pki: VaultPki;
  let transport: VaultTransport;
  before(async () => {
    bao = await startBao();
    pki = await prepareVaultPki(bao, { trustDomain: 'mesh.test' });
    transport = openVaultTransport({ address: bao.address, timeoutMs: 20_000 });
  });
  after(async () => {
    transport?.close();
    await bao?.[Symbol.asyncDispose]();
  });

  const id = 'spiffe://mesh.test/ns/default/dc/dc1/svc/web';
  const sign = (
    body: object = {},
    token: string | undefined = bao.rootToken,
    path = 'pki_int/issuer/i1/sign/svid',
    by = transport,
  ) =>
    by.write(path, { csr: forgeRequest(), uri_sans: id, ttl: '600s', ...body }, token === undefined ? {} : { token });
  const failure = async (tried: Promise<unknown>): Promise<VaultError> => {
    const error = await tried.then(
      () => assert.fail('did not fail'),
      (each: unknown) => each,
    );
    assert.ok(error instanceof VaultError, inspect(error));
    return error;
  };
  const expect = async (
    tried: Promise<unknown>,
    status: number | undefined,
    kind: VaultFailureKind,
    says: RegExp,
  ): Promise<void> => {
    const error = await failure(tried);
    assert.deepEqual([error.status, vaultFailureKind(error)], [status, kind], error.message);
    assert.match(error.message, says);
    const shown = caErrorOf(error, 'sign');
    assert.ok(isMeshError(shown, kind === 'transient' ? 'SLV-2140' : 'SLV-2141'));
  };

  const ofTheRequest: readonly [what: string, call: () => Promise<unknown>, status: number, says: RegExp][] = [
    ['a garbage request', () => sign({ csr: 'garbage' }), 400, /csr/],
    ['an empty request', () => sign({ csr: '' }), 400, /"csr" is empty/],
    ['an ID of another trust domain', () => sign({ uri_sans: 'spiffe://evil.test/a' }), 400, /not valid for this role/],
    ['a life beyond what the role allows', () => sign({ not_after: '2040-01-01T00:00:00Z' }), 400, /not_?after|bound/i],
    ['a role that is not', () => sign({}, bao.rootToken, 'pki_int/issuer/i1/sign/nope'), 400, /unknown role: nope/],
    ['an issuer that is not', () => sign({}, bao.rootToken, 'pki_int/issuer/nope/sign/svid'), 500, /unable to find/],
    ['a mount that is not', () => sign({}, bao.rootToken, 'pki_nope/sign/svid'), 404, /no handler for route/],
    ['a method that is not', () => transport.read('pki_int/sign/svid', { token: bao.rootToken }), 405, /unsupported/],
  ];
  for (const [what, call, status, says] of ofTheRequest) {
    test(`${what}: ${status}, not to be tried again as it is`, () =>
      expect(call(), status, status === 500 ? 'internal' : 'permanent', says));
  }

  test('beyond the life of the issuing CA: permanent', async () => {
    await bao.must('POST', 'pki_int/roles/long', {
      ...(await bao.must('GET', 'pki_int/roles/svid')),
      max_ttl: '9000h',
      not_after_bound: 'permit',
    });
    await bao.must('POST', 'sys/mounts/pki_int/tune', { max_lease_ttl: '90000h' });
    const far = sign({ ttl: '8999h' }, bao.rootToken, 'pki_int/issuer/i1/sign/long');
    await expect(far, 400, 'permanent', /beyond the expiration of the CA/);
  });

  test('no token, a made-up one, a revoked one, one whose policy says no: denied, all alike but for a line feed', async () => {
    await expect(sign({}, 'bogus'), 403, 'denied', /permission denied/);
    const token = await pki.token();
    await expect(sign({}, token, 'pki_int/sign-verbatim'), 403, 'denied', /1 error occurred: \* permission denied/);
    await bao.must('POST', 'auth/token/revoke', { token });
    await expect(sign({}, token), 403, 'denied', /permission denied/);
  });

  test('over a quota: transient', async () => {
    await bao.must('POST', 'sys/quotas/rate-limit/slow', { path: 'pki_int', rate: 1, interval: '60s' });
    try {
      await sign();
      await expect(sign(), 429, 'transient', /rate limit quota exceeded/);
    } finally {
      await bao.call('DELETE', 'sys/quotas/rate-limit/slow');
    }
  });

  test('a policy program (CEL) that refuses answers 500: not transient', async () => {
    const program = { variables: [], expression: '"no, by policy"' };
    await bao.must('POST', 'pki_int/cel/roles/picky', { cel_program: program });
    await expect(sign({}, bao.rootToken, 'pki_int/cel/sign/picky'), 500, 'internal', /policy|CEL|cel/i);
  });

  test('paused, sealed, killed: transient', async () => {
    const hasty = openVaultTransport({ address: bao.address, timeoutMs: 1_000 });
    bao.pause();
    try {
      await expect(sign({}, undefined, undefined, hasty), undefined, 'transient', /did not answer within 1000 ms/);
    } finally {
      bao.resume();
      hasty.close();
    }
    await bao.seal();
    await expect(sign(), 503, 'transient', /Vault is sealed/);
    await expect(transport.read('pki_int/issuer/i1/json'), 503, 'transient', /sealed/);
    await bao.unseal();
    await sign();
    await bao.stop();
    await expect(sign(), undefined, 'transient', /ECONNREFUSED|ECONNRESET|socket/);
  });

  test('a gateway in front that answers in HTML: transient, by its status alone', async () => {
    const gateway = createServer((_request, response) => response.writeHead(502).end('<html>Bad Gateway</html>'));
    await new Promise<void>((resolve) => gateway.listen(0, '127.0.0.1', resolve));
    const through = openVaultTransport({
      address: `http://127.0.0.1:${(gateway.address() as AddressInfo).port}`,
      timeoutMs: 20_000,
    });
    await expect(through.write('pki_int/issuer/i1/sign/svid', {}), 502, 'transient', /answered 502$/);
    through.close();
    gateway.closeAllConnections();
    gateway.close();
  });
});
