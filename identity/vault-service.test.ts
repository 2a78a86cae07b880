import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { identityStatusSchema } from '#policies/wire/identity-api.ts';
import { type Bao, findBao, startBao } from '#test/bao.ts';
import { prepareVaultPki } from '#test/vault-pki.ts';
import { waitFor } from '#test/wait-for.ts';
import type { VaultLeafConfig } from './backends/vault-leaf.ts';
import { forgeRequest } from './testing/forge-request.ts';
import { type Answer, RunningService } from './testing/running-service.ts';

const { skip } = await findBao();
const codeOf = (answer: Answer): string => `${answer.status} ${String(answer.body['code'] ?? '')}`.trim();

describe('the identity service with Vault as its CA, on a real bao', { skip }, () => {
  let bao: Bao;
  let secrets = '';
  let backend: VaultLeafConfig;
  let service: RunningService;
  before(async () => {
    bao = await startBao();
    const pki = await prepareVaultPki(bao, { trustDomain: 'mesh.test' });
    secrets = await mkdtemp(join(tmpdir(), 'selvedge-vault-'));
    const auth = {
      kind: 'approle',
      mount: pki.approleMount,
      roleIdFile: join(secrets, 'role-id'),
      secretIdFile: join(secrets, 'secret-id'),
    } as const;
    await writeFile(auth.roleIdFile, pki.roleId);
    await writeFile(auth.secretIdFile, await pki.secretId());
    backend = { kind: 'vault-leaf', address: bao.address, mount: pki.mount, role: pki.role, auth };
    service = await RunningService.start({ backend });
  });
  after(async () => {
    await service?.[Symbol.asyncDispose]();
    await bao?.[Symbol.asyncDispose]();
    await rm(secrets, { recursive: true, force: true });
  });

  test('joins and issues as with any CA; no CA key is on disk; the audit log holds the request id of Vault', async () => {
    const node = await service.node('web');
    const { issued } = await service.svid(node, 'web');
    assert.equal(issued.spiffeId, 'spiffe://mesh.test/ns/default/dc/dc1/svc/web');
    await assert.rejects(readFile(join(service.folder, 'ca', 'root.pem')));
    const line = (await service.auditLog()).split('\n').find((each) => each.includes(issued.serial));
    assert.match(line ?? '', /"backend":"vault-leaf","backendRequest":"[0-9a-f-]{36}"/);
    const status = identityStatusSchema.parse((await service.ask('/v1/identity/status')).body);
    assert.deepEqual(
      [status.backend, typeof status.issuingCaNotAfter],
      [{ kind: 'vault-leaf', healthy: true }, 'string'],
    );
    const caPem = await readFile(join(service.folder, 'ca.pem'), 'utf8');
    assert.equal((await bao.must('GET', 'pki_root/issuer/default'))['certificate'], `${caPem.trim()}\n`);
  });

  test('sealed: refuses with 503 and says why, keeps serving what it has, starts anew, and issues once unsealed', async () => {
    const node = await service.node('web');
    const { svid } = await service.svid(node, 'web');
    const { pins } = service.identity;
    await bao.seal();
    const refused = await service.issue(node, { service: 'web' });
    assert.equal(codeOf(refused), '503 SLV-2140');
    assert.match(String(refused.body['detail']), /sealed/);
    assert.equal(JSON.stringify(refused.body).includes('s.'), false, 'no token');
    assert.equal((await service.ask('/readyz')).status, 200, 'the outage budget is whole: nobody lacks anything yet');
    assert.match(JSON.stringify((await service.ask('/v1/identity/status')).body), /"health":"failing"/);
    assert.equal((await service.ask('/livez')).status, 200);
    assert.match(
      JSON.stringify((await service.ask('/v1/identity/status')).body),
      /"healthy":false,"reason":"since .*sealed/,
    );
    assert.equal((await service.ask('/v1/identity/bundle/signed')).status, 200);
    assert.equal((await service.join(await service.joinToken(['web']))).status, 200, 'joining needs no CA');

    await service.restart();
    assert.deepEqual(service.identity.pins, pins);
    assert.equal(codeOf(await service.issue(node, { service: 'web' })), '503 SLV-2140');
    await bao.unseal();
    const renew = () =>
      service.ask('/v1/identity/svids', { body: { service: 'web', csr: forgeRequest() }, svid }).then(codeOf);
    await waitFor('the next login, which waits out its backoff', async () => (await renew()) === '200', 20_000);
    assert.equal((await service.ask('/readyz')).status, 200);
  });

  test('a role that gives something else than asked is noticed before anything leaves', async () => {
    const node = await service.node('web');
    const role = await bao.must('GET', 'pki_int/roles/svid');
    await bao.must('POST', 'pki_int/roles/svid', { ...role, client_flag: false });
    const refused = await service.issue(node, { service: 'web' });
    await bao.must('POST', 'pki_int/roles/svid', role);
    assert.equal(codeOf(refused), '502 SLV-2142');
    assert.equal(refused.body['chain'], undefined);
    assert.match(await service.auditLog(), /"event":"svid-refused".*"code":"SLV-2142"/);
    assert.equal((await service.issue(node, { service: 'web' })).status, 200);
  });

  test('a Vault that was never met and does not answer ends the start', async () => {
    bao.pause();
    await assert.rejects(RunningService.start({ backend: { ...backend, timeoutMs: 200 } }), (error) =>
      isMeshError(error, 'SLV-2140'),
    );
    bao.resume();
  });
});

describe('the identity service with an issuing CA of Vault, on a real bao', { skip }, () => {
  test('Vault is sealed and everything goes on: issuing, renewing, joining, a restart', async () => {
    await using bao = await startBao();
    const pki = await prepareVaultPki(bao, { trustDomain: 'mesh.test', mode: 'vault-intermediate' });
    const secrets = await mkdtemp(join(tmpdir(), 'selvedge-vault-'));
    const auth = { kind: 'token', tokenFile: join(secrets, 'token') } as const;
    await writeFile(auth.tokenFile, await pki.token());
    const { rootMount, rootIssuerRef } = pki;
    const backend = { kind: 'vault-intermediate', address: bao.address, rootMount, rootIssuerRef, auth } as const;
    await using service = await RunningService.start({ backend });
    const node = await service.node('web');
    const { issued } = await service.svid(node, 'web');
    const { vaultTokenSeconds = 0 } = identityStatusSchema.parse((await service.ask('/v1/identity/status')).body);
    assert.ok(vaultTokenSeconds > 3_000 && vaultTokenSeconds <= 3_600, `${vaultTokenSeconds} s, of an hour`);
    await bao.seal();
    await service.restart();
    const later = await service.node('db');
    assert.equal((await service.issue(later, { service: 'db' })).status, 200);
    assert.equal((await service.issue(node, { service: 'web' })).status, 200);
    assert.equal((await service.ask('/readyz')).status, 200);
    const status = identityStatusSchema.parse((await service.ask('/v1/identity/status')).body);
    assert.equal(status.backend.kind, 'vault-intermediate');
    assert.ok(Date.parse(status.issuingCaNotAfter ?? '') > Date.now() + 6 * 86_400_000);
    const line = (await service.auditLog()).split('\n').find((each) => each.includes(issued.serial));
    assert.match(line ?? '', /"backend":"vault-intermediate"/);
    assert.equal(await readFile(join(service.folder, 'ca.pem'), 'utf8'), pki.rootPem);
    await rm(secrets, { recursive: true });
  });
});
