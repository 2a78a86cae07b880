import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import Consul from 'consul';
import { startHttpApplication, status } from '../scenarios/application.ts';
import { waitFor } from '../wait-for.ts';
import { startDevMesh } from './dev-mesh.ts';

/** npm's `consul` as its README uses it. Its watches are typed as `Function` and its answers as `any`: what they hold is asserted here. */

const mesh = await startDevMesh();
const consul = new Consul({ host: '127.0.0.1', port: mesh.port });
after(() => consul.destroy());

/** The status and the words of a refusal. The client's message is the words only where they are shorter than 80 bytes. */
async function refusal(call: Promise<unknown>): Promise<string> {
  const error = await call.then(
    () => assert.fail('was not refused'),
    (error: { response?: { statusCode: number; body: string } }) => error,
  );
  return `${error.response?.statusCode} ${error.response?.body}`;
}

test('agent: who it is; a service by its name alone', async () => {
  const self = await consul.agent.self();
  assert.deepEqual([self.Config.Datacenter, self.Config.NodeName], ['dc1', 'laptop']);
  assert.deepEqual(
    (await consul.agent.members()).map(({ Name, Addr }) => [Name, Addr]),
    [['laptop', '127.0.0.1']],
  );
  await consul.agent.service.register('plain');
  const { plain } = await consul.agent.service.list();
  assert.deepEqual([plain.ID, plain.Service, plain.Tags, plain.Port], ['plain', 'plain', [], 0]);
  await consul.agent.service.deregister('plain');
  assert.equal((await consul.agent.service.list())['plain'], undefined);
});

test('a TTL check decides who is in health.service, and its watch hears of each change', async () => {
  await consul.agent.service.register({
    ...{ name: 'web', id: 'web-1', address: '127.0.0.1', port: 8080, tags: ['blue'], meta: { version: '1' } },
    check: { ttl: '10m', timeout: '1s', name: 'alive', checkid: 'web-1-alive' },
  });
  const seen: string[][] = [];
  const errors: unknown[] = [];
  const watch = consul.watch({
    method: consul.health.service,
    // Its types want strings here; its README passes these.
    options: { service: 'web', passing: true } as unknown as Record<string, string>,
    backoffFactor: 10,
  });
  watch.on('change', (entries: { Service: { ID: string } }[]) => seen.push(entries.map(({ Service }) => Service.ID)));
  watch.on('error', (error) => errors.push(error));
  after(() => watch.end());
  /** Waits until the watch last told of these. */
  const told = (ids: readonly string[], why: string) =>
    waitFor(`${ids} in ${JSON.stringify(seen)}: ${why}`, () => isDeepStrictEqual(seen.at(-1), ids), 20_000);

  await told([], 'critical until it is told otherwise');
  await consul.agent.check.pass({ id: 'web-1-alive', note: 'here' });
  await told(['web-1'], 'passed');
  const [check] = await consul.health.checks('web');
  assert.deepEqual([check?.Status, check?.Output, check?.ServiceTags], ['passing', 'here', ['blue']]);
  const [node] = await consul.catalog.service.nodes({ service: 'web', tag: 'blue' });
  assert.deepEqual([node.ServicePort, node.ServiceMeta, node.Node], [8080, { version: '1' }, 'laptop']);
  assert.deepEqual(await consul.health.service({ service: 'web', filter: 'Service.Meta.version == 2' }), []);

  await consul.agent.check.warn('web-1-alive');
  await told([], 'warned');
  await consul.agent.check.pass('web-1-alive');
  await told(['web-1'], 'passed again');
  await consul.agent.service.maintenance({ id: 'web-1', enable: true, reason: 'new disk' });
  await told([], 'in maintenance');
  assert.deepEqual(
    (await consul.health.state('critical')).map(({ CheckID, Notes }) => [CheckID, Notes]),
    [['_service_maintenance:web-1', 'new disk']],
  );
  await consul.agent.service.maintenance({ id: 'web-1', enable: false });
  await told(['web-1'], 'out of maintenance');
  await consul.agent.service.deregister('web-1');
  await told([], 'deregistered');
  assert.deepEqual(errors, []);
});

test('an HTTP check is run by the agent', async () => {
  const application = await startHttpApplication();
  const http = `http://${application.address}/health`;
  await consul.agent.check.register({ name: 'disk', http, interval: '1s', timeout: '5s', notes: 'by hand' });
  const becomes = (wanted: string) =>
    waitFor(`disk to be ${wanted}`, async () => (await consul.agent.check.list())['disk']?.Status === wanted, 20_000);
  await becomes('passing');
  application.answer = status(503);
  await becomes('critical');
  await waitFor(
    'health.node to show it',
    async () => {
      const checks = await consul.health.node('laptop');
      return checks.some(
        ({ CheckID, Status, Notes }) => CheckID === 'disk' && Status === 'critical' && Notes === 'by hand',
      );
    },
    20_000,
  );
  await consul.agent.check.deregister('disk');
});

test('catalog: nodes and services registered from outside', async () => {
  await consul.catalog.register({
    ...{ node: 'db-host', address: '10.0.0.9', nodemeta: { rack: '7' } },
    service: { service: 'db', id: 'db-1', port: 5432, tags: ['primary'] },
    check: { name: 'db up', checkid: 'db:1', serviceid: 'db-1', status: 'passing' },
  });
  assert.deepEqual(await consul.catalog.datacenters(), ['dc1']);
  assert.deepEqual((await consul.catalog.service.list())['db'], ['primary']);
  const nodes = (await consul.catalog.node.list()) as unknown as { Node: string; Address: string }[];
  assert.deepEqual(nodes.find(({ Node }) => Node === 'db-host')?.Address, '10.0.0.9');
  const { Services } = (await consul.catalog.node.services('db-host')) as {
    Services: Record<string, { Port: number }>;
  };
  assert.equal(Services['db-1']?.Port, 5432);
  assert.deepEqual(await consul.catalog.connect.nodes('db'), []);
  await consul.catalog.deregister({ node: 'db-host' });
  assert.equal((await consul.catalog.service.list())['db'], undefined);
});

test('KV: values, check-and-set, folders, a watch, a transaction', async () => {
  assert.equal(await consul.kv.get('no/such'), undefined);
  assert.equal(await consul.kv.set('app/name', 'wéb €'), true);
  const item = await consul.kv.get('app/name');
  assert.equal(item?.Value, 'wéb €');
  // Its HTTP library makes undefined of a `false`.
  assert.equal(await consul.kv.set({ key: 'app/name', value: 'x', cas: 0 }), undefined);
  assert.equal(await consul.kv.set({ key: 'app/name', value: 'shop', cas: item?.ModifyIndex ?? 0, flags: 7 }), true);
  assert.equal(await consul.kv.set('app/db/host', ''), true);
  assert.deepEqual(await consul.kv.keys({ key: 'app/', separator: '/' }), ['app/db/', 'app/name']);
  const all = (await consul.kv.get({ key: 'app/', recurse: true })) as {
    Key: string;
    Value: string | null;
    Flags: number;
  }[];
  assert.deepEqual(
    all.map(({ Key, Value, Flags }) => [Key, Value, Flags]),
    [
      ['app/db/host', null, 0],
      ['app/name', 'shop', 7],
    ],
  );

  const seen: (string | undefined)[] = [];
  const watch = consul.watch({ method: consul.kv.get, options: { key: 'app/name' } });
  watch.on('change', (found?: { Value: string }) => seen.push(found?.Value));
  after(() => watch.end());
  await waitFor('the first value', () => seen[0] === 'shop', 20_000);
  // As its README has it; its types name neither `KV` nor a call without options.
  const done = await consul.transaction.create([
    { KV: { Verb: 'check-not-exists', Key: 'app/lock' } },
    { KV: { Verb: 'set', Key: 'app/name', Value: Buffer.from('market').toString('base64') } },
  ] as never);
  assert.equal(done.Results?.length, 1);
  await waitFor('the value of the transaction', () => seen[1] === 'market', 20_000);
  assert.equal(await consul.kv.del({ key: 'app/', recurse: true }), true);
  await waitFor('the key to be gone', () => seen.length === 3 && seen[2] === undefined, 20_000);
});

test('status; and what is not offered is refused with words, not taken for something else', async () => {
  assert.match(await consul.status.leader(), /^127\.0\.0\.1:\d+$/);
  assert.equal((await consul.status.peers()).length, 1);
  assert.match(await refusal(consul.session.create({ name: 'lock' })), /^501 Sessions/);
  assert.match(await refusal(consul.query.list()), /^501 .*queries/i);
});
