import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import { listening, startMesh } from '../sidecars.ts';
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
  // h2spec can show no client certificate: somebody who is allowed in passes its bytes on.
  const { chainPem, keyPem } = mesh.issue('web');
  const shim = createServer((socket) => {
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
  const shimPort = await listening(shim);
  mesh.defer(() => shim.close());
  const [outbound, inbound] = await Promise.all([run(mesh.port), run(shimPort)]);
  assert.deepEqual(failed(inbound), []);
  assert.match(inbound, all);
  // Who does not begin with the preface speaks another protocol, and is told so in text before the connection ends: h2spec wants silence (RFC 9113 3.4).
  assert.deepEqual(failed(outbound), ['Sends invalid connection preface']);
  assert.match(outbound, /14\d tests, 14\d passed, 0 skipped, 1 failed/);
});
