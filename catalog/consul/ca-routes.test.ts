import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { makeCa } from '#test/mini-ca.ts';
import { SignedBundles } from '#test/signed-bundles.ts';
import { send, startTestCatalog, workload } from '../testing/running-catalog.ts';

const rootsPath = '/v1/connect/ca/roots';

test('roots: JSON and PEM, and blocking until a root changes', async (t) => {
  const [r1, r2] = [makeCa('mesh.test'), makeCa('mesh.test')];
  const signedBundle = new SignedBundles();
  await signedBundle.publish(r1, [], 1);
  const catalog = await startTestCatalog(t, { signedBundle });
  const first = await send(catalog, 'GET', rootsPath);
  const index = Number(first.headers.get('x-consul-index'));
  assert.equal(first.status, 200);
  assert.ok(index >= 1);
  assert.equal(first.headers.get('x-consul-lastcontact'), '0');
  const { ActiveRootID, TrustDomain, Roots } = first.json as Record<string, unknown> & { Roots: { ID: string }[] };
  assert.deepEqual([TrustDomain, Roots.length, Roots[0]?.ID], ['mesh.test', 1, ActiveRootID]);

  const pem = await send(catalog, 'GET', `${rootsPath}?pem=true`);
  assert.equal(pem.headers.get('content-type'), 'application/pem-certificate-chain');
  assert.deepEqual(new X509Certificate(pem.text).raw, Buffer.from(r1.root.certificate));

  const unchanged = await send(catalog, 'GET', `${rootsPath}?index=${index}&wait=20ms`);
  assert.equal(unchanged.headers.get('x-consul-index'), String(index));
  const waiting = send(catalog, 'GET', `${rootsPath}?index=${index}&wait=10s`);
  await signedBundle.publish(r1, [], 2); // a revocation: nothing that concerns the reader
  await signedBundle.publish(r1, [r2], 3);
  const changed = await waiting;
  assert.equal((changed.json as { Roots: unknown[] }).Roots.length, 2);
  assert.ok(Number(changed.headers.get('x-consul-index')) > index);
  const pretty = await send(catalog, 'GET', `${rootsPath}?pretty`);
  assert.match(pretty.text, /\n {4}"ActiveRootID"/);
});

test('configuration: for operators to look at, not to write', async (t) => {
  const signedBundle = new SignedBundles();
  await signedBundle.publish(makeCa('mesh.test'), [], 1);
  const catalog = await startTestCatalog(t, { signedBundle, open: false });
  const token = { 'x-consul-token': catalog.operatorToken ?? '' };
  const path = '/v1/connect/ca/configuration';
  const shown = await send(catalog, 'GET', path, { headers: token });
  assert.deepEqual(Object.keys(shown.json as object), [
    'Provider',
    'Config',
    'State',
    'ForceWithoutCrossSigning',
    'CreateIndex',
    'ModifyIndex',
  ]);
  const written = await send(catalog, 'PUT', path, { headers: token, body: { Provider: 'vault', Config: {} } });
  assert.deepEqual([written.status, /identity service/.test(written.text)], [501, true]);
  for (const method of ['GET', 'PUT']) {
    assert.equal((await send(catalog, method, path, { env: workload('web') })).status, 403, method);
    assert.equal((await send(catalog, method, path)).status, 403, method);
  }
  assert.equal((await send(catalog, 'GET', rootsPath, { env: workload('web') })).status, 200);
  assert.equal((await send(catalog, 'DELETE', path, { headers: token })).status, 405);
});

test('without a bundle it says so, as Consul does', async (t) => {
  const catalog = await startTestCatalog(t);
  const answer = await send(catalog, 'GET', rootsPath);
  assert.deepEqual([answer.status, /^Connect must be enabled/.test(answer.text)], [500, true]);
  for (const query of ['index=x', 'wait=x', 'stale&consistent']) {
    assert.equal((await send(catalog, 'GET', `${rootsPath}?${query}`)).status, 400, query);
  }
});
