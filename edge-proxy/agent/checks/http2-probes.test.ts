import assert from 'node:assert/strict';
import { createSecureServer, createServer } from 'node:http2';
import { describe, it, type TestContext } from 'node:test';
import {
  Server as GrpcServer,
  ServerCredentials,
  type ServerUnaryCall,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { systemTimers } from '../timers.ts';
import { grpcProbe } from './grpc-probe.ts';
import type { GrpcTarget } from './grpc-target.ts';
import { h2pingProbe } from './h2ping-probe.ts';
import type { Probe } from './probe.ts';
import { runOnce } from './probe-schedule.ts';
import { application, freePort, listening, serverCertificate, silentServer, tlsServer } from './testing/listeners.ts';

const running = new AbortController().signal;
const host = '127.0.0.1';
const blind = { serverName: '', skipVerify: true };
const run = (probe: Probe, timeoutMs = 5000) =>
  runOnce(probe, { timeoutMs, maxOutputBytes: 4096 }, systemTimers, running);

describe('H2PING probe', () => {
  it('passes when the ping is answered, in the clear and over TLS', async (t) => {
    const plain = await listening(t, createServer());
    const well = { status: 'passing', output: 'HTTP2 ping was successful' };
    assert.deepEqual(await run(h2pingProbe({ kind: 'h2ping', host, port: plain, tls: undefined })), well);
    const secure = await listening(t, createSecureServer(serverCertificate().keyAndCert));
    assert.deepEqual(await run(h2pingProbe({ kind: 'h2ping', host, port: secure, tls: blind })), well);
    const trusting = { kind: 'h2ping', host, port: secure, tls: { serverName: '', skipVerify: false } } as const;
    assert.match((await run(h2pingProbe(trusting))).output, /certificate/);
  });

  it('is critical where nobody listens, answers, or speaks HTTP/2', async (t) => {
    const at = (port: number, tls?: typeof blind, timeoutMs?: number) =>
      run(h2pingProbe({ kind: 'h2ping', host, port, tls }), timeoutMs);
    assert.match((await at(await freePort())).output, /ECONNREFUSED/);
    assert.deepEqual(await at(await silentServer(t), undefined, 100), {
      status: 'critical',
      output: 'no answer within 100 ms',
    });
    const http1 = Number(new URL(await application(t, (_, response) => response.end())).port);
    assert.equal((await at(http1)).status, 'critical');
    assert.match((await at(await tlsServer(t, serverCertificate().keyAndCert), blind)).output, /HTTP\/2/);
  });
});

/** A real gRPC server whose services are as `statuses` says, in the bytes of the protocol. */
async function grpcServer(t: TestContext, statuses: Readonly<Record<string, number>>, credentials?: ServerCredentials) {
  const server = new GrpcServer();
  server.addService(
    {
      Check: {
        path: '/grpc.health.v1.Health/Check',
        requestStream: false,
        responseStream: false,
        requestSerialize: (bytes: Buffer) => bytes,
        requestDeserialize: (bytes: Buffer) => bytes,
        responseSerialize: (bytes: Buffer) => bytes,
        responseDeserialize: (bytes: Buffer) => bytes,
      },
    },
    {
      // HealthCheckRequest is field 1, the name; HealthCheckResponse field 1, the status.
      Check(call: ServerUnaryCall<Buffer, Buffer>, answer: sendUnaryData<Buffer>) {
        const name = call.request.length === 0 ? '' : call.request.subarray(2).toString();
        const found = statuses[name];
        if (found === undefined) answer({ code: status.NOT_FOUND, details: 'unknown service' });
        else answer(null, found < 0 ? Buffer.alloc(100_000) : Buffer.from([0x08, found]));
      },
    },
  );
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.bindAsync(`${host}:0`, credentials ?? ServerCredentials.createInsecure(), (error, port) =>
    error === null ? resolve(port) : reject(error),
  );
  t.after(() => server.forceShutdown());
  return promise;
}

describe('gRPC probe', () => {
  const at = (port: number, service: string, over: Partial<GrpcTarget> = {}) =>
    run(grpcProbe({ kind: 'grpc', host, port, service, tls: undefined, ...over }));

  it('passes when the server, or the service of it, is serving', async (t) => {
    const port = await grpcServer(t, { '': 1, 'shop.Cart': 1, 'shop.Till': 2, 'shop.Odd': 0, 'shop.Huge': -1 });
    assert.deepEqual(await at(port, ''), { status: 'passing', output: `gRPC check 127.0.0.1:${port}: success` });
    assert.deepEqual(await at(port, 'shop.Cart'), {
      status: 'passing',
      output: `gRPC check 127.0.0.1:${port}/shop.Cart: success`,
    });
    for (const [service, output] of [
      ['shop.Till', `gRPC 127.0.0.1:${port}/shop.Till serving status: NOT_SERVING`],
      ['shop.Odd', `gRPC 127.0.0.1:${port}/shop.Odd serving status: UNKNOWN`],
      ['shop.None', 'rpc error: code = NotFound desc = unknown service'],
      ['shop.Huge', 'the answer is too large for a health check'],
    ] as const) {
      assert.deepEqual(await at(port, service), { status: 'critical', output });
    }
  });

  it('speaks TLS when told to', async (t) => {
    const { key, cert } = serverCertificate().keyAndCert;
    const pair = { private_key: Buffer.from(String(key)), cert_chain: Buffer.from(String(cert)) };
    const port = await grpcServer(t, { '': 1 }, ServerCredentials.createSsl(null, [pair]));
    assert.equal((await at(port, '', { tls: blind })).status, 'passing');
    assert.match((await at(port, '', { tls: { serverName: '', skipVerify: false } })).output, /certificate/);
    assert.equal((await at(port, '')).status, 'critical');
  });

  it('is critical where there is no such service, no gRPC, or nobody', async (t) => {
    const server = new GrpcServer();
    t.after(() => server.forceShutdown());
    const { promise, resolve } = Promise.withResolvers<number>();
    server.bindAsync(`${host}:0`, ServerCredentials.createInsecure(), (_, port) => resolve(port));
    assert.match((await at(await promise, '')).output, /^rpc error: code = Unimplemented/);
    const web = createServer((_, response) => response.end('<html>'));
    assert.match((await at(await listening(t, web), '')).output, /grpc|gRPC|code = Unknown/);
    assert.match((await at(await freePort(), '')).output, /ECONNREFUSED/);
    const gone = createServer().on('session', (session) => session.destroy());
    const port = await listening(t, gone);
    assert.equal((await at(port, '')).status, 'critical');
  });
});
