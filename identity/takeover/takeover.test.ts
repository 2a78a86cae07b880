import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { parseSpiffeId, parseTrustDomain } from '#policies/spiffe-id.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import type { Store } from '#store/contract.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { type Bao, findBao, startBao } from '#test/bao.ts';
import { prepareVaultPki, type VaultPki } from '#test/vault-pki.ts';
import type { CaConfig } from '../backends/ca-config.ts';
import type { SigningOrder } from '../ca-backend.ts';
import { readCertificateRequest } from '../certificate-request.ts';
import { startIdentity } from '../main.ts';
import { taintedAuthorities } from '../rotation/rotation.ts';
import { forgeRequest } from '../testing/forge-request.ts';
import { verifyIssued } from '../verify-issued.ts';
import { openSucceedingCa } from './open-succeeding-ca.ts';
import type { SucceedingCa } from './succeeding-ca.ts';

const { skip } = await findBao();
const trustDomain = parseTrustDomain('mesh.test');
const context = systemContext(createLogger({ process: 'test', level: 'silent' }));
const embedded: CaConfig = { kind: 'embedded' };
const order: SigningOrder = {
  request: await readCertificateRequest(forgeRequest()),
  spiffeId: parseSpiffeId('spiffe://mesh.test/ns/default/dc/dc1/svc/web'),
  ttlSeconds: 600,
};
type Roots = readonly Uint8Array[];
const hex = (roots: Roots): string[] => roots.map((der) => Buffer.from(der).toString('hex')).sort();

/** A mesh's CA over several starts of the identity service, each with its own configuration. */
class Starts implements AsyncDisposable {
  readonly dataDir: string;
  readonly #store: Store;
  #ca: SucceedingCa | undefined;

  private constructor(dataDir: string, store: Store) {
    this.dataDir = dataDir;
    this.#store = store;
  }

  static async open(): Promise<Starts> {
    const dataDir = await mkdtemp(join(tmpdir(), 'selvedge-takeover-'));
    return new Starts(
      dataDir,
      await openSqliteStore({ path: join(dataDir, 'identity.db'), clock: context.clock, log: context.log }),
    );
  }

  /** Ends what runs, and starts it with this configuration: what is not written down is forgotten. */
  async start(backend: CaConfig): Promise<SucceedingCa> {
    const before = this.#ca;
    this.#ca = undefined;
    await before?.close();
    const config = { backend, dataDir: this.dataDir, trustDomain };
    this.#ca = await openSucceedingCa({ config, context, store: this.#store });
    return this.#ca;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#ca?.close();
    await this.#store.close();
    await rm(this.dataDir, { recursive: true });
  }
}

/** Signs, as issuance does, for a peer that knows these roots only. */
async function signFor(ca: SucceedingCa, roots: Roots): Promise<void> {
  const signed = await ca.sign(order);
  await verifyIssued(signed, order, signed.roots ?? ca.roots, context.clock());
  await verifyIssued(signed, order, roots, context.clock());
}

async function takeAll(ca: SucceedingCa): Promise<void> {
  await ca.prepare('root');
  for (const step of ['publish', 'see', 'activate', 'retire'] as const) await ca.take(step);
}

describe('another CA takes over, on a real bao', { skip }, () => {
  let bao: Bao;
  let folder = '';
  const cas = new Map<string, CaConfig>([['embedded', embedded]]);
  const ca = (name: string): CaConfig => cas.get(name) ?? assert.fail(name);
  /** Where Vault is to be found silent. */
  const impatient = (name: string) => ({ ...ca(name), timeoutMs: 1_000 }) as CaConfig;
  before(async () => {
    bao = await startBao();
    folder = await mkdtemp(join(tmpdir(), 'selvedge-takeover-secrets-'));
    const connect = async (name: string, pki: VaultPki) => {
      const tokenFile = join(folder, name);
      await writeFile(tokenFile, await pki.token());
      return { address: bao.address, timeoutMs: 10_000, auth: { kind: 'token', tokenFile } } as const;
    };
    const prepare = (mode: 'vault-leaf' | 'vault-intermediate', policy: string, plan = {}) =>
      prepareVaultPki(bao, { trustDomain, mode, plan: { policy, approle: policy, ...plan } });
    const leaf = await prepare('vault-leaf', 'leaf');
    const viaLeaf = {
      kind: 'vault-leaf',
      ...(await connect('leaf', leaf)),
      mount: leaf.mount,
      role: leaf.role,
    } as const;
    const viaRoot = {
      kind: 'vault-intermediate',
      ...(await connect('intermediate', await prepare('vault-intermediate', 'intermediate'))),
      rootMount: leaf.rootMount,
    } as const;
    // The very rights that the old root needed do for the new one.
    await prepare('vault-leaf', 'leaf', { rootIssuer: 'r2', issuer: 'i2', predecessor: 'r1' });
    const other = await prepare('vault-intermediate', 'other', { rootMount: 'pki_other', rootIssuer: 'other' });
    cas.set('leaf r1', { ...viaLeaf, issuerRef: 'i1' });
    cas.set('leaf r2', { ...viaLeaf, issuerRef: 'i2' });
    cas.set('intermediate r1', { ...viaRoot, rootIssuerRef: 'r1' });
    cas.set('intermediate r2', { ...viaRoot, rootIssuerRef: 'r2' });
    const atOther = { ...(await connect('other', other)), rootMount: 'pki_other', rootIssuerRef: 'other' };
    cas.set('intermediate other', { kind: 'vault-intermediate', ...atOther });
  });
  after(async () => {
    await bao?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  /** Whether who slept through it is led to the new root by a cross certificate. */
  const directions: readonly [from: string, to: string, sleepers: 'led' | 'not led'][] = [
    ['embedded', 'intermediate r1', 'led'],
    ['embedded', 'leaf r1', 'led'],
    ['intermediate r1', 'intermediate r2', 'led'],
    ['leaf r1', 'leaf r2', 'led'],
    ['leaf r1', 'intermediate r2', 'led'],
    ['intermediate r1', 'embedded', 'not led'],
    ['leaf r1', 'embedded', 'not led'],
    ['leaf r1', 'intermediate other', 'not led'],
    ['intermediate other', 'leaf r1', 'not led'],
  ];
  for (const [from, to, sleepers] of directions) {
    test(`${from} -> ${to}: in each state, after a new start, signs what everybody believes; sleepers are ${sleepers}`, async () => {
      await using starts = await Starts.open();
      const first = await starts.start(ca(from));
      const old = first.roots;
      await signFor(first, old);
      assert.deepEqual([first.isTakeoverAsked, first.takeover], [false, undefined]);

      let now = await starts.start(ca(to));
      assert.equal(now.isTakeoverAsked, true);
      assert.deepEqual(hex(now.roots), hex(old), 'nothing is done before it is written down');
      await now.prepare('root');
      const fresh = (await starts.start(ca(to))).rotating;
      assert.equal(fresh.state.state, 'prepared');
      now = await starts.start(ca(to));
      await signFor(now, old);
      await now.take('publish');
      const both = hex(now.roots);
      assert.equal(both.length, 2);
      for (const step of ['see', 'activate'] as const) {
        now = await starts.start(ca(to));
        assert.deepEqual(hex(now.roots), both);
        assert.equal(now.isTakeoverAsked, false);
        await signFor(now, old);
        await now.take(step);
      }
      now = await starts.start(ca(to));
      assert.equal(now.state.state, 'activated');
      assert.equal(now.kind, ca(to).kind);
      assert.deepEqual(hex(now.roots), both);
      const alone = now.roots.filter((der) => !hex(old).includes(hex([der])[0] ?? ''));
      await signFor(now, alone);
      if (sleepers === 'led') await signFor(now, old);
      else await assert.rejects(signFor(now, old));
      await now.take('retire');

      for (let start = 0; start < 2; start++) {
        assert.deepEqual(hex(now.roots), hex(alone));
        await signFor(now, alone);
        assert.deepEqual([now.state.state, now.isTakeoverAsked, now.takeover], ['idle', false, undefined]);
        now = await starts.start(ca(to));
      }
      const keys = (await readdir(join(starts.dataDir, 'ca')).catch(() => [])).filter((name) => name.endsWith('.pem'));
      const kept = { embedded: /^(root|issuing)-/, 'vault-intermediate': /^vault-issuing-/, 'vault-leaf': /$^/ };
      assert.ok(
        keys.every((name) => kept[ca(to).kind].test(name)),
        `no key of the former CA is left: ${keys.join()}`,
      );
    });
  }

  test('with a root that both share there is nothing to rotate', async () => {
    await using starts = await Starts.open();
    for (const name of ['leaf r1', 'intermediate r1', 'leaf r1']) {
      const now = await starts.start(ca(name));
      assert.deepEqual([now.kind, now.isTakeoverAsked, now.state.state], [ca(name).kind, false, 'idle']);
      await signFor(now, now.roots);
    }
  });

  test('every issuing CA that Vault made meanwhile is waited for', async () => {
    await using starts = await Starts.open();
    const first = await starts.start(ca('intermediate r1'));
    const one = (await first.sign(order)).issuer;
    await rm(join(starts.dataDir, 'ca'), { recursive: true });
    const second = await starts.start(ca('intermediate r1'));
    const two = (await second.sign(order)).issuer;
    assert.notEqual(one, two);
    const now = await starts.start(ca('intermediate r2'));
    await now.prepare('root');
    for (const step of ['publish', 'see', 'activate'] as const) await now.take(step);
    const tainted = taintedAuthorities((await starts.start(ca('intermediate r2'))).state);
    assert.ok(one !== undefined && two !== undefined && tainted.includes(one) && tainted.includes(two));
  });

  test('the old configuration gives it up until the new CA signs; then, and for a third, it is refused by name', async () => {
    await using starts = await Starts.open();
    const first = await starts.start(embedded);
    const old = first.roots;
    let now = await starts.start(ca('leaf r1'));
    await now.prepare('root');
    await now.take('publish');
    const third = (error: unknown): boolean => {
      assert.ok(isMeshError(error, 'SLV-2182'));
      assert.match(error.message, /takeover by vault-leaf pki_int\/i1 at http/);
      return true;
    };
    await assert.rejects(starts.start(ca('intermediate other')), third);
    now = await starts.start(embedded);
    assert.deepEqual([hex(now.roots), now.state.state, now.takeover], [hex(old), 'idle', undefined]);
    await signFor(now, old);

    now = await starts.start(ca('leaf r1'));
    await now.prepare('root');
    for (const step of ['publish', 'see', 'activate'] as const) await now.take(step);
    await assert.rejects(starts.start(embedded), third);
    await (await starts.start(ca('leaf r1'))).take('retire');
    now = await starts.start(embedded);
    assert.equal(now.isTakeoverAsked, true);
    await takeAll(now);
    assert.ok(!hex(old).includes(hex(now.roots)[0] ?? ''), 'back is a new root: the keys of the old one are gone');
  });

  test('a CA that can not sign does not take over, however often it is asked; once it can, it does', async () => {
    await using starts = await Starts.open();
    const first = await starts.start(embedded);
    const now = await starts.start(ca('leaf r1'));
    const role = await bao.must('GET', 'pki_int/roles/svid');
    const broken = (error: unknown) => isMeshError(error, 'SLV-2141') || isMeshError(error, 'SLV-2142');
    await bao.must('DELETE', 'pki_int/roles/svid');
    try {
      await assert.rejects(now.prepare('root'), broken);
      assert.equal(now.state.state, 'idle');
      await bao.must('POST', 'pki_int/roles/svid', role);
      await now.prepare('root');
      await now.take('publish');
      await now.take('see');
      await bao.must('DELETE', 'pki_int/roles/svid');
      await assert.rejects(now.take('activate'), broken);
      assert.equal(now.state.state, 'seen');
      await signFor(now, first.roots);
    } finally {
      await bao.must('POST', 'pki_int/roles/svid', role);
    }
    await now.take('activate');
    assert.equal(now.kind, 'vault-leaf');
  });

  test('a Vault that is lost does not hold up the way out of it', async () => {
    await using starts = await Starts.open();
    const first = await starts.start(impatient('leaf r1'));
    const old = first.roots;
    await signFor(first, old);
    bao.pause();
    try {
      const now = await starts.start(embedded);
      assert.deepEqual(hex(now.roots), hex(old));
      await assert.rejects(now.sign(order), (error) => isMeshError(error, 'SLV-2140'));
      assert.equal(await now.takeOverNow(), 'idle');
      assert.deepEqual([now.state.state, now.kind, now.roots.length], ['activated', 'embedded', 2]);
      await signFor(now, now.roots.slice(0, 1));
      assert.equal(await now.takeOverNow(), undefined, 'said again at the next start, it does nothing');
      await now.take('retire');
    } finally {
      bao.resume();
    }
  });

  test('with the Vault lost and no SVID of its own left, the service starts when it is told to go over at once', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'selvedge-takeover-'));
    await using store = await openSqliteStore({
      path: join(dataDir, 'identity.db'),
      clock: context.clock,
      log: context.log,
    });
    const config = {
      host: '127.0.0.1',
      port: 0,
      dataDir,
      trustDomain,
      datacenter: 'dc1',
      svidTtlSeconds: 600,
      open: false,
    };
    const start = (backend: CaConfig, more = {}) => startIdentity({ ...config, backend, ...more }, context, store);
    await (await start(impatient('leaf r1'))).close(0);
    await rm(join(dataDir, 'own-svid.json'));
    bao.pause();
    try {
      await assert.rejects(start(embedded), (error) => isMeshError(error, 'SLV-2140'));
      const now = await start(embedded, { takeoverNow: true });
      assert.equal(now.pins.length, 2);
      await now.close(0);
      assert.match(
        await readFile(join(dataDir, 'audit.jsonl'), 'utf8'),
        /"rotation-forced","target":"root","state":"idle","by":"configuration"/,
      );
      await (await start(embedded)).close(0);
    } finally {
      bao.resume();
      await rm(dataDir, { recursive: true });
    }
  });

  test('a Vault that was never met must answer at the start that names it, and the next start with the old one is as before', async () => {
    await using starts = await Starts.open();
    const first = await starts.start(embedded);
    const nowhere: CaConfig = { ...ca('leaf r1'), address: 'http://127.0.0.1:1' } as CaConfig;
    await assert.rejects(starts.start(nowhere), (error) => isMeshError(error, 'SLV-2140'));
    const again = await starts.start(embedded);
    assert.deepEqual([hex(again.roots), again.isTakeoverAsked], [hex(first.roots), false]);
  });

  test('a roots file that names another root is a takeover too, of a Vault by itself', async () => {
    await using starts = await Starts.open();
    const first = await starts.start(ca('leaf r1'));
    const old = first.roots;
    const rootsFile = join(folder, 'r2.pem');
    await writeFile(rootsFile, String((await bao.must('GET', 'pki_root/issuer/r2/json'))['certificate']));
    // Its default moves: what signs by that must not sign under a root that is not seen by all.
    const byDefault = { ...ca('leaf r1'), issuerRef: 'default' } as CaConfig;
    let now = await starts.start(byDefault);
    assert.equal(now.isTakeoverAsked, false, 'the same root under another name');
    await bao.must('POST', 'pki_int/config/issuers', { default: 'i2', default_follows_latest_issuer: false });
    try {
      const changed = { ...byDefault, rootsFile } as CaConfig;
      now = await starts.start(changed);
      await now.prepare('root');
      await now.take('publish');
      const signed = await now.sign(order);
      // By i2, which chains to both, so it may pass; it must be believed by who knows the old root only.
      await verifyIssued(signed, order, old, context.clock());
      await now.take('see');
      await now.take('activate');
      await now.take('retire');
      await signFor(await starts.start(changed), now.roots);
    } finally {
      await bao.must('POST', 'pki_int/config/issuers', { default: 'i1', default_follows_latest_issuer: false });
    }
  });
});
