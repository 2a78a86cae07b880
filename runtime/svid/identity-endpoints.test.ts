import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import { IdentityEndpoints } from './identity-endpoints.ts';

const away = new MeshError('SLV-1006', 'away');
const refused = (status: number) => new MeshError('SLV-2014', 'refused', { detail: { status } });

/** Asks, with what each server does. @returns who was asked, and what came of it */
async function ask(endpoints: IdentityEndpoints, servers: Record<string, MeshError | 'ok'>) {
  const asked: string[] = [];
  const result = await endpoints
    .ask(async (url) => {
      asked.push(url);
      const does = servers[url] ?? 'ok';
      if (does !== 'ok') throw does;
      return 'ok';
    })
    .catch((error: unknown) => error);
  return { asked, result };
}

test('the one that answered last is asked first; the next when it is away, unwell or not proven', async () => {
  const endpoints = new IdentityEndpoints(['https://a/', 'https://b', 'https://c']);
  assert.deepEqual(await ask(endpoints, {}), { asked: ['https://a'], result: 'ok' });
  for (const error of [
    away,
    refused(503),
    refused(502),
    new MeshError('SLV-2020', ''),
    new MeshError('SLV-2010', ''),
  ]) {
    const from = endpoints.preferred;
    const { asked, result } = await ask(endpoints, { [from]: error });
    assert.equal(result, 'ok');
    assert.equal(asked[0], from);
    assert.equal(asked.length, 2);
    assert.equal(endpoints.preferred, asked[1]);
  }
});

test('what one refuses is refused; when none answers, the last says why, and the order stays', async () => {
  const endpoints = new IdentityEndpoints(['https://a', 'https://b']);
  for (const status of [400, 403, 409, 429]) {
    const { asked, result } = await ask(endpoints, { 'https://a': refused(status) });
    assert.deepEqual(asked, ['https://a']);
    assert.ok(isMeshError(result, 'SLV-2014'));
  }
  const { asked, result } = await ask(endpoints, { 'https://a': away, 'https://b': refused(503) });
  assert.deepEqual(asked, ['https://a', 'https://b']);
  assert.ok(isMeshError(result, 'SLV-2014'));
  assert.equal(endpoints.preferred, 'https://a');
});

test('none, and plain with TLS, are refused', () => {
  for (const [urls, code] of [
    [[], 'SLV-1003'],
    [['https://a', 'http://b'], 'SLV-1002'],
  ] as const)
    assert.throws(
      () => new IdentityEndpoints(urls),
      (error) => isMeshError(error, code),
    );
  assert.equal(new IdentityEndpoints('http://a').isPlain, true);
});
