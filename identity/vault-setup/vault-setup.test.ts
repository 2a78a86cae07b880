import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { inspect } from 'node:util';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { type Bao, findBao, startBao } from '#test/bao.ts';
import { testPlan } from '#test/vault-pki.ts';
import { parseDnsNameRule } from '../dns-name-rule.ts';
import { openVaultTransport, type VaultTransport } from '../vault/transport.ts';
import type { SetupPlan } from './setup-plan.ts';
import { runVaultSetup, type SetupReport, setupCalls } from './vault-setup.ts';

const { skip } = await findBao();
const vaultSays =
  (says: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(isMeshError(error, 'SLV-2146'), inspect(error));
    assert.match(error.message, says);
    return true;
  };

describe('vault-setup on a real bao', { skip }, () => {
  let bao: Bao;
  let folder = '';
  let transport: VaultTransport;
  before(async () => {
    bao = await startBao();
    folder = await mkdtemp(join(tmpdir(), 'selvedge-setup-'));
    transport = openVaultTransport({ address: bao.address, timeoutMs: 10_000 });
  });
  after(async () => {
    transport?.close();
    await bao?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });
  const admin = () => ({ transport, token: bao.rootToken });
  const run = (plan: SetupPlan, files = {}): Promise<SetupReport> =>
    runVaultSetup(admin(), plan, { files, clock: Date.now });
  const outcomes = (report: SetupReport): string[] => [...new Set(report.results.map(({ outcome }) => outcome))];
  /** Names of its own for each test, on one server. */
  const planOf = (mode: SetupPlan['mode'], tag: string): SetupPlan => ({
    ...testPlan(mode, 'mesh.test'),
    rootMount: `${tag}_root`,
    mount: `${tag}_int`,
    approleMount: `${tag}_approle`,
    policy: `${tag}-policy`,
  });

  for (const mode of ['vault-leaf', 'vault-intermediate'] as const) {
    test(`${mode}: prepares and proves; a second run changes nothing; the dry run shows the very calls`, async () => {
      const plan = planOf(mode, mode);
      const files = {
        roleIdFile: join(folder, `${mode}.role-id`),
        secretIdFile: join(folder, `${mode}.secret-id`),
        wrappedSecretIdFile: join(folder, `${mode}.wrapped`),
        rootsFile: join(folder, `${mode}.roots`),
      };
      const dry = await setupCalls(admin(), plan);
      assert.deepEqual(dry, await setupCalls(undefined, plan));
      assert.equal(dry.length, mode === 'vault-leaf' ? 12 : 5);
      assert.equal((await bao.call('GET', `sys/mounts/${plan.rootMount}`)).status, 400, 'nothing was made');

      const first = await run(plan, files);
      assert.deepEqual(outcomes(first), ['made']);
      assert.deepEqual(
        first.results.flatMap(({ notes }) => notes).filter((note) => /stick/.test(note)),
        [],
      );
      assert.match(first.proofs.join('\n'), /may do what is needed[\s\S]*accepted[\s\S]*sign-verbatim was refused/);
      for (const file of [files.roleIdFile, files.secretIdFile, files.wrappedSecretIdFile])
        assert.equal((await stat(file)).mode & 0o777, 0o600);
      assert.equal(await readFile(files.rootsFile, 'utf8'), first.rootPem);

      const contents = await Promise.all(Object.values(files).map((file) => readFile(file, 'utf8')));
      const second = await run(plan, files);
      assert.deepEqual(outcomes(second), ['unchanged']);
      assert.deepEqual(await Promise.all(Object.values(files).map((file) => readFile(file, 'utf8'))), contents);
      assert.deepEqual(await setupCalls(admin(), plan), []);
      const accessors = await bao.must('GET', `auth/${plan.approleMount}/role/${plan.approle}/secret-id?list=true`);
      assert.equal((accessors['keys'] as string[]).length, 2, 'those in the files; those of the proofs are destroyed');
    });
  }

  test('DNS names of the operator are in the role, and signing with them is proven; without them they go out again', async () => {
    const dnsNames = ['web=web.example.com', '{service}.service.consul'].map(parseDnsNameRule);
    const plan = { ...planOf('vault-leaf', 'named'), dnsNames };
    const { proofs } = await run(plan);
    assert.match(proofs.join('\n'), /keys of ec-p256, ec-p384, ed25519, rsa-2048, with 2 DNS names/);
    const role = async () => bao.must('GET', `${plan.mount}/roles/${plan.role}`);
    assert.deepEqual((await role())['allowed_domains'], ['web.example.com', '*.service.consul']);
    const { results } = await run({ ...plan, dnsNames: [] });
    const { outcome, notes } = results.find(({ what }) => what === 'role svid') ?? assert.fail('no role');
    assert.equal(outcome, 'changed');
    assert.match(notes.join(), /allowed_domains is \["web.example.com","\*.service.consul"\], wanted \[\]/);
    assert.deepEqual([(await role())['allowed_domains'], (await role())['allow_glob_domains']], [[], false]);
  });

  for (const mode of ['vault-leaf', 'vault-intermediate'] as const) {
    test(`${mode}: a root that follows another is certified by it; what is in use stays the default; no right is added`, async () => {
      const plan = planOf(mode, `next_${mode}`);
      const before = await run(plan);
      const defaults = async () => [
        await bao.must('GET', `${plan.rootMount}/config/issuers`),
        mode === 'vault-leaf' ? await bao.must('GET', `${plan.mount}/config/issuers`) : undefined,
      ];
      const [issuers, policy] = [await defaults(), await bao.must('GET', `sys/policies/acl/${plan.policy}`)];
      const next = { ...plan, rootIssuer: 'r2', issuer: 'i2', predecessor: plan.rootIssuer };
      const after = await run(next);
      assert.deepEqual(
        after.results.filter(({ outcome }) => outcome === 'made').map(({ what }) => what.split('/').at(-1)),
        ['r2', 'r2 certified by r1', ...(mode === 'vault-leaf' ? ['i2'] : [])],
      );
      assert.match(after.proofs.join('\n'), /accepted, also by who knows only r1/);
      assert.notEqual(after.rootPem, before.rootPem);
      assert.deepEqual([await defaults(), await bao.must('GET', `sys/policies/acl/${plan.policy}`)], [issuers, policy]);
      assert.deepEqual(outcomes(await run(next)), ['unchanged']);
    });
  }

  test('what somebody changed is named and set right', async () => {
    const plan = planOf('vault-leaf', 'drift');
    await run(plan);
    const path = `${plan.mount}/roles/${plan.role}`;
    await bao.must('POST', path, { ...(await bao.must('GET', path)), allow_localhost: true, max_ttl: '800h' });
    const { results } = await run(plan);
    const changed = results.filter(({ outcome }) => outcome !== 'unchanged');
    assert.deepEqual(
      changed.map(({ what, outcome }) => [what, outcome]),
      [['role svid', 'changed']],
    );
    assert.match(changed[0]?.notes.join() ?? '', /allow_localhost is true, wanted false/);
    assert.match(changed[0]?.notes.join() ?? '', /max_ttl is 2880000, wanted 86400/);
  });

  test('an existing mount and root are used as they are; one that can not do is refused', async () => {
    const plan = { ...planOf('vault-leaf', 'corporate'), rootIssuer: 'corp', rootExists: true };
    await assert.rejects(run(plan), vaultSays(/no root corporate_root\/corp/));
    await bao.must('POST', 'sys/mounts/corporate_root', { type: 'pki', config: { max_lease_ttl: '87600h' } });
    const make = (issuer_name: string, more: object) =>
      bao.must('POST', 'corporate_root/root/generate/internal', {
        common_name: `Example ${issuer_name}`,
        issuer_name,
        key_type: 'ec',
        ttl: '87600h',
        ...more,
      });
    await make('corp', {});
    await make('short', { max_path_length: 0 });
    await make('foreign', { uri_sans: 'spiffe://other.test' });
    const { results, rootPem } = await run(plan);
    assert.match(results.flatMap(({ notes }) => notes).join(), /names no trust domain/);
    const own = await run({ ...plan, rootIssuer: 'beside', rootExists: false, mount: 'beside_int' });
    assert.deepEqual(
      own.results.filter(({ what }) => what.startsWith('root')).map(({ outcome }) => outcome),
      ['made'],
    );
    const corp = await bao.must('GET', 'corporate_root/issuer/corp/json');
    assert.equal(rootPem.trim(), String(corp['certificate']).trim());
    await assert.rejects(run({ ...plan, rootIssuer: 'short' }), vaultSays(/path length is 0/));
    await assert.rejects(run({ ...plan, rootIssuer: 'foreign' }), vaultSays(/root of spiffe:\/\/other.test/));
  });

  test('a mount of another kind is in the way', async () => {
    await bao.must('POST', 'sys/mounts/kind_root', { type: 'kv' });
    await assert.rejects(run(planOf('vault-intermediate', 'kind')), vaultSays(/of type kv/));
  });

  test('rights that come from elsewhere are found by the proof', async () => {
    const plan = planOf('vault-intermediate', 'wide');
    await run(plan);
    const approle = `auth/${plan.approleMount}/role/${plan.approle}`;
    const wide = `path "${plan.rootMount}/*" { capabilities = ["update"] }`;
    await bao.must('POST', 'sys/policies/acl/too-wide', { policy: wide });
    await bao.must('POST', approle, { token_policies: [plan.policy, 'too-wide'] });
    const { results } = await run(plan);
    assert.equal(results.find(({ what }) => what === 'AppRole selvedge')?.outcome, 'changed', 'set right');
    // What can't be seen in the AppRole: a policy of the entity behind the login.
    const { data } = (await bao.call('GET', `sys/auth/${plan.approleMount}`)).body as { data: { accessor: string } };
    const entity = await bao.must('POST', 'identity/entity', { name: 'wide', policies: ['too-wide'] });
    const { roleId } = await run(plan);
    const alias = { name: roleId, canonical_id: entity['id'], mount_accessor: data.accessor };
    await bao.must('POST', 'identity/entity-alias', alias);
    await assert.rejects(run(plan), vaultSays(/may update on wide_root\/sign-verbatim, which is too much/));
  });

  test('a token of the administrator that may too little is refused before anything is made', async () => {
    const plan = planOf('vault-leaf', 'rights');
    const reading =
      'path "*" { capabilities = ["read"] }\npath "sys/auth/*" { capabilities = ["read", "sudo"] }\npath "sys/capabilities-self" { capabilities = ["update"] }';
    await bao.must('POST', 'sys/policies/acl/reading', { policy: reading });
    const made = await bao.call('POST', 'auth/token/create', { policies: ['reading'] });
    const token = String((made.body['auth'] as Record<string, unknown>)['client_token']);
    const tried = runVaultSetup({ transport, token }, plan, { files: {}, clock: Date.now });
    await assert.rejects(tried, vaultSays(/may not write to sys\/mounts\/rights_root.*sys\/auth\/rights_approle/));
    assert.equal((await bao.call('GET', `sys/mounts/${plan.rootMount}`)).status, 400);
  });

  test('works within a namespace', async () => {
    await bao.must('POST', 'sys/namespaces/team', {});
    const inside = openVaultTransport({ address: bao.address, namespace: 'team', timeoutMs: 10_000 });
    const plan = planOf('vault-intermediate', 'ns');
    const options = { files: { wrappedSecretIdFile: join(folder, 'ns.wrapped') }, clock: Date.now };
    const { proofs } = await runVaultSetup({ transport: inside, token: bao.rootToken }, plan, options);
    assert.equal(proofs.length, 3);
    assert.equal((await bao.call('GET', `sys/mounts/${plan.rootMount}`)).status, 400, 'not outside of it');
    inside.close();
  });
});
