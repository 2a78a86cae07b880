import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { toPem } from '#policies/der-writer.ts';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import type { NodeView } from '#policies/wire/identity-api.ts';
import { verifyAuditLog } from '#runtime/audit/verify-audit-log.ts';
import { makeCsr } from '#runtime/svid/csr.ts';
import { IdentityClient } from '#runtime/svid/identity-client.ts';
import { IdentityEndpoints } from '#runtime/svid/identity-endpoints.ts';
import { makeKeyPair } from '#runtime/svid/node-key.ts';
import { openNodeState } from '#runtime/svid/node-state.ts';
import { issuerKey, JwtIssuer } from '#test/jwt-issuer.ts';
import { makeCa } from '#test/mini-ca.ts';
import { waitFor } from '#test/wait-for.ts';
import { startHttpApplication } from './application.ts';
import { httpCall } from './http-call.ts';
import { startImpostor } from './impostor.ts';
import { setScene } from './scene.ts';
import { catalogAs, joinAs, quietContext } from './workload.ts';

/** A pod joins by its token and a machine by its certificate, without an operator; and whatever a node tries beyond its grant is refused and recorded. */

const db = await startHttpApplication();
const machines = makeCa('machines.test');
const { mesh, issuer } = await setScene({ logLevel: 'debug' }, async (mesh) => {
  const issuer = await JwtIssuer.start(mesh.path('issuer-ca.pem'), issuerKey('k1'));
  after(() => issuer[Symbol.asyncDispose]());
  writeFileSync(mesh.path('machine-roots.pem'), toPem('CERTIFICATE', machines.root.certificate));
  writeFileSync(
    mesh.path('identity.yaml'),
    `attestation:
  - method: jwt
    issuer: ${issuer.url}
    audience: selvedge
    ca-file: ${issuer.caFile}
    mappings:
      - match: { kubernetes.io/namespace: prod }
        node: "{{ kubernetes.io/pod/name }}"
        services: ["{{ kubernetes.io/serviceaccount/name }}"]
  - method: x509pop
    roots-file: ${mesh.path('machine-roots.pem')}
    mappings:
      - node: "{{ subject/cn }}"
        services: ["{{ dns | before \\".\\" }}"]
`,
  );
  mesh.addIdentityFlags('--config', mesh.path('identity.yaml'));
  await mesh.startControlPlane();
  await mesh.speakHttp('db');
  await mesh.intend('web', 'db', 'allow');
  return { issuer };
});

/** As the kubelet writes it. */
async function podToken(account: string, pod: string): Promise<string> {
  const token = await issuer.token({
    sub: `system:serviceaccount:prod:${account}`,
    'kubernetes.io': { namespace: 'prod', pod: { name: pod }, serviceaccount: { name: account } },
  });
  mesh.secrets.add(token);
  const file = mesh.path(`${pod}.jwt`);
  writeFileSync(file, `${token}\n`);
  return file;
}

test('a proxy joins by the token of its pod, another by the certificate of its machine, and they talk', async () => {
  const machine = machines.issue({ commonName: 'vm-9', dns: ['db.rack.test'] });
  writeFileSync(mesh.path('machine.pem'), machine.chainPem);
  writeFileSync(mesh.path('machine.key'), machine.keyPem);
  const byCertificate = ['--attest-x509-cert', mesh.path('machine.pem'), '--attest-x509-key', mesh.path('machine.key')];
  const [web] = await Promise.all([
    mesh.startProxy('web', {
      service: 'web',
      upstreams: ['db'],
      attest: ['--attest-jwt-file', await podToken('web', 'web-0')],
    }),
    mesh.startProxy('db', { service: 'db', local: db.address, attest: byCertificate }),
  ]);
  await mesh.knows(web.admin, 'db');
  await waitFor('db to let web in', async () => (await httpCall(web.upstream('db'))).status === 200, 20_000);
  const nodes = JSON.parse((await mesh.identity('GET', '/v1/identity/nodes')).text) as NodeView[];
  const shown = nodes.map(({ name, services, attestation }) => `${name} ${services} ${attestation}`);
  assert.deepEqual(shown.filter((line) => !line.includes('selvedge')).sort(), ['vm-9 db x509pop', 'web-0 web jwt']);
});

test('it comes back by its key alone: the token is gone, and so is its issuer', async () => {
  await mesh.kill('web', 'SIGKILL');
  rmSync(mesh.path('web', 'svid-web.json'));
  writeFileSync(mesh.path('web-0.jwt'), 'this is no token any more');
  issuer.failWith = 503;
  const web = await mesh.restartProxy('web');
  issuer.failWith = undefined;
  await mesh.knows(web.admin, 'db');
  assert.equal((await httpCall(web.upstream('db'))).status, 200);
});

test('a server that can not prove itself gets neither token nor statement', async () => {
  const stranger = makeCa('mesh.internal');
  const svid = stranger.issue({ spiffeId: 'spiffe://mesh.internal/ns/default/dc/dc1/svc/selvedge-identity' });
  const impostor = await startImpostor(svid, {
    '/v1/identity/bundle': (await mesh.identity('GET', '/v1/identity/bundle')).text,
    '/v1/identity/bundle/signed': (await mesh.identity('GET', '/v1/identity/bundle/signed')).text,
  });
  const attest = ['--attest-jwt-file', await podToken('web', 'fooled')];
  const child = await mesh.spawnProxy('fooled', {
    service: 'web',
    state: false,
    attest,
    flags: ['--identity', impostor.url],
  });
  assert.equal(await child.whenEnded(), 'exit code 4', child.log);
  assert.match(child.log, /SLV-2010/);
  assert.ok(impostor.connections > 0);
  assert.doesNotMatch(impostor.heard, /POST/);
});

test('a proxy whose token gives another service ends, saying so', async () => {
  const attest = ['--attest-jwt-file', await podToken('web', 'liar')];
  const child = await mesh.spawnProxy('liar', { service: 'db', state: false, attest });
  assert.notEqual(await child.whenEnded(), 'exit code 0');
  assert.match(child.log, /SLV-2120/);
});

test('granted web: to register db, to be db, to edit its checks and to deregister it is refused four times, each in an audit log', async () => {
  const attacker = await joinAs(mesh, ['web'], 'attacker');
  const attempts: readonly [path: string, body: object][] = [
    ['/v1/catalog/register', { Node: 'attacker', Address: '127.0.0.1', Service: { ID: 'db', Service: 'db', Port: 1 } }],
    [
      '/v1/catalog/register',
      {
        Node: 'db-host',
        Address: '127.0.0.1',
        Check: { Node: 'db-host', CheckID: 'x', Name: 'x', ServiceID: 'db', Status: 'critical' },
      },
    ],
    ['/v1/catalog/deregister', { Node: 'db-host', ServiceID: 'db' }],
  ];
  const before = await mesh.must('GET', '/v1/health/service/db');
  const catalogLog = (): string => readFileSync(mesh.path('catalog', 'audit.jsonl'), 'utf8');
  const identityLog = (): string => readFileSync(mesh.path('identity', 'audit.jsonl'), 'utf8');
  for (const [path, body] of attempts) {
    const lines = catalogLog().split('\n').length;
    const answer = await catalogAs(mesh, attacker, 'web', { path, method: 'PUT', body: JSON.stringify(body) });
    assert.equal(answer.status, 403, answer.body.toString());
    const [recorded = ''] = catalogLog()
      .split('\n')
      .slice(lines - 1);
    const event = JSON.parse(recorded) as Record<string, unknown>;
    assert.deepEqual(
      [event['event'], event['status'], event['path'], event['caller']],
      ['refused', 403, path, 'spiffe://mesh.internal/ns/default/dc/dc1/svc/web'],
    );
    assert.match(String(event['reason']), /db/);
  }
  const state = await openNodeState(undefined);
  const { signal } = new AbortController();
  const client = new IdentityClient({
    endpoints: new IdentityEndpoints(mesh.identityUrl),
    trust: attacker.trust,
    state,
    context: quietContext,
    signal,
  });
  const nodeId = await client.attest({ kind: 'jwt', file: await podToken('web', 'attacker-1') });
  await assert.rejects(client.issue({ service: 'db', csr: makeCsr(makeKeyPair()) }, { nodeId }), (error) => {
    assert.ok(isMeshError(error, 'SLV-2014'));
    return error.detail['remoteCode'] === 'SLV-2120';
  });
  const refused = identityLog()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ event, node, service }) => event === 'svid-refused' && node === nodeId && service === 'db');
  assert.deepEqual(
    refused.map(({ code }) => code),
    ['SLV-2120'],
  );
  assert.deepEqual(await mesh.must('GET', '/v1/health/service/db'), before);
  for (const log of [identityLog(), catalogLog()]) {
    assert.ok((await verifyAuditLog([Buffer.from(log)])).lines > 1);
  }
});
