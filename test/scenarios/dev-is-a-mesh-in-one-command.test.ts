import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { test } from 'node:test';
import type { Child } from '#test/child.ts';
import type { MeshProcesses } from '#test/mesh-processes.ts';
import { waitFor } from '#test/wait-for.ts';
import { startEcho, startHttpApplication } from './application.ts';
import { httpCall } from './http-call.ts';
import { setScene } from './scene.ts';

/** The main path as a developer walks it: one `selvedge dev`, edge proxies driven by flags alone, intentions by command. */

interface DevMesh {
  readonly child: Child;
  readonly catalog: string;
  readonly identity: string;
}

const any = '127.0.0.1:0';
const db = await startHttpApplication();
const echo = await startEcho();

const {
  mesh,
  dev,
  db: dbAddress,
  echo: echoAddress,
} = await setScene({}, async (mesh) => {
  for (const name of ['cwd', 'tmp']) mkdirSync(mesh.path(name));
  const flags = ['--datacenter', 'dc9', '--node-name', 'laptop', '--default-intention-policy', 'deny'];
  const dev = await startDev(mesh, 'dev', flags);
  const [web] = await Promise.all([
    startProxy(mesh, dev, 'web', ['--upstream', `db=${any}`, '--upstream', `echo=${any}`]),
    startProxy(mesh, dev, 'db', ['--local', db.address, '--listen', any]),
    startProxy(mesh, dev, 'echo', ['--local', echo.address, '--listen', any]),
  ]);
  for (const name of ['db', 'echo']) await mesh.knows(await web.fact('admin'), name);
  return { dev, db: await web.fact('upstream db'), echo: await web.fact('upstream echo') };
});

/** Starts `selvedge dev` on free ports, in an empty directory. */
async function startDev(mesh: MeshProcesses, name: string, flags: readonly string[]): Promise<DevMesh> {
  const place = { cwd: mesh.path('cwd'), environment: { TMPDIR: mesh.path('tmp') } };
  const child = mesh.selvedge(
    name,
    ['dev', '--http-addr', any, '--identity-addr', any, '--dns-addr', any, ...flags],
    place,
  );
  await child.fact('ready');
  return { child, catalog: await child.fact('catalog'), identity: await child.fact('identity') };
}

async function startProxy(mesh: MeshProcesses, of: DevMesh, name: string, flags: readonly string[]): Promise<Child> {
  const [service = ''] = name.split('-');
  const child = mesh.selvedge(name, [
    ...['serve', 'edge-proxy', '--service', service, ...flags, '--admin-addr', any, '--node-name', `${name}-host`],
    ...['--catalog', of.catalog, '--identity', of.identity],
  ]);
  await child.fact('ready');
  return child;
}

/** Runs `selvedge …` against a dev mesh. */
const run = (of: DevMesh, ...args: string[]) => mesh.command([...args, '--catalog', of.catalog]);

/** What comes back on a new connection to the echo before it is closed. */
function echoed(address: string): Promise<string> {
  const [host, port] = address.split(':');
  const socket = connect(Number(port), host);
  socket.on('error', () => undefined); // refused
  socket.end('hello');
  return new Promise((resolve) => {
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    socket.once('close', () => resolve(text));
  });
}

test('a web page gets nothing of what stands open: neither by its name leading to this host, nor by asking from another site', async () => {
  for (const [url, path] of [
    [dev.catalog, '/v1/catalog/nodes'],
    [dev.identity, '/v1/identity/nodes'],
  ] as const) {
    const { host } = new URL(url);
    assert.equal((await httpCall(host, { path })).status, 200, path);
    for (const headers of [{ host: 'page.example' }, { origin: 'http://page.example' }]) {
      const { status, text } = await httpCall(host, { path, headers });
      assert.equal(status, 403, `${path} ${JSON.stringify(headers)}`);
      assert.match(text, /dev mode/);
    }
  }
});

test('nobody is let in before an intention says so, and the refusal says why', async () => {
  assert.equal(
    (await run(dev, 'config-entry', 'write', file({ Kind: 'service-defaults', Name: 'db', Protocol: 'http' }))).code,
    0,
  );
  const refused = await waitFor(
    'a refusal over HTTP',
    async () => {
      const answer = await httpCall(dbAddress, { path: '/orders' });
      return answer.headers['content-type'] === 'application/problem+json' ? answer : undefined;
    },
    20_000,
  );
  assert.equal(refused.status, 403);
  assert.match(refused.text, /SLV-4001/);
  assert.match(refused.text, /No intention matches web -> db/);
  assert.equal(await echoed(echoAddress), '');
  assert.equal(db.count + echo.open.size, 0);
});

test('L4: an allow by command lets the caller in, and each side knows whom it talks to', async () => {
  for (const name of ['db', 'echo'])
    assert.equal((await run(dev, 'intention', 'create', 'web', name, '--allow')).code, 0);
  await waitFor('web to reach the echo', async () => (await echoed(echoAddress)) === 'hello', 20_000);
  await waitFor('web to reach db', async () => (await httpCall(dbAddress)).status === 200, 20_000);
  const id = (service: string) => `spiffe://mesh.internal/ns/default/dc/dc9/svc/${service}`;
  assert.equal(db.seen.at(-1)?.headers['selvedge-source'], id('web'));
  const { upstreams } = await mesh.status(await mesh.child('web').fact('admin'));
  assert.equal(upstreams.find(({ name }) => name === 'db')?.endpoints[0]?.verified, id('db'));
});

test('another root by command: in use as soon as all proxies have it, and nobody is cut off', async () => {
  const rotation = async () => {
    const { stdout } = await mesh.command([
      'identity',
      'rotation',
      'status',
      '--output',
      'json',
      '--identity',
      dev.identity,
    ]);
    return JSON.parse(stdout) as { state: string };
  };
  assert.equal((await mesh.command(['identity', 'rotate', 'root', '--identity', dev.identity])).code, 0);
  // By time alone it would be three minutes.
  await waitFor('the new root to be in use', async () => (await rotation()).state === 'activated', 60_000);
  assert.equal((await httpCall(dbAddress)).status, 200);
  assert.equal(await echoed(echoAddress), 'hello');
});

test('L7: permissions by command decide each request, whatever it is disguised as', async () => {
  const permissions = file([
    { Action: 'allow', HTTP: { PathExact: '/orders', Methods: ['GET'] } },
    { Action: 'deny', HTTP: { PathPrefix: '/' } },
  ]);
  assert.equal((await run(dev, 'intention', 'create', 'web', 'db', '--permissions', permissions)).code, 0);
  await waitFor(
    'DELETE to be refused',
    async () => (await httpCall(dbAddress, { method: 'DELETE', path: '/orders' })).status === 403,
    20_000,
  );
  assert.equal((await httpCall(dbAddress, { path: '/orders?day=today' })).status, 200);
  db.clear();
  for (const path of ['/orders/1', '/Orders', '/%6frders/..', '//orders', '/x/../orders/', '/orders;a=b', '/orders%2f'])
    await httpCall(dbAddress, { path });
  // Another spelling of what is allowed is allowed, and forwarded in the one spelling that was judged.
  for (const { path } of db.seen) assert.equal(path, '/orders');
  const [get, remove] = await Promise.all(
    ['GET', 'DELETE'].map((method) => check('web', '--method', method, '--path', '/orders')),
  );
  assert.deepEqual([get?.code, remove?.code], [0, 3]);
  assert.match(remove?.stdout ?? '', /^denied: web -> db permission 2/);
});

test('intention check ends with 0 for allowed, 3 for denied, 2 for misuse, 5 without a catalog', async () => {
  const gone = mesh.command(['intention', 'check', 'web', 'db', '--catalog', 'http://127.0.0.1:1']);
  const results = await Promise.all([
    check('web', '--path', '/orders'),
    check('nobody'),
    check('web', '--metod', 'GET'),
    gone,
  ]);
  assert.deepEqual(
    results.map(({ code }) => code),
    [0, 3, 2, 5],
  );
  assert.match(results[2]?.stderr ?? '', /--method/, 'the nearest right flag is named');
});

test('list shows what there is; delete takes it away', async () => {
  const listed = await run(dev, 'intention', 'list', '--output', 'json');
  const pairs = (JSON.parse(listed.stdout) as { source: string; destination: string }[]).map(
    ({ source, destination }) => `${source} -> ${destination}`,
  );
  assert.deepEqual(pairs.sort(), ['web -> db', 'web -> echo']);
  assert.equal((await run(dev, 'intention', 'delete', 'web', 'echo')).code, 0);
  await waitFor('the echo to be out of reach', async () => (await echoed(echoAddress)) === '', 20_000);
});

test('--default-intention-policy allow: everyone is let in until a deny', async () => {
  const open = await startDev(mesh, 'dev-allow', ['--default-intention-policy', 'allow']);
  const [web] = await Promise.all([
    startProxy(mesh, open, 'web-allow', ['--upstream', `echo=${any}`]),
    startProxy(mesh, open, 'echo-allow', ['--local', echo.address, '--listen', any]),
  ]);
  await mesh.knows(await web.fact('admin'), 'echo');
  const address = await web.fact('upstream echo');
  await waitFor('web to reach the echo', async () => (await echoed(address)) === 'hello', 20_000);
  assert.equal((await run(open, 'intention', 'check', 'web', 'echo')).code, 0);
  assert.equal((await run(open, 'intention', 'create', 'web', 'echo', '--deny')).code, 0);
  await waitFor('the echo to be out of reach', async () => (await echoed(address)) === '', 20_000);
});

test('with a data directory what was written is there after a restart', async () => {
  const flags = ['--data-dir', mesh.path('kept')];
  const first = await startDev(mesh, 'dev-kept', flags);
  assert.equal((await run(first, 'intention', 'create', 'web', 'db', '--allow')).code, 0);
  const { rootPins } = (await (await fetch(`${first.identity}/v1/identity/status`)).json()) as { rootPins: string[] };
  await first.child.end('SIGKILL');
  const second = await startDev(mesh, 'dev-kept', flags);
  assert.equal((await run(second, 'intention', 'check', 'web', 'db')).code, 0);
  const again = (await (await fetch(`${second.identity}/v1/identity/status`)).json()) as { rootPins: string[] };
  assert.deepEqual(again.rootPins, rootPins);
  await second.child.end();
});

test('without one nothing is left behind', async () => {
  await mesh.end();
  for (const child of mesh.children)
    if (child.name !== 'dev-kept') assert.equal(child.ended, 'exit code 0', child.name);
  assert.deepEqual([readdirSync(mesh.path('cwd')), readdirSync(mesh.path('tmp'))], [[], []]);
});

const check = (source: string, ...flags: string[]) => run(dev, 'intention', 'check', source, 'db', ...flags);

let files = 0;
/** A file with this JSON. */
function file(content: object): string {
  files += 1;
  const path = mesh.path(`given-${files}.json`);
  writeFileSync(path, JSON.stringify(content));
  return path;
}
