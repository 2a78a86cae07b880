import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { parseSpiffeId } from '#policies/spiffe-id.ts';
import { makeCa } from '#test/mini-ca.ts';
import { testKey } from './testing/forge-request.ts';
import { verifyIssued } from './verify-issued.ts';

const ca = makeCa('mesh.test');
const spiffeId = parseSpiffeId('spiffe://mesh.test/ns/default/dc/dc1/svc/web');
const keys = testKey();
const request = { spkiDer: keys.publicKey.export({ format: 'der', type: 'spki' }), key: keys.publicKey, pem: '' };

const cases: readonly [asked: readonly string[] | undefined, returned: readonly string[], says: RegExp | undefined][] =
  [
    [undefined, [], undefined],
    [[], [], undefined],
    [['a.test'], ['a.test'], undefined],
    [['a.test', 'b.test'], ['b.test', 'a.test'], undefined],
    [undefined, ['a.test'], /names that were not asked for/],
    [[], ['a.test'], /names that were not asked for/],
    [['a.test'], ['b.test'], /names that were not asked for/],
    [['a.test'], ['A.test'], /names that were not asked for/],
    [['a.test'], ['*.test'], /names that were not asked for/],
    [['a.test'], ['a.test', 'b.test'], /names that were not asked for/],
    [['a.test'], [], /does not hold each DNS name/],
    [['a.test', 'b.test'], ['a.test'], /does not hold each DNS name/],
    [['a.test', 'b.test'], ['a.test', 'a.test'], /does not hold each DNS name/],
    [['a.test'], ['a.test', 'a.test'], /does not hold each DNS name/],
  ];
for (const [asked, returned, says] of cases) {
  const names = (list: readonly string[] = []): string => (list.length === 0 ? 'no DNS name' : list.join(' and '));
  test(`asked for ${names(asked)}, a leaf with ${names(returned)} is ${says === undefined ? 'taken' : 'thrown away'}`, async () => {
    const { chain } = ca.issue({ spiffeId, dns: returned, keys });
    const order = { request, spiffeId, ttlSeconds: 3_600, ...(asked === undefined ? {} : { dnsSans: asked }) };
    const verified = verifyIssued({ chain }, order, ca.bundle.x509Authorities, Date.now());
    if (says === undefined) await verified;
    else await assert.rejects(verified, (error) => isMeshError(error, 'SLV-2142') && says.test(error.message));
  });
}
