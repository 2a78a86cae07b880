import assert from 'node:assert/strict';
import { test } from 'node:test';
import { feedMessageSchema } from '#policies/wire/feed.ts';
import { systemClock } from '#runtime/clock.ts';
import { type MeshRequest, meshRequest, meshStream } from '#runtime/mesh-http.ts';
import { svidHolder } from '#runtime/svid/svid.ts';
import { makeCa, staticTrust } from '#test/mini-ca.ts';
import { startTestCatalog } from './testing/running-catalog.ts';

const spiffeId = (service: string) => `spiffe://mesh.test/ns/default/dc/dc1/svc/${service}`;

test('over mTLS a proxy is its service and nobody else; without an SVID it is nobody', async (t) => {
  const ca = makeCa('mesh.test');
  const trust = staticTrust(ca.bundle);
  const svid = svidHolder(ca.issue({ spiffeId: spiffeId('selvedge-catalog') }));
  const catalog = await startTestCatalog(t, { open: false, tls: { svid, trust } });
  const web = ca.issue({ spiffeId: spiffeId('web') });
  const options = (path: string, more: Partial<MeshRequest> = {}): MeshRequest => ({
    url: `${catalog.url}${path}`,
    svid: web,
    trust,
    clock: systemClock,
    timeoutMs: 5_000,
    ...more,
  });
  const register = async (Service: string) => {
    const body = JSON.stringify({ Node: 'n1', Address: '10.0.0.1', Service: { Service, Port: 1 } });
    return (await meshRequest(options('/v1/catalog/register', { method: 'PUT', body }))).status;
  };
  assert.equal(await register('web'), 200);
  assert.equal(await register('db'), 403);
  const { url, trust: trusted, clock, timeoutMs } = options('/v1/catalog/services');
  assert.equal(
    (await meshRequest({ url, ...(trusted === undefined ? {} : { trust: trusted }), clock, timeoutMs })).status,
    403,
  );

  const stream = await meshStream(options('/v1/mesh/feed?proxy=n1/web&service=web&upstream=web'));
  assert.equal(stream.status, 200);
  for await (const line of stream.lines) {
    const message = feedMessageSchema.parse(JSON.parse(line));
    if (message.type === 'update') break;
    assert.equal(message.type, 'hello');
  }
  stream.close();
  const foreign = await meshStream(options('/v1/mesh/feed?proxy=n1/db&service=db'));
  assert.equal(foreign.status, 403);
  foreign.close();
});
