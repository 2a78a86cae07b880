import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { toPem } from '#policies/der-writer.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { makeCa, type Recipe } from '#test/mini-ca.ts';
import { waitFor } from '#test/wait-for.ts';
import { createLogger } from '../logging.ts';
import { type ProcessContext, systemContext } from '../process-context.ts';
import { spkiPin } from './first-contact.ts';
import { type MeshIdentity, type MeshIdentityOptions, openMeshIdentity } from './mesh-identity.ts';
import { certificatesOfPem } from './pem.ts';
import { signBundle } from './sign-bundle.ts';
import type { SvidSource } from './svid.ts';
import { goodToken, id, TestIdentity } from './testing/test-identity.ts';

/** A node and its identity service over real TLS. In one file: first contact, renewal and trust are the life of one object. */

const log = createLogger({ process: 'test', level: 'silent' });

let directory = '';
const directories: string[] = [];
const opened: MeshIdentity[] = [];
const identities: TestIdentity[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'selvedge-'));
  directories.push(directory);
});
after(async () => {
  await Promise.all(opened.map((mesh) => mesh.close()));
  await Promise.all(identities.map((identity) => identity.stop()));
  await Promise.all(directories.map((path) => rm(path, { recursive: true })));
});

async function startIdentity(options: { plain?: boolean; serverId?: string } = {}): Promise<TestIdentity> {
  const identity = await new TestIdentity(options).start();
  identities.push(identity);
  return identity;
}

async function open(
  identity: TestIdentity,
  more: Partial<MeshIdentityOptions> = {},
  token = goodToken,
): Promise<MeshIdentity> {
  const joinTokenFile = join(directory, 'token');
  await writeFile(joinTokenFile, `${token}\n`);
  const mesh = await openMeshIdentity({
    identityUrl: identity.url,
    services: ['web'],
    stateDir: join(directory, 'state'),
    joinTokenFile,
    caPin: identity.pin,
    nodeName: 'node-a',
    context: systemContext(log),
    signal: new AbortController().signal,
    ...more,
  });
  opened.push(mesh);
  return mesh;
}

const rootsPem = (...of: readonly TestIdentity[]): string =>
  of.map(({ ca }) => toPem('CERTIFICATE', ca.root.certificate)).join('');

function nextChange(source: SvidSource): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = source.onChange(() => {
    stop();
    resolve();
  });
  return promise;
}

const refusedWith = (code: string) => (error: unknown) => error instanceof MeshError && error.code === code;

describe('first contact', () => {
  test('by pin: the server is proven, the token redeemed, the SVID good for its peers', async () => {
    const identity = await startIdentity();
    const mesh = await open(identity, { services: ['web', 'web-admin'] });
    assert.deepEqual([mesh.trustDomain, mesh.datacenter, mesh.trust.sequence], ['mesh.test', 'dc1', 1]);
    assert.equal(mesh.svid('web').current?.spiffeId, id('web'));
    assert.equal(mesh.svid('web-admin').current?.spiffeId, id('web-admin'));
    assert.throws(() => mesh.svid('db'), refusedWith('SLV-2011'));
    const state = join(directory, 'state');
    assert.equal((await stat(state)).mode & 0o777, 0o700);
    const kept = 'node.json node.key svid-web-admin.json svid-web.json trust.jws';
    // A bundle that has just been fetched again may be on its way there.
    await waitFor(kept, async () => (await readdir(state)).sort().join(' ') === kept);
    for (const file of await readdir(state)) assert.equal((await stat(join(state, file))).mode & 0o777, 0o600, file);
  });

  test('by CA file, keeping nothing on disk', async () => {
    const identity = await startIdentity();
    const caFile = join(directory, 'roots.pem');
    const [, root] = [0, Buffer.from(identity.ca.root.certificate).toString('base64')];
    await writeFile(caFile, `-----BEGIN CERTIFICATE-----\n${root}\n-----END CERTIFICATE-----\n`);
    const mesh = await open(identity, { caFile, caPin: undefined, stateDir: undefined });
    assert.equal(mesh.svid('web').current?.spiffeId, id('web'));
  });

  test('a server that cannot prove itself gets no token: wrong pin, wrong CA file, wrong service, a pinned root that did not sign it', async () => {
    const other = makeCa('mesh.test');
    const identity = await startIdentity();
    const caFile = join(directory, 'roots.pem');
    const pem = Buffer.from(other.root.certificate).toString('base64');
    await writeFile(caFile, `-----BEGIN CERTIFICATE-----\n${pem}\n-----END CERTIFICATE-----\n`);
    await assert.rejects(open(identity, { caPin: `sha256:${'0'.repeat(64)}` }), refusedWith('SLV-2010'));
    await assert.rejects(open(identity, { caFile }), refusedWith('SLV-2010'));
    // The true root can be had by anyone; presenting it proves nothing.
    const impostor = await startIdentity();
    const pinnedElsewhere = impostor.pin;
    impostor.bundle = { ...impostor.bundle, x509Authorities: [other.root.certificate, impostor.ca.root.certificate] };
    await assert.rejects(
      open(impostor, { caPin: `sha256:${spkiPin(other.root.certificate)}` }),
      refusedWith('SLV-2010'),
    );
    assert.notEqual(pinnedElsewhere, `sha256:${spkiPin(other.root.certificate)}`);
    const catalog = await startIdentity({ serverId: id('selvedge-catalog') });
    await assert.rejects(open(catalog), refusedWith('SLV-2010'));
    for (const server of [identity, impostor, catalog]) {
      assert.ok(!server.received.some((text) => text.includes(goodToken)), 'no token was sent');
      assert.equal(server.issued.length, 0);
    }
  });

  test('without pin, CA file or token there is a configuration error', async () => {
    const identity = await startIdentity();
    await assert.rejects(open(identity, { caPin: undefined }), refusedWith('SLV-1003'));
    await assert.rejects(open(identity, { caPin: 'sha256:123' }), refusedWith('SLV-1002'));
    await assert.rejects(open(identity, { joinTokenFile: undefined }), refusedWith('SLV-1003'));
    await assert.rejects(open(identity, { joinTokenFile: join(directory, 'none') }), refusedWith('SLV-1005'));
  });

  test("a token that is not good, a service outside of the grant: refused in the server's words", async () => {
    const identity = await startIdentity();
    await assert.rejects(open(identity, {}, 'not-a-good-token'), /SLV-2101/);
    await assert.rejects(open(identity, { services: ['db'] }), /SLV-2120/);
  });

  test('a join whose answer was lost is repeated with the same key and counts', async () => {
    const identity = await startIdentity();
    await (await open(identity)).close();
    await rm(join(directory, 'state', 'node.json'));
    const mesh = await open(identity);
    assert.equal(mesh.svid('web').current?.spiffeId, id('web'));
    await rm(join(directory, 'state', 'node.key'));
    await rm(join(directory, 'state', 'node.json'));
    await assert.rejects(open(identity), /SLV-2102/, 'another key is another node');
  });

  test('over plain http everything is believed, and no token is sent', async () => {
    const identity = await startIdentity({ plain: true });
    const mesh = await open(identity, { caPin: undefined });
    assert.equal(mesh.svid('web').current?.spiffeId, id('web'));
    assert.ok(!identity.received.some((text) => text.includes(goodToken)));
  });

  test('over plain http a pin or a CA file proves nothing: refused, and nothing is asked', async () => {
    const identity = await startIdentity({ plain: true });
    const caFile = join(directory, 'ca.pem');
    await writeFile(caFile, rootsPem(identity));
    for (const more of [{}, { caPin: undefined, caFile }, { caFile }]) {
      await assert.rejects(open(identity, more), refusedWith('SLV-1002'));
    }
    assert.deepEqual(identity.received, []);
  });

  test('by CA file and pin: the one root in the file that has the pin counts, and no other', async () => {
    const [identity, other] = [await startIdentity(), await startIdentity()];
    const caFile = join(directory, 'ca.pem');
    await writeFile(caFile, rootsPem(other, identity));
    await (await open(identity, { caFile })).close();
    await rm(join(directory, 'state'), { recursive: true });
    await assert.rejects(open(identity, { caFile, caPin: other.pin }), refusedWith('SLV-2010'));
    await assert.rejects(open(identity, { caFile, caPin: `sha256:${'0'.repeat(64)}` }), refusedWith('SLV-2010'));
    assert.ok(!other.received.some((text) => text.includes(goodToken)));
  });

  test('waits for an identity service that is not up yet', async () => {
    const identity = await startIdentity();
    identity.failWith = 503;
    const pauses: number[] = [];
    const context: ProcessContext = { ...systemContext(log), random: () => 0.999 };
    const pause = (ms: number, signal: AbortSignal) => {
      pauses.push(ms);
      if (pauses.length === 3) identity.failWith = undefined;
      return shortPause(signal);
    };
    const mesh = await open(identity, { context, pause });
    assert.deepEqual(
      pauses.slice(0, 3).map((ms) => Math.round(ms / 1_000)),
      [1, 2, 4],
    );
    await mesh.close();
  });
});

test('told to come back later with its first SVID, it comes back when it was told, and not before', async () => {
  const identity = await startIdentity();
  identity.busyForSeconds = 7;
  const waited = Promise.withResolvers<void>();
  const context: ProcessContext = { ...systemContext(log), random: () => 0 };
  const pauses: number[] = [];
  const pause = (ms: number, signal: AbortSignal) => {
    pauses.push(ms);
    return pauses.length === 1 ? waited.promise : shortPause(signal);
  };
  const mesh = await open(identity, { context, pause });
  assert.equal(mesh.svid('web').current, undefined);
  assert.equal(pauses[0], 7_000);
  assert.equal(identity.asked, 1, 'nothing was asked meanwhile');
  const obtained = nextChange(mesh.svid('web'));
  waited.resolve();
  await obtained;
  assert.equal(identity.asked, 2);
  await mesh.close();
});

describe('what is issued is verified before it is used', () => {
  const wrong: Record<string, Recipe & { spiffeId?: string }> = {
    'of another service': { spiffeId: id('db') },
    'of another datacenter': { spiffeId: 'spiffe://mesh.test/ns/default/dc/dc2/svc/web' },
    'a CA': { isCa: true },
    'with two IDs': { uris: [id('web'), id('db')] },
    'of another key': { keys: { publicKey: createPublicKey(makeCa('x.test').privateKey) } },
    'already expired': { notAfterMs: Date.now() - 120_000 },
  };
  for (const [name, twist] of Object.entries(wrong)) {
    test(name, async () => {
      const identity = await startIdentity();
      identity.twist = twist;
      const mesh = await open(identity);
      assert.equal(mesh.svid('web').current, undefined);
      await mesh.close();
    });
  }
  test('signed by another CA', async () => {
    const identity = await startIdentity();
    const mesh = await open(identity);
    const { current } = mesh.svid('web');
    identity.ca = makeCa('mesh.test');
    const again = await open(identity, { services: ['web', 'web-2'], caPin: undefined });
    assert.equal(again.svid('web-2').current, undefined);
    assert.equal(again.svid('web').current?.serialHex, current?.serialHex, 'what was good stays in use');
  });
});

describe('renewal', () => {
  test('happens at a third of the lifetime, over mTLS and with the node key, with a new key each time', async () => {
    const identity = await startIdentity();
    const lifetimeMs = 7_200_000;
    identity.lifetimeMs = lifetimeMs;
    identity.svid.set(identity.ca.issue({ spiffeId: id('selvedge-identity'), notAfterMs: Date.now() + lifetimeMs }));
    let passedMs = 0;
    let looks = 0;
    const context: ProcessContext = { ...systemContext(log), clock: () => Date.now() + passedMs, random: () => 0.5 };
    const pause = (_: number, signal: AbortSignal) => {
      looks += 1;
      return shortPause(signal);
    };
    const mesh = await open(identity, { context, pause });
    const source = mesh.svid('web');
    const first = source.current;
    passedMs = lifetimeMs / 3 - 60_000;
    const second = nextChange(source);
    const before = looks;
    await waitFor('it to look at the clock', () => looks > before + 5, 10_000);
    assert.equal(source.current, first, 'not before');
    passedMs = lifetimeMs / 3;
    await second;
    const third = nextChange(source);
    passedMs += lifetimeMs / 3;
    await third;
    assert.notEqual(source.current?.keyPem, first?.keyPem);
    assert.deepEqual(identity.issued.slice(0, 3), [
      { service: 'web', peer: undefined, proven: true },
      { service: 'web', peer: id('web'), proven: true },
      { service: 'web', peer: id('web'), proven: true },
    ]);
    await mesh.close();
  });

  test('happens early when the CA above it is tainted', async () => {
    const identity = await startIdentity();
    identity.lifetimeMs = 7_200_000;
    let passedMs = 0;
    const context: ProcessContext = { ...systemContext(log), clock: () => Date.now() + passedMs, random: () => 0 };
    const mesh = await open(identity, { context, pause: (_, signal) => shortPause(signal) });
    const source = mesh.svid('web');
    const changed = nextChange(source);
    const issuing = certificatesOfPem(source.current?.chainPem ?? '')[1] ?? assert.fail('no issuing CA');
    identity.tainted = [spkiPin(issuing)];
    identity.bundle = { ...identity.bundle, sequence: identity.bundle.sequence + 1 };
    assert.equal(await mesh.trust.acceptSigned(await identity.signed()), true);
    passedMs = 31_000; // its time is after forty minutes
    await changed;
    await mesh.close();
  });

  test('goes on while identity is down and after the SVID lapsed, and comes back by the node key', async () => {
    const identity = await startIdentity();
    let skewMs = 0;
    const context: ProcessContext = { ...systemContext(log), clock: () => Date.now() + skewMs };
    const mesh = await open(identity, { context, pause: (_, signal) => shortPause(signal) });
    const port = await identity.stop();
    skewMs = 3_600_000; // a suspend: the wall clock jumps, the SVID has run out
    assert.equal(mesh.svid('web').current, undefined);
    const renewed = nextChange(mesh.svid('web'));
    const server = identity.svid;
    server.set(identity.ca.issue({ spiffeId: id('selvedge-identity'), notAfterMs: Date.now() + 7_200_000 }));
    identity.lifetimeMs = 7_200_000;
    await identity.start(port);
    await renewed;
    assert.equal(mesh.svid('web').current?.spiffeId, id('web'));
    assert.deepEqual(identity.issued.at(-1), { service: 'web', peer: undefined, proven: true });
    await mesh.close();
  });

  test('a restart uses what is on disk, with identity down', async () => {
    const identity = await startIdentity();
    const before = await open(identity);
    const { current } = before.svid('web');
    await before.close();
    await identity.stop();
    const mesh = await open(identity, { joinTokenFile: undefined, caPin: undefined });
    assert.equal(mesh.svid('web').current?.serialHex, current?.serialHex);
    assert.equal(mesh.trust.sequence, 1);
    await mesh.close();
  });

  test('a restart with a lapsed SVID and identity down opens without one, and keeps trying', async () => {
    const identity = await startIdentity();
    await (await open(identity)).close();
    const port = await identity.stop();
    let skewMs = 3_600_000;
    const context: ProcessContext = { ...systemContext(log), clock: () => Date.now() + skewMs };
    const mesh = await open(identity, { context, pause: (_, signal) => shortPause(signal) });
    assert.equal(mesh.svid('web').current, undefined);
    const renewed = nextChange(mesh.svid('web'));
    skewMs = 0;
    await identity.start(port);
    await renewed;
    await mesh.close();
  });

  test('an aborted signal ends everything, also an opening that waits', async () => {
    const identity = await startIdentity();
    const url = identity.url;
    await identity.stop();
    const abort = new AbortController();
    const pending = open(identity, { identityUrl: url, signal: abort.signal });
    abort.abort(new Error('stopped'));
    await assert.rejects(pending, /stopped/);
  });
});

describe('trust', () => {
  test('a signed bundle off the feed is taken when it is newer, refused when older, foreign or signed by another service', async () => {
    const identity = await startIdentity();
    const mesh = await open(identity);
    let changes = 0;
    mesh.trust.onChange(() => {
      changes += 1;
    });
    const next = makeCa('mesh.test');
    const old = await identity.signed();
    identity.bundle = {
      ...identity.bundle,
      sequence: 2,
      x509Authorities: [identity.ca.root.certificate, next.root.certificate],
    };
    assert.equal(await mesh.trust.acceptSigned(await identity.signed()), true);
    assert.deepEqual(
      [changes, mesh.trust.sequence, mesh.trust.bundleOf(mesh.trustDomain)?.x509Authorities.length],
      [1, 2, 2],
    );
    assert.equal(await mesh.trust.acceptSigned(old), false, 'never back');
    const forged = {
      bundle: { ...identity.bundle, sequence: 9 },
      revoked: { serials: [], spiffeIds: [] },
      nowMs: Date.now(),
    };
    const byCatalog = await signBundle({ ...forged, svid: identity.ca.issue({ spiffeId: id('selvedge-catalog') }) });
    const byStranger = await signBundle({
      ...forged,
      svid: makeCa('mesh.test').issue({ spiffeId: id('selvedge-identity') }),
    });
    const [head, , signature] = (await identity.signed()).split('.');
    const tampered = [
      head,
      (await signBundle({ ...forged, svid: identity.ca.issue({ spiffeId: id('selvedge-identity') }) })).split('.')[1],
      signature,
    ].join('.');
    const empty = await signBundle({
      ...forged,
      bundle: { ...forged.bundle, x509Authorities: [] },
      svid: identity.ca.issue({ spiffeId: id('selvedge-identity') }),
    });
    for (const jws of [byCatalog, byStranger, tampered, empty, 'garbage', ''])
      assert.equal(await mesh.trust.acceptSigned(jws), false);
    assert.deepEqual([changes, mesh.trust.sequence], [1, 2]);
    const byNext = await signBundle({ ...forged, svid: next.issue({ spiffeId: id('selvedge-identity') }) });
    assert.equal(await mesh.trust.acceptSigned(byNext), true, 'a root that was announced may sign');
    await mesh.close();
  });

  test('revocations apply, and survive a restart', async () => {
    const identity = await startIdentity();
    const mesh = await open(identity);
    const svid = identity.svid.current;
    assert.ok(svid !== undefined);
    const bundle = { ...identity.bundle, sequence: 2 };
    const jws = await signBundle({
      bundle,
      revoked: { serials: ['7abc'], spiffeIds: [id('evil')] },
      svid,
      nowMs: Date.now(),
    });
    assert.equal(await mesh.trust.acceptSigned(jws), true);
    await mesh.close();
    await identity.stop();
    const again = await open(identity);
    assert.equal(again.trust.isRevoked('7abc', svid.spiffeId), true);
    assert.equal(again.trust.isRevoked('1', id('evil') as typeof svid.spiffeId), true);
    assert.equal(again.trust.isRevoked('1', svid.spiffeId), false);
    await again.close();
  });

  test('the bundle is fetched again at its refresh hint', async () => {
    const identity = await startIdentity();
    let skewMs = 0;
    const context: ProcessContext = { ...systemContext(log), clock: () => Date.now() + skewMs };
    identity.lifetimeMs = 7_200_000;
    const mesh = await open(identity, { context, pause: (_, signal) => shortPause(signal) });
    const { promise: changed, resolve } = Promise.withResolvers<void>();
    mesh.trust.onChange(() => resolve());
    identity.bundle = { ...identity.bundle, sequence: 5 };
    assert.equal(mesh.trust.sequence, 1);
    skewMs = 340_000; // the hint is 300 s ± 10 %
    await changed;
    assert.equal(mesh.trust.sequence, 5);
    await mesh.close();
  });
});

/** Long enough not to spin, short enough not to be waited for. */
function shortPause(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, 5);
  signal.addEventListener('abort', () => {
    clearTimeout(timer);
    resolve();
  });
  return promise;
}
