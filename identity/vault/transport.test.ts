import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { inspect } from 'node:util';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { caErrorOf, vaultFailureKind } from './failure.ts';
import { openVaultTransport, VaultError, type VaultTransport } from './transport.ts';
import { vaultPath } from './vault-path.ts';

/*
 * The traps of node-vault's own transport (reference: identity.md section 5), each shown not to be one here. The server is a fake, for the faults that
 * a real one will not give to order.
 */

const token = 's.SECRETTOKENSECRETTOKEN';
const open: { close(): unknown }[] = [];
afterEach(() => {
  for (const each of open.splice(0)) each.close();
});

async function listen(server: Server): Promise<string> {
  open.push({
    close() {
      server.closeAllConnections();
      server.close();
    },
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const fake = async (answer: RequestListener): Promise<string> => `http://${await listen(createServer(answer))}`;
const json =
  (status: number, body: unknown): RequestListener =>
  (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };

function transportTo(address: string, more: { caFile?: string; timeoutMs?: number } = {}): VaultTransport {
  const transport = openVaultTransport({ address, timeoutMs: 10_000, ...more });
  open.push(transport);
  return transport;
}

async function failureOf(promise: Promise<unknown>): Promise<VaultError> {
  const error = await promise.then(
    () => assert.fail('did not fail'),
    (each: unknown) => each,
  );
  assert.ok(error instanceof VaultError, inspect(error));
  assert.equal(
    inspect(error, { depth: 20, showHidden: true }).includes('SECRETTOKEN'),
    false,
    'the token is in the error',
  );
  return error;
}

test('no failure of any kind holds the token', async () => {
  const closed = await fake(json(200, {}));
  for (const each of open.splice(0)) each.close();
  const failures: readonly (readonly [address: string, status: number | undefined])[] = [
    [closed, undefined],
    [await fake((request) => request.socket.destroy()), undefined],
    [await fake(() => undefined), undefined],
    [await fake(json(403, { errors: [`token ${token} is no good`] })), 403],
    [await fake((_request, response) => response.writeHead(502).end(`<html>${token}</html>`)), 502],
    [await fake((_request, response) => response.writeHead(200).end('not json')), undefined],
    [
      await fake((_request, response) =>
        response.writeHead(200, { 'content-length': '100' }).end('{', () => response.destroy()),
      ),
      undefined,
    ],
    [await fake((_request, response) => response.writeHead(200).end('x'.repeat(2_000_000))), undefined],
  ];
  for (const [address, status] of failures) {
    const transport = transportTo(address, status === undefined ? { timeoutMs: 500 } : {});
    assert.equal((await failureOf(transport.write('pki/sign/svid', {}, { token }))).status, status);
  }
});

test('a redirect is not followed, so the token goes nowhere else', async () => {
  const seen: IncomingMessage[] = [];
  const other = await fake((request, response) => {
    seen.push(request);
    response.end('{}');
  });
  const standby = await fake((_request, response) =>
    response.writeHead(307, { location: `${other}/v1/pki/sign/svid` }).end(),
  );
  const error = await failureOf(transportTo(standby).write('pki/sign/svid', {}, { token }));
  assert.equal(error.status, 307);
  assert.deepEqual(seen, []);
  const shown = caErrorOf(error, 'sign');
  assert.ok(isMeshError(shown, 'SLV-2140') && shown.message.includes('standby'));
});

test('the environment has no say: token, namespace, prefix, address, proxies, TLS', async () => {
  const seen: IncomingMessage[] = [];
  const address = await fake((request, response) => {
    seen.push(request);
    response.end('{"data":{}}');
  });
  const proxy = await fake((_request, response) => response.writeHead(500).end());
  const set = {
    VAULT_TOKEN: 's.OTHER',
    VAULT_NAMESPACE: 'other',
    VAULT_PREFIX: '/other',
    VAULT_ADDR: proxy,
    VAULT_SKIP_VERIFY: 'true',
    HTTP_PROXY: proxy,
    http_proxy: proxy,
    HTTPS_PROXY: proxy,
    ALL_PROXY: proxy,
  };
  const before = { ...process.env };
  Object.assign(process.env, set);
  try {
    const transport = transportTo(address);
    await transport.read('pki/issuer/default/json');
    await transport.write('pki/sign/svid', { a: 1 }, { token });
  } finally {
    for (const name of Object.keys(set)) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  }
  assert.deepEqual(
    seen.map(({ url, headers }) => [url, headers['x-vault-token'], headers['x-vault-namespace']]),
    [
      ['/v1/pki/issuer/default/json', undefined, undefined],
      ['/v1/pki/sign/svid', token, undefined],
    ],
  );
});

test('each call sends its own token, over connections that are kept', async () => {
  const tokens: unknown[] = [];
  const server = createServer((request, response) => {
    tokens.push(request.headers['x-vault-token']);
    response.end('{"data":{}}');
  });
  let connections = 0;
  server.on('connection', () => connections++);
  const transport = transportTo(`http://${await listen(server)}`);
  for (let call = 0; call < 20; call++) await transport.write('pki/sign/svid', {}, { token: `t${call}` });
  assert.deepEqual(
    tokens,
    Array.from({ length: 20 }, (_, call) => `t${call}`),
  );
  assert.equal(connections, 1);
});

test('a kept connection that the server has closed meanwhile is replaced', async () => {
  let calls = 0;
  const address = await fake((request, response) => {
    calls += 1;
    if (calls === 2) request.socket.destroy();
    else response.end('{"data":{}}');
  });
  const transport = transportTo(address);
  for (let call = 0; call < 3; call++) await transport.write('pki/sign/svid', {}, { token });
  assert.equal(calls, 4);
});

test('a call ends at its deadline or when its caller leaves, and lets go of the connection', async () => {
  const closed: Promise<unknown>[] = [];
  const address = await fake(
    (request) => void closed.push(new Promise((resolve) => request.socket.once('close', resolve))),
  );
  const transport = transportTo(address, { timeoutMs: 100 });
  assert.match((await failureOf(transport.read('a'))).message, /did not answer within 100 ms/);
  const leaving = new AbortController();
  const call = failureOf(transport.read('a', { signal: leaving.signal }));
  leaving.abort();
  assert.match((await call).message, /given up/);
  await Promise.all(closed);
});

test('https: verified by the given CA, and by nothing less', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'selvedge-tls-'));
  try {
    const file = (name: string): string => join(folder, name);
    const names = ['-subj', '/CN=vault', '-addext', 'subjectAltName=IP:127.0.0.1'];
    const args = [
      'req',
      '-x509',
      '-nodes',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-days',
      '2',
      ...names,
    ];
    for (const each of ['a', 'b'])
      execFileSync('openssl', [...args, '-keyout', file(`${each}.key`), '-out', file(`${each}.pem`)], {
        stdio: 'ignore',
      });
    const tls = { key: readFileSync(file('a.key')), cert: readFileSync(file('a.pem')) };
    const seen: unknown[] = [];
    const server = createSecureServer(tls, (request, response) => {
      seen.push(request.headers['x-vault-token']);
      response.end('{"data":{}}');
    });
    let connections = 0;
    server.on('secureConnection', () => connections++);
    const address = `https://${await listen(server)}`;
    for (const trusting of [{}, { caFile: file('b.pem') }]) {
      const failure = await failureOf(transportTo(address, trusting).write('a', {}, { token }));
      assert.match(failure.message, /its certificate is of no CA that is trusted here \(/);
    }
    assert.deepEqual(seen, []);
    connections = 0;
    const transport = transportTo(address, { caFile: file('a.pem') });
    for (let call = 0; call < 5; call++) await transport.write('a', {}, { token });
    assert.deepEqual([seen.length, connections], [5, 1]);
    writeFileSync(file('c.pem'), '');
    assert.throws(
      () => transportTo(address, { caFile: file('none.pem') }),
      (error) => isMeshError(error, 'SLV-1005'),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

for (const address of [
  'http://10.0.0.1:8200',
  'http://vault.example',
  'ftp://127.0.0.1',
  'vault',
  'https://u:p@vault',
  'https://vault/v1',
  '',
]) {
  test(`the address "${address}" is refused`, () => {
    assert.throws(
      () => openVaultTransport({ address, timeoutMs: 1 }),
      (error) => isMeshError(error, 'SLV-1002'),
    );
  });
}

for (const part of ['../sys', 'a/../b', 'a b', 'a%2fb', 'a&b', '', 'a//b', '/a', 'ä', 'x'.repeat(129)]) {
  test(`"${part.slice(0, 20)}" can not be part of a path`, () => {
    assert.throws(
      () => vaultPath(part, 'sign', 'svid'),
      (error) => isMeshError(error, 'SLV-1002'),
    );
  });
}

test('mounts may lie deeper', () => {
  assert.equal(vaultPath('team-a/pki_int', 'sign', 'svid'), 'team-a/pki_int/sign/svid');
});

const kinds: readonly [status: number | undefined, kind: string][] = [
  [undefined, 'transient'],
  [307, 'transient'],
  [400, 'permanent'],
  [403, 'denied'],
  [404, 'permanent'],
  [405, 'permanent'],
  [415, 'permanent'],
  [429, 'transient'],
  [473, 'transient'],
  [500, 'internal'],
  [502, 'transient'],
  [503, 'transient'],
];
for (const [status, kind] of kinds) {
  test(`${status ?? 'no answer'} is ${kind}`, () => {
    assert.equal(vaultFailureKind(new VaultError('x', status)), kind);
  });
}
