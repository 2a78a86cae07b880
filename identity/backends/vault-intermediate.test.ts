import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { inspect } from 'node:util';
import type { ErrorCode } from '#policies/errors/catalogue.ts';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { parseSpiffeId, parseTrustDomain } from '#policies/spiffe-id.ts';
import { readCertificate } from '#policies/svid-leaf.ts';
import { createLogger } from '#runtime/logging.ts';
import { type ProcessContext, systemContext } from '#runtime/process-context.ts';
import type { Store } from '#store/contract.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { type Bao, findBao, startBao } from '#test/bao.ts';
import { prepareVaultPki, type VaultPki } from '#test/vault-pki.ts';
import { waitFor } from '#test/wait-for.ts';
import type { CaBackend } from '../ca-backend.ts';
import { readCertificateRequest } from '../certificate-request.ts';
import { forgeRequest } from '../testing/forge-request.ts';
import { verifyIssued } from '../verify-issued.ts';
import { makeIssuingCa, makeRoot, requestIssuingCa } from '../x509-authority.ts';
import { caBackendConformance } from './conformance.ts';
import { dueAtMs, openVaultIntermediate, type VaultIntermediateConfig } from './vault-intermediate.ts';
import { verifyIssuingCa } from './verify-issuing-ca.ts';

const { skip } = await findBao();
const trustDomain = parseTrustDomain('mesh.test');
const id = parseSpiffeId('spiffe://mesh.test/ns/default/dc/dc1/svc/web');
const context = systemContext(createLogger({ process: 'test', level: 'silent' }));
const order = { request: await readCertificateRequest(forgeRequest()), spiffeId: id, ttlSeconds: 600 };
const dayMs = 86_400_000;

const code =
  (expected: ErrorCode, says: RegExp = /./) =>
  (error: unknown) => {
    assert.ok(isMeshError(error, expected), inspect(error));
    assert.match(error.message, says);
    return true;
  };

/** The one file with an issuing CA. */
async function issuingCaFile(dataDir: string): Promise<string> {
  const files = (await readdir(join(dataDir, 'ca'))).filter((name) => name.startsWith('vault-issuing-'));
  assert.equal(files.length, 1);
  return join(dataDir, 'ca', files[0] ?? '');
}

/** A server with a root, a data directory and a store; the clock goes as told. */
class Fixture {
  readonly bao: Bao;
  readonly pki: VaultPki;
  readonly folder: string;
  readonly config: VaultIntermediateConfig;
  offsetMs = 0;
  readonly context: ProcessContext = { ...context, clock: () => Date.now() + this.offsetMs };

  constructor(bao: Bao, pki: VaultPki, folder: string) {
    this.bao = bao;
    this.pki = pki;
    this.folder = folder;
    const files = { roleIdFile: join(folder, 'role-id'), secretIdFile: join(folder, 'secret-id') };
    this.config = {
      kind: 'vault-intermediate',
      address: bao.address,
      rootMount: pki.rootMount,
      rootIssuerRef: pki.rootIssuerRef,
      timeoutMs: 10_000,
      auth: { kind: 'approle', mount: pki.approleMount, ...files },
    };
  }

  static async open(): Promise<Fixture> {
    const bao = await startBao();
    const pki = await prepareVaultPki(bao, { trustDomain, mode: 'vault-intermediate' });
    const fixture = new Fixture(bao, pki, await mkdtemp(join(tmpdir(), 'selvedge-vault-')));
    await writeFile(join(fixture.folder, 'role-id'), pki.roleId);
    await writeFile(join(fixture.folder, 'secret-id'), await pki.secretId());
    return fixture;
  }

  /** Runs on a data directory and a store of its own. */
  async run(
    work: (open: (more?: Partial<VaultIntermediateConfig>) => Promise<CaBackend>, dataDir: string) => Promise<void>,
  ) {
    this.offsetMs = 0;
    const dataDir = await mkdtemp(join(this.folder, 'data-'));
    await using store = await memoryStore();
    const opened: CaBackend[] = [];
    try {
      await work(async (more = {}) => {
        const options = { dataDir, trustDomain };
        const backend = await openVaultIntermediate({ ...this.config, ...more }, options, this.context, store);
        opened.push(backend);
        return backend;
      }, dataDir);
    } finally {
      this.bao.resume();
      await Promise.all(opened.map((backend) => backend.close()));
    }
  }

  async close(): Promise<void> {
    await this.bao[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true });
  }
}

const memoryStore = (): Promise<Store> => openSqliteStore({ path: undefined, ...context });
/** Where Vault is to be found silent. */
const impatient = { timeoutMs: 500 };
/** The issuing CA by which a leaf comes now. */
const issuingNow = async (backend: CaBackend): Promise<string> =>
  readCertificate((await backend.sign(order)).chain[1] ?? new Uint8Array()).serialHex;

caBackendConformance('vault-intermediate on a real bao', {
  trustDomain,
  clock: context.clock,
  skip,
  async open() {
    const fixture = await Fixture.open();
    const store = await memoryStore();
    const backend = await openVaultIntermediate(fixture.config, { dataDir: undefined, trustDomain }, context, store);
    return {
      backend,
      async close() {
        await backend.close();
        await store.close();
        await fixture.close();
      },
    };
  },
});

describe('vault-intermediate, on a real bao', { skip }, () => {
  let fixture: Fixture;
  before(async () => {
    fixture = await Fixture.open();
  });
  after(() => fixture?.close());

  test('the issuing CA: seven days, path length 0, the SPIFFE ID of the trust domain; its key on disk for this user alone', () =>
    fixture.run(async (open, dataDir) => {
      const backend = await open();
      const { chain } = await backend.sign(order);
      const issuing = new X509Certificate(chain[1] ?? new Uint8Array());
      assert.equal(issuing.subjectAltName, 'URI:spiffe://mesh.test');
      assert.match(issuing.subject, /^O=Selvedge\nCN=Issuing CA [0-9a-f]{8} of mesh\.test$/);
      const leftMs = (backend.issuingCaNotAfterMs ?? 0) - Date.now();
      assert.ok(Math.abs(leftMs - 7 * dayMs) < 60_000);
      const file = await issuingCaFile(dataDir);
      assert.equal((await stat(file)).mode & 0o777, 0o600);
      assert.match(await readFile(file, 'utf8'), /^-----BEGIN CERTIFICATE-----[\s\S]*PRIVATE KEY-----\n$/);
    }));

  test('its token may certify issuing CAs and nothing else', async () => {
    const token = await fixture.pki.token();
    const refused = ['pki_root/sign-verbatim', 'pki_root/issuer/r1/sign-verbatim', 'pki_root/root/generate/internal'];
    for (const path of refused) assert.equal((await fixture.bao.call('POST', path, {}, token)).status, 403, path);
  });

  test('Vault sealed for days: a restart, and leaves go on; yellow when overdue, red from half of the time, and well again by itself', () =>
    fixture.run(async (open) => {
      const first = await open();
      const issuing = await issuingNow(first);
      await first.close();
      await fixture.bao.seal();
      const backend = await open();
      assert.equal(await issuingNow(backend), issuing);
      assert.deepEqual(backend.health, { state: 'healthy' });

      fixture.offsetMs = 3 * dayMs; // due at 2⅓
      await verifyIssued(await backend.sign(order), order, backend.roots, fixture.context.clock());
      const notice = (): string => (backend.health.state === 'healthy' ? (backend.health.notice ?? '') : '');
      await waitFor('a failed renewal', () => /ends at .* not renewed: .*sealed/.test(notice()), 20_000);
      fixture.offsetMs = 5 * dayMs;
      await verifyIssued(await backend.sign(order), order, backend.roots, fixture.context.clock());
      assert.match(backend.health.state === 'ending' ? backend.health.reason : '', /ends at .*sealed/);

      await fixture.bao.unseal();
      await waitFor('another issuing CA', async () => (await issuingNow(backend)) !== issuing, 20_000);
      assert.deepEqual(backend.health, { state: 'healthy' });
      await verifyIssued(await backend.sign(order), order, backend.roots, fixture.context.clock());
    }));

  test('past its end nothing is signed, and it is said why; a Vault that is away is not asked by every caller', () =>
    fixture.run(async (open) => {
      await (await open()).close();
      const backend = await open(impatient);
      await backend.sign(order);
      fixture.bao.pause();
      fixture.offsetMs = 8 * dayMs;
      const tries = await Promise.allSettled(Array.from({ length: 20 }, () => backend.sign(order)));
      for (const each of tries)
        code('SLV-2140', /did not answer/)(each.status === 'rejected' ? each.reason : undefined);
      assert.match(backend.health.state === 'unhealthy' ? backend.health.reason : '', /there is no issuing CA/);
    }));

  test('starts with nothing but pinned roots while Vault is down, and gets its issuing CA when it answers', () =>
    fixture.run(async (open, dataDir) => {
      await (await open()).close();
      await rm(join(dataDir, 'ca'), { recursive: true });
      fixture.bao.pause();
      const backend = await open(impatient);
      await assert.rejects(backend.sign(order), code('SLV-2140'));
      assert.equal(backend.health.state, 'unhealthy');
      fixture.bao.resume();
      await waitFor('an issuing CA', () => backend.health.state === 'healthy', 20_000);
      await verifyIssued(await backend.sign(order), order, backend.roots, Date.now());
    }));

  test('never met and down: does not start', () =>
    fixture.run(async (open) => {
      fixture.bao.pause();
      await assert.rejects(open(impatient), code('SLV-2140', /did not answer/));
    }));

  for (const [what, content] of [
    ['garbage', () => 'garbage'],
    ['a certificate without its key', (text: string) => text.slice(0, text.indexOf('-----BEGIN PRIVATE'))],
  ] as const) {
    test(`a file that holds ${what} costs one call to Vault, no trust`, () =>
      fixture.run(async (open, dataDir) => {
        const first = await open();
        const issuing = await issuingNow(first);
        await first.close();
        const file = await issuingCaFile(dataDir);
        await writeFile(file, content(await readFile(file, 'utf8')));
        const second = await open();
        assert.notEqual(await issuingNow(second), issuing);
        assert.deepEqual(second.roots.map(Buffer.from), first.roots.map(Buffer.from));
      }));
  }

  test('an issuing CA that can not be saved is not used: a restart would lose it', () =>
    fixture.run(async (open, dataDir) => {
      const backend = await open();
      const issuing = await issuingNow(backend);
      await rm(join(dataDir, 'ca'), { recursive: true });
      await writeFile(join(dataDir, 'ca'), 'no folder any more');
      fixture.offsetMs = 3 * dayMs;
      assert.equal(await issuingNow(backend), issuing);
      const notice = (): string => (backend.health.state === 'healthy' ? (backend.health.notice ?? '') : '');
      await waitFor('a failed renewal', () => notice().includes('vault-issuing-'), 20_000);
      assert.equal(await issuingNow(backend), issuing);
    }));

  test('policy or mount says no: permanent in words, tried on, and mended without a restart', () =>
    fixture.run(async (open) => {
      const backend = await open();
      const { bao, pki } = fixture;
      const policy = String((await bao.must('GET', `sys/policies/acl/${pki.policy}`))['policy']);
      await bao.must('POST', `sys/policies/acl/${pki.policy}`, {
        policy: policy.replace('sign-intermediate', 'other'),
      });
      fixture.offsetMs = 3 * dayMs;
      const issuing = await issuingNow(backend);
      const notice = (): string => (backend.health.state === 'healthy' ? (backend.health.notice ?? '') : '');
      await waitFor('the refusal', () => /403: .*permission denied/.test(notice()), 20_000);
      await bao.must('POST', `sys/policies/acl/${pki.policy}`, { policy });
      await waitFor('another issuing CA', async () => (await issuingNow(backend)) !== issuing, 20_000);
    }));

  test('a life that Vault cuts short is taken as it is', () =>
    fixture.run(async (open) => {
      await fixture.bao.must('POST', 'sys/mounts/pki_root/tune', { max_lease_ttl: '48h' });
      try {
        const backend = await open();
        assert.ok((backend.issuingCaNotAfterMs ?? 0) < Date.now() + 49 * 3_600_000);
        const issuing = await issuingNow(backend);
        await issuingNow(backend);
        assert.equal(await issuingNow(backend), issuing, 'not renewed at each use');
      } finally {
        await fixture.bao.must('POST', 'sys/mounts/pki_root/tune', { max_lease_ttl: '87600h' });
      }
    }));

  test('lives that can not be are refused', () =>
    fixture.run(async (open) => {
      for (const issuingCaTtlSeconds of [0, 3_599, 1.5, 91 * 86_400])
        await assert.rejects(open({ issuingCaTtlSeconds }), code('SLV-1002'));
    }));
});

describe('an issuing CA that comes back', () => {
  const nowMs = Date.now();
  const fields = {
    trustDomain,
    notBeforeMs: nowMs - 30_000,
    notAfterMs: nowMs + 7 * dayMs,
    randomBytes: context.randomBytes,
  };
  const asked = (root: Uint8Array) => ({ trustDomain, roots: [root], ttlSeconds: 7 * 86_400, nowMs });

  test('is taken when it is as asked', async () => {
    const root = await makeRoot(fields);
    await verifyIssuingCa({ ...(await makeIssuingCa(fields, root)), above: [] }, asked(root.certificateDer));
  });

  test('is refused for another key, no CA, a path length, other names, too long a life, or another root', async () => {
    const root = await makeRoot(fields);
    const good = { ...(await makeIssuingCa(fields, root)), above: [] };
    const check = (authority: typeof good, more: object = {}): Promise<void> =>
      verifyIssuingCa(authority, { ...asked(root.certificateDer), ...more });
    const { key } = await requestIssuingCa(trustDomain);
    await assert.rejects(check({ ...good, key }), code('SLV-2142', /another key/));
    await assert.rejects(check({ ...root, above: [] }), code('SLV-2142', /path length is 2/));
    const foreign = await makeIssuingCa({ ...fields, trustDomain: parseTrustDomain('evil.test') }, root);
    await assert.rejects(check({ ...foreign, above: [] }), code('SLV-2142', /names are spiffe:\/\/evil.test/));
    await assert.rejects(check(good, { ttlSeconds: 3_600 }), code('SLV-2142', /asked were 3600 s/));
    await assert.rejects(check(good, { nowMs: nowMs + 8 * dayMs }), code('SLV-2142'));
    const other = await makeRoot(fields);
    await assert.rejects(check(good, { roots: [other.certificateDer] }), code('SLV-2142', /root/));
    await assert.rejects(check({ ...good, certificateDer: Uint8Array.of(1, 2) }), code('SLV-2142'));
  });
});

const days = (count: number): number => count * dayMs;
for (const [life, due] of [
  [7, 7 / 3],
  [3, 1],
  [2.5, 0.5],
  [2, 0.2],
  [0.5, 0.05],
  [30, 10],
] as const) {
  test(`an issuing CA of ${life} days is renewed after ${due.toFixed(2)}`, () => {
    assert.ok(Math.abs(dueAtMs({ notBeforeMs: 0, notAfterMs: days(life) }) - days(due)) < 1);
  });
}
