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

/** Runs every case against a port, strictly. @returns the summary */
async function run(port: number | string): Promise<string> {
  assert.ok(h2spec.path !== undefined, String(missing));
  const options = ['-h', '127.0.0.1', '-p', String(port), '--strict', '-o', '2'];
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
    stream.respond({ ':status': 200, 'content-type': 'text/plain' });
    stream.end('A short body.');
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
  const [outbound, inbound] = await Promise.all([run(port), run(await shim(mesh))]);
  assert.deepEqual(failed(inbound), []);
  assert.match(inbound, all);
  const unexplained = failed(outbound).filter((name) => !refusedAtOnce.includes(name));
  assert.deepEqual(unexplained, [otherPreface]);
  assert.match(outbound, /14\d tests/);
});

/** Who does not begin with the preface speaks another protocol, and is told so in text before the connection ends: h2spec wants silence (RFC 9113 3.4). */
const otherPreface = 'Sends invalid connection preface';

/**
 * What h2spec asks at the port for all services names none of them, so that it is refused before its second frame comes: these cases want a stream that is still
 * open then. What comes on one that is not any more is passed over (RFC 9113 5.1, `closed`).
 */
const refusedAtOnce = [
  'closed: Sends a DATA frame after sending RST_STREAM frame',
  'closed: Sends a HEADERS frame after sending RST_STREAM frame',
  'Sends a WINDOW_UPDATE frame with a flow control window increment of 0 on a stream',
  'Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream',
  'Sends a second HEADERS frame without the END_STREAM flag',
  'Sends a HEADERS frame that contains a pseudo-header field as trailers',
  'Sends a HEADERS frame with the "content-length" header field which does not equal the DATA frame payload length',
  'Sends a HEADERS frame with the "content-length" header field which does not equal the sum of the multiple DATA frames payload length',
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
