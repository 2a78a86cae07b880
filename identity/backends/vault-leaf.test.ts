import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { inspect } from 'node:util';
import type { ErrorCode } from '#policies/errors/catalogue.ts';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { parseSpiffeId, parseTrustDomain } from '#policies/spiffe-id.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import type { Store } from '#store/contract.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { type Bao, findBao, startBao } from '#test/bao.ts';
import { prepareVaultPki, type VaultPki } from '#test/vault-pki.ts';
import { waitFor } from '#test/wait-for.ts';
import type { CaBackend, SignedChain } from '../ca-backend.ts';
import { readCertificateRequest } from '../certificate-request.ts';
import { forgeRequest, testKey } from '../testing/forge-request.ts';
import { openVaultSession } from '../vault/session.ts';
import { openVaultTransport } from '../vault/transport.ts';
import { type SetupPlan, svidRole } from '../vault-setup/setup-plan.ts';
import { verifyIssued } from '../verify-issued.ts';
import { caBackendConformance, conformanceDnsNames } from './conformance.ts';
import { openVaultLeaf, type VaultLeafConfig } from './vault-leaf.ts';

/** The backend on a real bao, in trouble and over time. In one file: a server takes seconds to start, and all of it shares one. */

const { skip } = await findBao();
const trustDomain = parseTrustDomain('mesh.test');
const id = parseSpiffeId('spiffe://mesh.test/ns/default/dc/dc1/svc/web');
const context = systemContext(createLogger({ process: 'test', level: 'silent' }));
const order = { request: await readCertificateRequest(forgeRequest()), spiffeId: id, ttlSeconds: 600 };

const code =
  (expected: ErrorCode, says: RegExp = /./) =>
  (error: unknown) => {
    assert.ok(isMeshError(error, expected), inspect(error));
    assert.match(error.message, says);
    return true;
  };

/** Waits until it signs. */
const signature = (backend: CaBackend): Promise<SignedChain> =>
  waitFor('a signature', () => backend.sign(order), 20_000);

/** A server with the PKI, and files with what proves us to it. */
class Fixture {
  readonly bao: Bao;
  readonly pki: VaultPki;
  readonly folder: string;
  readonly tokenFile: string;
  readonly config: VaultLeafConfig;
  readonly withToken: VaultLeafConfig;

  constructor(bao: Bao, pki: VaultPki, folder: string) {
    this.bao = bao;
    this.pki = pki;
    this.folder = folder;
    this.tokenFile = join(folder, 'token');
    const { mount, role, issuerRef, approleMount } = pki;
    const files = { roleIdFile: join(folder, 'role-id'), secretIdFile: join(folder, 'secret-id') };
    const base = { kind: 'vault-leaf', address: bao.address, mount, role, issuerRef, timeoutMs: 10_000 } as const;
    this.config = { ...base, auth: { kind: 'approle', mount: approleMount, ...files } };
    this.withToken = { ...base, auth: { kind: 'token', tokenFile: this.tokenFile } };
  }

  static async open(options: { tokenTtl?: string; dnsNames?: SetupPlan['dnsNames'] } = {}): Promise<Fixture> {
    const bao = await startBao();
    const pki = await prepareVaultPki(bao, { trustDomain, ...options });
    const fixture = new Fixture(bao, pki, await mkdtemp(join(tmpdir(), 'selvedge-vault-')));
    await writeFile(join(fixture.folder, 'role-id'), `${pki.roleId}\n`);
    await fixture.newSecretId();
    await writeFile(fixture.tokenFile, await pki.token());
    return fixture;
  }

  async newSecretId(): Promise<void> {
    await writeFile(join(this.folder, 'secret-id'), `${await this.pki.secretId()}\n`);
  }

  async close(): Promise<void> {
    await this.bao[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true });
  }
}

const memoryStore = (): Promise<Store> => openSqliteStore({ path: undefined, ...context });

/** Runs with a backend on a fresh store. */
async function withBackend(
  config: VaultLeafConfig,
  run: (backend: CaBackend, store: Store) => Promise<void>,
): Promise<void> {
  await using store = await memoryStore();
  const backend = await openVaultLeaf(config, context, store);
  try {
    await run(backend, store);
  } finally {
    await backend.close();
  }
}

for (const login of ['config', 'withToken'] as const) {
  caBackendConformance(`vault-leaf on a real bao, ${login === 'config' ? 'AppRole' : 'token'} login`, {
    trustDomain,
    clock: context.clock,
    skip,
    async open() {
      const fixture = await Fixture.open({ dnsNames: conformanceDnsNames });
      const store = await memoryStore();
      const backend = await openVaultLeaf(fixture[login], context, store);
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
}

describe('vault-leaf in trouble, on a real bao', { skip }, () => {
  let fixture: Fixture;
  before(async () => {
    fixture = await Fixture.open();
  });
  after(() => fixture?.close());
  afterEach(() => fixture.bao.resume());

  test('sealed: says so at once, is unhealthy, and signs again once unsealed', () =>
    withBackend(fixture.config, async (backend) => {
      await backend.sign(order);
      await fixture.bao.seal();
      await assert.rejects(backend.sign(order), code('SLV-2140', /503: Vault is sealed/));
      assert.match(backend.health.state === 'unhealthy' ? backend.health.reason : '', /sealed/);
      await fixture.bao.unseal();
      await backend.sign(order);
      assert.deepEqual(backend.health, { state: 'healthy' });
    }));

  test('slow: gives up at its deadline, and goes on when it answers again', () =>
    withBackend({ ...fixture.config, timeoutMs: 1_000 }, async (backend) => {
      await signature(backend);
      fixture.bao.pause();
      await assert.rejects(backend.sign(order), code('SLV-2140', /did not answer within 1000 ms/));
      fixture.bao.resume();
      await signature(backend);
    }));

  test('a caller that goes away stops the request', () =>
    withBackend(fixture.config, async (backend) => {
      await backend.sign(order);
      fixture.bao.pause();
      const leaving = new AbortController();
      const signing = assert.rejects(backend.sign(order, leaving.signal), code('SLV-2140', /given up/));
      leaving.abort();
      await signing;
      fixture.bao.resume();
      assert.deepEqual(backend.health, { state: 'healthy' }, 'nobody else is to blame');
    }));

  test('token revoked: one new login (AppRole), unnoticed by the caller', () =>
    withBackend(fixture.config, async (backend) => {
      await backend.sign(order);
      await fixture.bao.must('POST', 'sys/leases/revoke-prefix/auth/approle/login');
      await Promise.all([backend.sign(order), backend.sign(order), backend.sign(order)]);
    }));

  test('token revoked: with a token file it is refused by name until the file holds a living one', () =>
    withBackend(fixture.withToken, async (backend) => {
      await backend.sign(order);
      const token = await readFile(fixture.tokenFile, 'utf8');
      await fixture.bao.must('POST', 'auth/token/revoke', { token });
      await assert.rejects(backend.sign(order), code('SLV-2144', /refused the token login/));
      assert.equal(backend.health.state, 'unhealthy');
      await writeFile(fixture.tokenFile, await fixture.pki.token());
      await signature(backend);
      assert.deepEqual(backend.health, { state: 'healthy' });
    }));

  test('wrong secret: refused by name, not tried in a storm, and mended without a restart', async () => {
    await writeFile(join(fixture.folder, 'secret-id'), 'wrong');
    await withBackend(fixture.config, async (backend) => {
      const tries = await Promise.allSettled(Array.from({ length: 50 }, () => backend.sign(order)));
      for (const each of tries)
        code('SLV-2144', /invalid role or secret ID/)(each.status === 'rejected' ? each.reason : undefined);
      await fixture.newSecretId();
      await signature(backend);
    });
  });

  test('policy or role says no: permanent, with what Vault says, and no token in it', async () => {
    const { config, bao } = fixture;
    await withBackend({ ...config, role: 'nope' }, async (backend) => {
      await assert.rejects(backend.sign(order), code('SLV-2141', /403: .*permission denied/));
      assert.equal(backend.health.state, 'unhealthy');
    });
    await bao.must('POST', 'sys/policies/acl/wider', {
      policy:
        'path "pki_int/*" { capabilities = ["update"] }\npath "auth/token/lookup-self" { capabilities = ["read"] }',
    });
    const wide = await bao.call('POST', 'auth/token/create', { policies: ['wider'], no_default_policy: true });
    await writeFile(fixture.tokenFile, String((wide.body['auth'] as Record<string, unknown>)['client_token']));
    await withBackend({ ...fixture.withToken, role: 'nope' }, async (backend) => {
      await assert.rejects(backend.sign(order), code('SLV-2141', /unknown role: nope/));
      assert.deepEqual(backend.health, { state: 'healthy' }, 'a 400 is about the request');
    });
    await withBackend(config, async (backend) => {
      const foreign = parseSpiffeId('spiffe://evil.test/a');
      await assert.rejects(
        backend.sign({ ...order, spiffeId: foreign }),
        code('SLV-2141', /not valid for this role|not allowed/),
      );
      // A role as `vault-setup` made it before other kinds of key were taken.
      const role = svidRole({ trustDomain, dnsNames: [] });
      await bao.must('POST', 'pki_int/roles/svid', { ...role, key_type: 'ec', key_bits: 256 });
      const otherKind = await readCertificateRequest(forgeRequest({ key: testKey('ed25519') }));
      await assert.rejects(backend.sign({ ...order, request: otherKind }), code('SLV-2141', /400/));
      await bao.must('POST', 'pki_int/roles/svid', role);
    });
    await fixture.newSecretId();
  });

  test('role deleted: permanent and by name, in health only as far as it is one request; well again when it is back', () =>
    withBackend(fixture.config, async (backend) => {
      await backend.sign(order);
      const role = await fixture.bao.must('GET', 'pki_int/roles/svid');
      await fixture.bao.call('DELETE', 'pki_int/roles/svid');
      await assert.rejects(backend.sign(order), code('SLV-2141', /400: unknown role: svid/));
      await fixture.bao.must('POST', 'pki_int/roles/svid', role);
      await backend.sign(order);
    }));

  test('issuer deleted (500 of the real server): tried a few times, then permanent and unhealthy; well again with a new one of that name', () =>
    withBackend(fixture.config, async (backend) => {
      await backend.sign(order);
      await fixture.bao.call('DELETE', 'pki_int/issuer/i1');
      await assert.rejects(backend.sign(order), code('SLV-2141', /500: .*unable to find PKI issuer/));
      assert.equal(backend.health.state, 'unhealthy');
      await prepareVaultPki(fixture.bao, { trustDomain });
      await verifyIssued(await backend.sign(order), order, backend.roots, context.clock());
      assert.deepEqual(backend.health, { state: 'healthy' });
    }));

  test('over a quota: 429 is no answer for good; signs again when there is room', () =>
    withBackend(fixture.config, async (backend) => {
      await backend.sign(order);
      await fixture.bao.must('POST', 'sys/quotas/rate-limit/slow', { path: 'pki_int', rate: 1, interval: '60s' });
      await backend.sign(order).catch(() => undefined); // the one that there is room for, unless the probe took it
      await assert.rejects(backend.sign(order), code('SLV-2140', /429: .*quota exceeded/));
      assert.equal(backend.health.state, 'unhealthy');
      await fixture.bao.call('DELETE', 'sys/quotas/rate-limit/slow');
      await backend.sign(order);
      assert.deepEqual(backend.health, { state: 'healthy' });
    }));

  const wrongRoles: readonly [what: string, change: object, says: RegExp][] = [
    ['no client authentication', { client_flag: false }, /clientAuth/],
    ['leaves that may sign', { key_usage: ['DigitalSignature', 'CertSign'] }, /keyCertSign/],
    ['no critical key usage at all', { key_usage: [] }, /key usage/],
    ['a day where a minute was asked', { not_before_duration: '30s', ttl: '24h' }, /asked were 60 s/],
  ];
  for (const [what, change, says] of wrongRoles) {
    test(`a role that gives ${what}: the certificate is thrown away`, async (context_) => {
      const { bao, config } = fixture;
      await bao.must('POST', 'pki_int/roles/svid', { ...svidRole({ trustDomain, dnsNames: [] }), ...change });
      context_.after(() => bao.must('POST', 'pki_int/roles/svid', svidRole({ trustDomain, dnsNames: [] })));
      await withBackend(config, async (backend) => {
        const short = { ...order, ttlSeconds: 60 };
        // A role can't lengthen an asked ttl; a CA that forgets it can. That one is asked here for more than is then expected.
        const asked = 'ttl' in change ? { ...order, ttlSeconds: 86_000 } : short;
        const signed = await backend.sign(asked);
        await assert.rejects(verifyIssued(signed, short, backend.roots, context.clock()), code('SLV-2142', says));
      });
    });
  }

  test('a DNS name that the role does not allow is refused by Vault; one that nobody asked for is thrown away', async (context_) => {
    const { bao, config } = fixture;
    const role = svidRole({ trustDomain, dnsNames: [] });
    context_.after(() => bao.must('POST', 'pki_int/roles/svid', role));
    await withBackend(config, async (backend) => {
      const named = { ...order, dnsSans: ['web.service.consul'] };
      await assert.rejects(backend.sign(named), code('SLV-2141', /web\.service\.consul not allowed by this role/));
      // A role that somebody opened: the names of the request go into the certificate.
      await bao.must('POST', 'pki_int/roles/svid', { ...role, use_csr_sans: true, allow_any_name: true });
      const uriSans = [order.spiffeId];
      const greedy = {
        ...order,
        request: await readCertificateRequest(forgeRequest({ uriSans, dnsSans: ['admin.example.com'] })),
      };
      const signed = await backend.sign(greedy);
      await assert.rejects(
        verifyIssued(signed, greedy, backend.roots, context.clock()),
        code('SLV-2142', /not asked for/),
      );
    });
  });

  test('a role that clamps the lifetime is taken at what it returned', async (context_) => {
    const { bao, config } = fixture;
    await bao.must('POST', 'pki_int/roles/svid', {
      ...svidRole({ trustDomain, dnsNames: [] }),
      ttl: '60s',
      max_ttl: '120s',
    });
    context_.after(() => bao.must('POST', 'pki_int/roles/svid', svidRole({ trustDomain, dnsNames: [] })));
    await withBackend(config, async (backend) => {
      const issued = await verifyIssued(await backend.sign(order), order, backend.roots, context.clock());
      assert.ok(issued.notAfterMs <= context.clock() + 121_000);
    });
  });

  test('what was signed for one order does not pass for another: ID, key, or a foreign chain', () =>
    withBackend(fixture.config, async (backend) => {
      const signed = await backend.sign(order);
      const nowMs = context.clock();
      const other = { ...order, spiffeId: parseSpiffeId('spiffe://mesh.test/ns/default/dc/dc1/svc/db') };
      await assert.rejects(verifyIssued(signed, other, backend.roots, nowMs), code('SLV-2142', /asked was .*db/));
      const key = { ...order, request: await readCertificateRequest(forgeRequest()) };
      await assert.rejects(verifyIssued(signed, key, backend.roots, nowMs), code('SLV-2142', /another key/));
      await assert.rejects(verifyIssued(signed, order, [], nowMs), code('SLV-2142', /root/));
      const noChain = { chain: signed.chain.slice(0, 1) };
      await assert.rejects(verifyIssued(noChain, order, backend.roots, nowMs), code('SLV-2142'));
      await assert.rejects(verifyIssued({ chain: [] }, order, backend.roots, nowMs), code('SLV-2142'));
      await assert.rejects(verifyIssued(signed, order, backend.roots, nowMs + 86_400_000), code('SLV-2142', /ended/));
    }));
});

describe('vault-leaf over time, on a real bao', { skip }, () => {
  test('keeps its token alive by renewing it, though it could never log in again', async () => {
    const fixture = await Fixture.open({ tokenTtl: '4s' });
    try {
      await fixture.bao.must('POST', 'auth/approle/role/selvedge', { secret_id_num_uses: 1 });
      await fixture.newSecretId();
      const transport = openVaultTransport({ address: fixture.bao.address, timeoutMs: 10_000 });
      const session = openVaultSession(transport, fixture.config.auth, context);
      const token = await session.call(async (held) => held);
      const endOf = async (): Promise<string> => {
        const found = await fixture.bao.call('POST', 'auth/token/lookup', { token });
        return String((found.body['data'] as Record<string, unknown>)['expire_time']);
      };
      const first = await endOf();
      await waitFor('a renewal', async () => (await endOf()) > first, 20_000);
      assert.equal(await session.call(async (held) => held), token);
      session.close();
      transport.close();
    } finally {
      await fixture.close();
    }
  });

  test('starts while Vault is down once it has met it, and not before; never trusts another root by itself', async () => {
    const fixture = await Fixture.open();
    await using store = await memoryStore();
    try {
      const { bao, config } = fixture;
      bao.pause();
      await assert.rejects(openVaultLeaf({ ...config, timeoutMs: 200 }, context, store), code('SLV-2140'));
      bao.resume();
      const asDefault: VaultLeafConfig = { ...config, issuerRef: 'default' };
      const first = await openVaultLeaf(asDefault, context, store);
      await first.close();

      bao.pause();
      const second = await openVaultLeaf({ ...asDefault, timeoutMs: 200 }, context, store);
      assert.deepEqual(second.roots.map(Buffer.from), first.roots.map(Buffer.from));
      assert.equal(second.health.state, 'unhealthy');
      assert.equal(second.issuingCaNotAfterMs, undefined);
      await assert.rejects(second.sign(order), code('SLV-2140'));
      bao.resume();

      // Somebody makes another root in Vault and lets the mount's default issuer follow it.
      await bao.must('POST', 'sys/mounts/pki_evil', { type: 'pki' });
      await bao.must('POST', 'pki_evil/root/generate/internal', {
        common_name: 'Other',
        key_type: 'ec',
        uri_sans: 'spiffe://mesh.test',
      });
      const asked = await bao.must('POST', 'pki_int/intermediate/generate/internal', {
        common_name: 'I2',
        key_type: 'ec',
      });
      const signed = await bao.must('POST', 'pki_evil/root/sign-intermediate', {
        csr: asked['csr'],
        common_name: 'I2',
        ttl: '500h',
      });
      const chain = `${String(signed['certificate'])}\n${(signed['ca_chain'] as string[]).join('\n')}`;
      const mapping = (await bao.must('POST', 'pki_int/intermediate/set-signed', { certificate: chain }))[
        'mapping'
      ] as Record<string, string>;
      const issuer = Object.keys(mapping).find((each) => mapping[each] !== '');
      await bao.must('POST', 'pki_int/config/issuers', { default: issuer });
      const strange = await signature(second);
      const refused = code('SLV-2142', /root|issuer|leads/);
      await assert.rejects(verifyIssued(strange, order, second.roots, context.clock()), refused);
      await second.close();
      const third = await openVaultLeaf(asDefault, context, store);
      assert.deepEqual(third.roots.map(Buffer.from), first.roots.map(Buffer.from), 'the pin holds over a restart');
      await third.close();

      // The operator's word beats the pin.
      const rootsFile = join(fixture.folder, 'roots.pem');
      await writeFile(rootsFile, fixture.pki.rootPem + (signed['ca_chain'] as string[]).join('\n'));
      const fourth = await openVaultLeaf({ ...asDefault, rootsFile }, context, store);
      await verifyIssued(await fourth.sign(order), order, fourth.roots, context.clock());
      await fourth.close();
      await writeFile(rootsFile, 'nothing');
      await assert.rejects(openVaultLeaf({ ...asDefault, rootsFile }, context, store), code('SLV-1005'));
    } finally {
      await fixture.close();
    }
  });
});
