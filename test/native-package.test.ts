import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:http2';
import { join } from 'node:path';
import { test } from 'node:test';
import { Child } from './child.ts';
import { ask as askHttp2 } from './http2-session.ts';
import { startHttpApplication } from './scenarios/application.ts';
import { httpCall } from './scenarios/http-call.ts';
import { setScene } from './scenarios/scene.ts';
import { waitFor } from './wait-for.ts';

/** `selvedge/native` as others get it: packed, installed into an empty project, type-checked there, and in a mesh with services behind edge proxies. */

const root = join(import.meta.dirname, '..');
const node = join(root, 'bin', 'node');

/** A project of somebody's. */
const program = `
import { request } from 'node:http';
import { type ClientHttp2Session, connect, createServer, type ServerHttp2Stream } from 'node:http2';
import { text } from 'node:stream/consumers';
import { callerOf, joinMesh, type Mesh } from 'selvedge/native';

let session: ClientHttp2Session | undefined;
const http2 = createServer();
http2.on('stream', async (stream: ServerHttp2Stream, headers) => {
  session ??= connect('http://db.mesh', { createConnection: mesh.connect });
  const asked = session.request({ ':method': 'POST', ':path': '/by-http2', te: 'trailers' });
  asked.end(await text(stream));
  const answer = await text(asked);
  stream.respond({ 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '7' }));
  stream.end(\`\${callerOf({ headers })} \${answer}\`);
});

const [identity = '', catalog = '', caPin = '', joinTokenFile = ''] = process.argv.slice(2);
const mesh: Mesh = await joinMesh({
  service: 'web', identity, catalog, caPin, joinTokenFile, dataDir: 'state',
  serve: {
    listen: '127.0.0.1:0',
    http2: (connection) => void http2.emit('connection', connection),
    async application(incoming, outgoing) {
      if (incoming.url === '/agent') {
        request('http://db.mesh/by-agent', { agent: mesh.agent }, async (answer) => outgoing.end(await text(answer))).end();
        return;
      }
      const body = await text(incoming);
      const answer = await mesh.fetch(\`http://\${incoming.headers['x-ask']}/orders\`, { method: 'POST', body });
      outgoing.writeHead(answer.status).end(\`\${callerOf(incoming)} \${await answer.text()}\`);
    },
  },
});
// @ts-expect-error a mesh has no such thing
mesh.nothing;
console.log(\`spiffe-id \${mesh.spiffeId}\`);
console.log('ready');
process.once('SIGTERM', async () => {
  const last = mesh.fetch('http://db.mesh/last').then((answer) => answer.text());
  const closed = new Promise((done) => session?.once('close', done));
  await Promise.all([mesh.close(60_000), closed]);
  console.log(\`last \${await last}\`);
});
`;
const settings = {
  compilerOptions: {
    ...{ strict: true, noEmit: true, target: 'esnext', module: 'nodenext', skipLibCheck: false },
    typeRoots: [join(root, 'node_modules', '@types')],
    types: ['node'],
  },
};

const db = await startHttpApplication();
const { mesh } = await setScene({}, async (mesh) => {
  await mesh.startControlPlane();
  await mesh.speakHttp('db', 'web');
  await Promise.all([
    mesh.startProxy('db', { service: 'db', local: db.address }),
    mesh.startProxy('batch', { service: 'batch', upstreams: ['web'] }),
  ]);
  return {};
});

test('packed, installed, checked, and in the mesh: it calls, is called, and is refused as by a proxy', async (t) => {
  const project = mesh.path('project');
  mkdirSync(project);
  const tarball = execFileSync(
    node,
    ['--disable-warning=ExperimentalWarning', join(root, 'native', 'pack.ts'), project],
    {
      encoding: 'utf8',
    },
  ).trim();
  writeFileSync(join(project, 'package.json'), '{ "type": "module" }');
  writeFileSync(join(project, 'app.ts'), program);
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify(settings));
  const flags = ['--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error'];
  execFileSync('npm', ['install', ...flags, tarball], {
    cwd: project,
    stdio: ['ignore', 'ignore', 'inherit'],
    timeout: 120_000,
  });
  const check = spawnSync(node, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', project], {
    encoding: 'utf8',
  });
  assert.equal(check.stdout, '');

  const token = mesh.path('web.join-token');
  await mesh.joinTokenFile('web', token);
  const given = [mesh.identityUrl, mesh.catalogUrl, mesh.pin, token];
  const app = new Child(
    'native-web',
    node,
    ['--disable-warning=ExperimentalWarning', 'app.ts', ...given],
    mesh.directory,
    {
      cwd: project,
    },
  );
  t.after(() => app.end());
  assert.equal(await app.fact('spiffe-id'), 'spiffe://mesh.internal/ns/default/dc/dc1/svc/web');
  await mesh.knows(mesh.proxy('batch').admin, 'web');

  const ask = (host: string, path = '/') =>
    httpCall(mesh.proxy('batch').upstream('web'), { method: 'POST', path, headers: { 'x-ask': host }, body: 'hello' });
  assert.equal((await ask('db.mesh')).status, 403, 'nobody has allowed batch');
  await mesh.intend('batch', 'web', 'allow');
  await waitFor('batch to be let in, web not', async () => (await ask('db.mesh')).text.includes('SLV-4001'), 20_000);
  assert.equal(db.count, 0);
  await mesh.intend('web', 'db', 'allow');
  const answer = await waitFor(
    'web to be let in',
    async () => {
      const called = await ask('db.mesh');
      return called.status === 200 && called;
    },
    20_000,
  );
  assert.equal(answer.text, 'spiffe://mesh.internal/ns/default/dc/dc1/svc/batch well\n');
  const seen = db.seen.at(-1);
  assert.deepEqual([seen?.method, seen?.body], ['POST', 'hello']);
  assert.equal(seen?.headers['selvedge-source'], 'spiffe://mesh.internal/ns/default/dc/dc1/svc/web');
  const long = 'x'.repeat(3_000_000);
  db.answer = (outgoing) => outgoing.end(long);
  assert.equal((await ask('', '/agent')).text, long);
  assert.match((await ask('example.com')).text, /SLV-4012/);
  db.answer = (outgoing) => outgoing.end('well');
  await mesh.must('PUT', '/v1/config', { Kind: 'service-defaults', Name: 'web', Protocol: 'grpc' });
  const call = {
    ':method': 'POST',
    ':path': '/orders.Orders/List',
    'content-type': 'application/grpc',
    te: 'trailers',
  };
  const inHttp2 = await waitFor(
    'web to be called in HTTP/2',
    async () => {
      const client = connect(`http://${mesh.proxy('batch').upstream('web')}`);
      client.on('error', () => {}); // the request's own says it
      const called = await askHttp2(client, call, 'hello').catch(() => undefined);
      client.destroy();
      return called?.trailers['grpc-status'] === '7' && called;
    },
    20_000,
  );
  assert.equal(inHttp2.body, 'spiffe://mesh.internal/ns/default/dc/dc1/svc/batch well');
  assert.deepEqual([db.seen.at(-1)?.path, db.seen.at(-1)?.body], ['/by-http2', 'hello']);
  const held = Promise.withResolvers<void>();
  db.clear();
  db.answer = (outgoing) => void held.promise.then(() => outgoing.end('whole'));
  const ended = app.end('SIGTERM', 60_000);
  await waitFor('the last call', () => db.count === 1, 20_000);
  const registered = async () => ((await mesh.must('GET', '/v1/catalog/service/web')) as unknown[]).length;
  await waitFor('it to be deregistered', async () => (await registered()) === 0, 20_000);
  held.resolve();
  await ended;
  assert.equal(await app.fact('last'), 'whole', 'what is under way when it leaves is answered');
  assert.equal(app.ended, 'exit code 0');
});
