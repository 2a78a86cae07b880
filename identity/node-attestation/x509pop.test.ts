import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CompactSign } from 'jose';
import { toPem } from '#policies/der-writer.ts';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { type KeyPair, makeKeyPair } from '#runtime/svid/node-key.ts';
import { type MiniCa, makeCa, type Recipe, usage } from '#test/mini-ca.ts';
import { attest, codeOf, startAttesting } from '../testing/attesting.ts';
import type { RunningService } from '../testing/running-service.ts';
import { Challenges } from './challenges.ts';

const folder = mkdtempSync(join(tmpdir(), 'selvedge-x509pop-'));
after(() => rmSync(folder, { recursive: true }));
const clientAuth = '1.3.6.1.5.5.7.3.2';
const serverAuth = '1.3.6.1.5.5.7.3.1';

describe("attestation by a machine's certificate", () => {
  let service: RunningService;
  let ca: MiniCa;
  const rootsFile = join(folder, 'roots.pem');
  before(async () => {
    ca = makeCa('machines.test');
    writeFileSync(rootsFile, toPem('CERTIFICATE', ca.root.certificate));
    service = await startAttesting([
      {
        method: 'x509pop',
        'roots-file': rootsFile,
        mappings: [
          { match: { dns: ['db.rack.test'] }, node: '{{ subject/cn }}', services: ['db'] },
          { node: '{{ dns | before "." }}', services: ['web', '{{ dns | before "." }}.*'] },
        ],
      },
    ]);
  });
  after(() => service?.[Symbol.asyncDispose]());

  const challenge = async (): Promise<string> => {
    const { body } = await service.ask('/v1/identity/attest/challenge', { method: 'POST' });
    return String(body['challenge']);
  };
  interface Shown {
    readonly node?: KeyPair;
    readonly challenge?: string;
    readonly claims?: object;
    readonly signedBy?: KeyObject;
    readonly alg?: string;
    readonly from?: Pick<MiniCa, 'issue'>;
    readonly chain?: string;
  }
  const machine = (recipe: Recipe = {}, from: Pick<MiniCa, 'issue'> = ca) => {
    const keys = recipe.keys ?? generateKeyPairSync('ec', { namedCurve: 'P-256' });
    return { ...from.issue({ commonName: 'vm-1', dns: ['vm-1.rack.test'], ...recipe, keys }), keys };
  };
  const show = async (recipe: Recipe = {}, shown: Shown = {}) => {
    const { node = makeKeyPair(), alg = 'ES256' } = shown;
    const made = machine(recipe, shown.from);
    const key = shown.signedBy ?? made.keys.privateKey;
    assert.ok(key);
    const nodeKey = createHash('sha256')
      .update(node.publicKey.export({ type: 'spki', format: 'der' }))
      .digest('hex');
    const claims = {
      aud: 'selvedge-identity x509pop',
      challenge: shown.challenge ?? (await challenge()),
      nodeKey,
      ...shown.claims,
    };
    const statement = await new CompactSign(Buffer.from(JSON.stringify(claims))).setProtectedHeader({ alg }).sign(key);
    return attest(service, { method: 'x509pop', chain: shown.chain ?? made.chainPem, statement }, node);
  };

  test('the machine becomes the node of its name, with SVIDs within the grant; a second mapping for another', async () => {
    const node = makeKeyPair();
    const answer = await show({}, { node });
    assert.deepEqual(answer.body['services'], ['web', 'vm-1.*'], JSON.stringify(answer.body));
    const joined = { key: node, nodeId: String(answer.body['nodeId']) };
    assert.equal((await service.issue(joined, { service: 'web' })).status, 200);
    assert.equal(codeOf(await service.issue(joined, { service: 'db' })), '403 SLV-2120');
    const shown = (await service.operate(`/v1/identity/nodes/${joined.nodeId}`)).body;
    assert.match(String(shown['subject']), /^sha256 [0-9a-f]{64}$/);
    const db = await show({ commonName: 'db-1', dns: ['db.rack.test'] });
    assert.deepEqual(db.body['services'], ['db']);
  });

  for (const [what, make, alg] of [
    ['P-384', () => generateKeyPairSync('ec', { namedCurve: 'P-384' }), 'ES384'],
    ['Ed25519', () => generateKeyPairSync('ed25519'), 'EdDSA'],
    ['RSA', () => generateKeyPairSync('rsa', { modulusLength: 2_048 }), 'PS256'],
  ] as const) {
    test(`a key of ${what}`, async () => assert.equal((await show({ keys: make() }, { alg })).status, 200));
  }

  const hour = 3_600_000;
  const refused: readonly [what: string, show: () => ReturnType<typeof show>, code: string, says: RegExp][] = [
    [
      'expired',
      () => show({ notBeforeMs: Date.now() - 2 * hour, notAfterMs: Date.now() - hour }),
      '401 SLV-2107',
      /it is valid from/,
    ],
    [
      'not valid yet',
      () => show({ notBeforeMs: Date.now() + hour, notAfterMs: Date.now() + 2 * hour }),
      '401 SLV-2107',
      /it is valid from/,
    ],
    ['another root', () => show({}, { from: makeCa('machines.test') }), '401 SLV-2107', /no root of the configuration/],
    [
      'a signer that is no CA',
      () => show({}, { from: ca.intermediate({ isCa: false }) }),
      '401 SLV-2107',
      /may not sign certificates/,
    ],
    [
      'a signer that has run out',
      () => show({}, { from: ca.root.intermediate({ notAfterMs: Date.now() - hour }) }),
      '401 SLV-2107',
      /a signer is valid/,
    ],
    ['a CA itself', () => show({ isCa: true, keyUsage: [usage.keyCertSign] }), '401 SLV-2107', /certificate of a CA/],
    ['for servers only', () => show({ extendedKeyUsage: [serverAuth] }), '401 SLV-2107', /not for TLS clients/],
    [
      'a key that may not sign',
      () => show({ keyUsage: [usage.keyEncipherment] }),
      '401 SLV-2107',
      /may not sign \(keyUsage\)/,
    ],
    [
      'signed by another key',
      () => show({}, { signedBy: makeKeyPair().privateKey }),
      '401 SLV-2107',
      /not signed by its key/,
    ],
    [
      'signed for another node key',
      () => show({}, { claims: { nodeKey: '0'.repeat(64) } }),
      '401 SLV-2107',
      /another node key/,
    ],
    ['signed for another purpose', () => show({}, { claims: { aud: 'x' } }), '401 SLV-2107', /not signed by its key/],
    ['a challenge of its own', () => show({}, { challenge: 'A'.repeat(90) }), '401 SLV-2107', /none of ours/],
    ['no certificate', () => show({}, { chain: 'none at all' }), '401 SLV-2107', /no PEM certificate/],
    [
      'nonsense for a certificate',
      () => show({}, { chain: toPem('CERTIFICATE', Buffer.from('abc')) }),
      '401 SLV-2107',
      /cannot be read/,
    ],
    ['a wildcard for a name', () => show({ dns: ['*.rack.test'] }), '403 SLV-2106', /characters that no name has/],
    ['no name', () => show({ dns: [] }), '403 SLV-2106', /dns has 0 values/],
    ['two names', () => show({ dns: ['a.test', 'b.test'] }), '403 SLV-2106', /dns has 2 values/],
    ['a name of the control plane', () => show({ dns: ['selvedge-catalog.test'] }), '403 SLV-2106', /control plane/],
  ];
  for (const [what, call, code, says] of refused) {
    test(`refused: ${what}`, async () => {
      const answer = await call();
      assert.equal(codeOf(answer), code, JSON.stringify(answer.body));
      assert.match(String(answer.body['detail']), says);
    });
  }

  test('for clients only will do, and without the extension', async () => {
    assert.equal((await show({ extendedKeyUsage: [clientAuth] })).status, 200);
    assert.equal((await show({ extendedKeyUsage: null })).status, 200);
  });

  test('a challenge is good once; a refusal before the signature was seen leaves it good', async () => {
    const one = await challenge();
    assert.equal(codeOf(await show({}, { challenge: one, signedBy: makeKeyPair().privateKey })), '401 SLV-2107');
    assert.equal((await show({}, { challenge: one })).status, 200);
    const replayed = await show({}, { challenge: one });
    assert.equal(codeOf(replayed), '401 SLV-2107');
    assert.match(String(replayed.body['detail']), /used before/);
    const before = await challenge();
    await service.restart();
    assert.match(String((await show({}, { challenge: before })).body['detail']), /none of ours/);
  });

  test('a root that is added needs no restart, one that is gone lets nobody in', async () => {
    const other = makeCa('more.test');
    assert.equal(codeOf(await show({}, { from: other })), '401 SLV-2107');
    writeFileSync(rootsFile, toPem('CERTIFICATE', other.root.certificate));
    assert.equal((await show({}, { from: other })).status, 200);
    assert.equal(codeOf(await show()), '401 SLV-2107');
  });

  test('a start without the roots fails at once', async () => {
    const mappings = [{ node: '{{ subject/cn }}', services: ['web'] }];
    for (const [name, content] of [
      ['none.pem', undefined],
      ['empty.pem', 'nothing'],
    ] as const) {
      const path = join(folder, name);
      if (content !== undefined) writeFileSync(path, content);
      await assert.rejects(startAttesting([{ method: 'x509pop', 'roots-file': path, mappings }]), (error) =>
        isMeshError(error, 'SLV-1005'),
      );
    }
  });
});

describe('challenges', () => {
  const randomBytes = (size: number): Uint8Array => crypto.getRandomValues(new Uint8Array(size));

  test('good for a minute, once, with the process that made them', () => {
    let nowMs = 1_000_000;
    const challenges = new Challenges({ clock: () => nowMs, randomBytes });
    const others = new Challenges({ clock: () => nowMs, randomBytes });
    const [first, second, third] = [challenges.make(), challenges.make(), challenges.make()];
    challenges.use(first);
    for (const bad of [
      first,
      others.make(),
      second.replace(/^\d+/, '9999999'),
      `${second}A`,
      '',
      '..',
      second.slice(1),
    ]) {
      assert.throws(
        () => challenges.use(bad),
        (error) => isMeshError(error, 'SLV-2107'),
      );
    }
    nowMs += 59_999;
    challenges.use(second);
    nowMs += 1;
    assert.throws(() => challenges.use(third), /expired/);
    nowMs -= 3_600_000;
    assert.throws(() => challenges.use(third), /another time/);
  });
});
