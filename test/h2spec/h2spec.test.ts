import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import { listening, type Mesh, startMesh } from '../sidecars.ts';
import { findH2spec } from './find-h2spec.ts';

const h2spec = await findH2spec();
const missing = h2spec.path === undefined ? h2spec.reason : false;
const skip = process.env['CI'] === 'true' ? false : missing;

/** Runs every case, or those of some sections, against a port, strictly. @returns the summary */
async function run(port: number | string, sections: readonly string[] = []): Promise<string> {
  assert.ok(h2spec.path !== undefined, String(missing));
  // Some cases of the sections wait for an answer that does not come; of all cases none does, so that they may take long on a busy machine.
  const patienceSeconds = sections.length > 0 ? '2' : '10';
  const options = [...sections, '-h', '127.0.0.1', '-p', String(port), '--strict', '-o', patienceSeconds];
  try {
    return (await promisify(execFile)(h2spec.path, options, { timeout: 120_000 })).stdout;
  } catch (error) {
    // It ends with 1 where a case failed: what it printed says which.
    return (error as { stdout?: string }).stdout ?? String(error);
  }
}

/** Names of the cases that failed. */
function failed(report: string): string[] {
  const names = [...report.matchAll(/× \d+: (.*)/g)].map(([, name]) => name ?? '');
  return [...new Set(names)]; // the end repeats them
}

const all = /14\d tests, 14\d passed, 0 skipped, 0 failed/;

test('h2spec: every case, strict', { skip }, async () => {
  const server = spawn(process.execPath, [join(import.meta.dirname, 'server.ts')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [line] = await once(server.stdout, 'data');
    assert.match(await run(String(line).trim()), all);
  } finally {
    server.kill();
    await once(server, 'exit');
  }
});

test('h2spec: the listeners of both proxies, with an application behind them', { skip }, async (t) => {
  const application = createHttp2Server().on('stream', (stream: ServerHttp2Stream) => {
    stream.on('error', () => {}); // h2spec breaks off
    // Not before the request is whole: of a stream that we have answered and given back, what h2spec still sends is rightly ignored (RFC 9113 5.1), where it waits for a word.
    stream.resume().on('end', () => {
      if (stream.destroyed) return;
      stream.respond({ ':status': 200, 'content-type': 'text/plain' });
      stream.end('A short body.');
    });
  });
  const mesh = await startMesh(t, { applications: [application], protocol: 'http2' });
  const [outbound, inbound] = await Promise.all([run(mesh.port), run(await shim(mesh))]);
  assert.deepEqual(failed(inbound), []);
  assert.match(inbound, all);
  assert.deepEqual(failed(outbound), [otherPreface]);
  assert.match(outbound, /14\d tests, 14\d passed, 0 skipped, 1 failed/);
});

test('h2spec: before an application of HTTP/1.1, and at the port for all services', { skip }, async (t) => {
  const application = createHttpServer((request, response) => {
    request.resume().on('end', () => response.end('A short body.'));
  });
  const mesh = await startMesh(t, { applications: [application], httpProxy: true });
  const port = mesh.web.httpProxyPort ?? 0;
  assert.equal((await mesh.ask('GET / HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n', port)).status, 200);
  const [outbound, inbound] = await Promise.all([run(port, ofNoService), run(await shim(mesh))]);
  assert.deepEqual(failed(inbound), []);
  assert.match(inbound, all);
  assert.deepEqual(failed(outbound), [otherPreface]);
  assert.match(outbound, /1[12]\d tests, 1[12]\d passed, 0 skipped, 1 failed/);
});

/** Who does not begin with the preface speaks another protocol, and is told so in text before the connection ends: h2spec wants silence (RFC 9113 3.4). */
const otherPreface = 'Sends invalid connection preface';

/**
 * What h2spec asks at the port for all services names none of them, so that it is refused before its second frame comes. The cases that want a stream that is still
 * open then stand in 5.1, 6.9, 8.1, 8.1.2.1 and 8.1.2.6, and each would wait for an error: what comes on a closed stream is passed over (RFC 9113 5.1).
 */
const ofNoService = [
  'generic',
  'hpack',
  ...['3.5', '4.1', '4.2', '4.3', '5.1.1', '5.1.2', '5.3.1', '5.4.1', '5.5'].map((section) => `http2/${section}`),
  ...['6.1', '6.2', '6.3', '6.4', '6.5', '6.7', '6.8', '6.10', '7', '8.1.2.2', '8.1.2.3', '8.2'].map(
    (section) => `http2/${section}`,
  ),
];

/** h2spec can show no client certificate: somebody who is allowed in passes its bytes on. @returns where */
async function shim(mesh: Mesh): Promise<number> {
  const { chainPem, keyPem } = mesh.issue('web');
  const server = createServer((socket) => {
    const inbound = connect({
      host: '127.0.0.1',
      port: mesh.db.inboundPort,
      cert: chainPem,
      key: keyPem,
      ALPNProtocols: ['h2'],
      rejectUnauthorized: false,
    });
    for (const side of [socket, inbound]) side.on('error', () => {});
    socket.pipe(inbound).pipe(socket);
    socket.on('close', () => inbound.destroy());
    inbound.on('close', () => socket.destroy());
  });
  mesh.defer(() => server.close());
  return listening(server);
}
