import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { svidHolder } from '#runtime/svid/svid.ts';
import { makeCa } from '#test/mini-ca.ts';
import { SignedBundles } from '#test/signed-bundles.ts';
import { startAgent } from './testing/running-agent.ts';

const path = '/v1/agent/connect/ca';
const spiffeId = 'spiffe://mesh.test/ns/default/dc/dc1/svc/web';

async function scene(t: Parameters<typeof startAgent>[0]) {
  const ca = makeCa('mesh.test');
  const bundle = new SignedBundles();
  await bundle.publish(ca, [], 1);
  const web = svidHolder(ca.issue({ spiffeId }));
  const { send } = await startAgent(t, {
    ca: {
      bundle,
      svid: async (service) => (service === 'web' ? web : undefined),
      leafAccess: { kind: 'token', check: (presented) => presented === 'secret' },
    },
  });
  const leaf = (query = '', headers: Record<string, string> = { 'x-consul-token': 'secret' }) =>
    send('GET', `${path}/leaf/web${query}`, undefined, headers);
  return { ca, bundle, web, send, leaf };
}

test('the leaf of a service of this host, with its key; blocking until it is renewed', async (t) => {
  const { ca, web, leaf } = await scene(t);
  const first = await leaf();
  assert.equal(first.status, 200);
  const kept = ['cache-control', 'x-cache', 'age', 'x-consul-lastcontact'].map((name) => first.headers.get(name));
  assert.deepEqual(kept, ['no-store', 'HIT', '0', '0']);
  const index = Number(first.headers.get('x-consul-index'));
  assert.ok(index >= 1);
  assert.deepEqual([first.json.Service, first.json.ServiceURI, first.json.ModifyIndex], ['web', spiffeId, index]);
  const key = createPrivateKey(first.json.PrivateKeyPEM);
  assert.ok(new X509Certificate(first.json.CertPEM).checkPrivateKey(key));
  assert.equal((await leaf()).text, first.text, 'the same until it is renewed');

  const waiting = leaf(`?index=${index}&wait=10s`);
  web.set(ca.issue({ spiffeId }));
  const renewed = await waiting;
  assert.notEqual(renewed.json.SerialNumber, first.json.SerialNumber);
  assert.ok(Number(renewed.headers.get('x-consul-index')) > index);
});

test('no key without the token, and none of a service that is not of this host', async (t) => {
  const { send, leaf } = await scene(t);
  assert.equal((await leaf('', {})).status, 403);
  assert.equal((await leaf('', { 'x-consul-token': 'wrong' })).status, 403);
  assert.equal((await leaf('', { authorization: 'Bearer secret' })).status, 200);
  assert.equal((await leaf('?token=secret', {})).status, 200);
  const other = await send('GET', `${path}/leaf/db`, undefined, { 'x-consul-token': 'secret' });
  assert.deepEqual([other.status, /no identity of "db"/.test(other.text)], [403, true]);
  assert.equal((await leaf('', { 'x-consul-token': 'secret', origin: 'http://evil.test' })).status, 403);
});

test('roots for everybody who reaches the agent; blocking', async (t) => {
  const { ca, bundle, send } = await scene(t);
  const first = await send('GET', `${path}/roots`);
  const index = Number(first.headers.get('x-consul-index'));
  assert.deepEqual([first.status, first.json.TrustDomain, first.json.Roots.length], [200, 'mesh.test', 1]);
  const waiting = send('GET', `${path}/roots?index=${index}&wait=10s`);
  await bundle.publish(ca, [makeCa('mesh.test')], 2);
  assert.equal((await waiting).json.Roots.length, 2);
  assert.equal((await send('GET', `${path}/roots?index=-1`)).status, 400);
});

test('what identity says no to is a line of text, as at Consul: 400 for a name that can not be, 500 for what may be tried again', async (t) => {
  const { send } = await startAgent(t, {
    ca: {
      bundle: new SignedBundles(),
      async svid(service) {
        if (service === 'a b') throw new MeshError('SLV-5002', '"a b" is not a valid name.');
        throw service === 'db' ? new MeshError('SLV-2014', 'The identity service refused.') : new TypeError('a fault');
      },
      leafAccess: { kind: 'open' },
    },
  });
  for (const [service, status, says] of [
    ['a%20b', 400, /^"a b" is not a valid name\. \(SLV-5002: /],
    ['db', 500, /^The identity service refused\. \(SLV-2014: /],
    ['web', 500, /^Internal error; the log of the agent has its cause under [0-9a-f-]{36}$/],
  ] as const) {
    const answer = await send('GET', `${path}/leaf/${service}`);
    assert.match(answer.text, says);
    assert.deepEqual([answer.status, answer.headers.get('content-type')], [status, 'text/plain; charset=utf-8']);
  }
});

test('an agent without identity says that Connect is not enabled', async (t) => {
  const { send } = await startAgent(t);
  for (const what of ['roots', 'leaf/web']) {
    const { status, text } = await send('GET', `${path}/${what}`);
    assert.deepEqual([status, /^Connect must be enabled/.test(text)], [500, true]);
  }
});
