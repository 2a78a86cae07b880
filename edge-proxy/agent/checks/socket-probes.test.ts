import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { describe, it, type TestContext } from 'node:test';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { systemTimers } from '../timers.ts';
import type { Probe } from './probe.ts';
import { runOnce } from './probe-schedule.ts';
import { tcpProbe } from './tcp-probe.ts';
import { freePort, serverCertificate, silentServer, tlsServer } from './testing/listeners.ts';
import { udpProbe } from './udp-probe.ts';

const running = new AbortController().signal;
const limits = { timeoutMs: 5000, maxOutputBytes: 4096 };
const host = '127.0.0.1';
const run = (probe: Probe, timeoutMs = 5000) => runOnce(probe, { ...limits, timeoutMs }, systemTimers, running);

/** A UDP server that does `answer` with each datagram; it ends with the test. @returns its port */
async function udpServer(t: TestContext, answer: boolean): Promise<number> {
  const server = createSocket('udp4');
  server.bind(0, host);
  await once(server, 'listening');
  t.after(() => server.close());
  server.on('message', (_, from) => answer && server.send('here', from.port, from.address));
  return server.address().port;
}

describe('TCP probe', () => {
  it('passes when the connection comes about, and says why not', async (t) => {
    const port = await silentServer(t);
    const well = await run(tcpProbe({ kind: 'tcp', host, port, tls: undefined }));
    assert.deepEqual(well, { status: 'passing', output: `TCP connect 127.0.0.1:${port}: Success` });
    const refused = await run(tcpProbe({ kind: 'tcp', host, port: await freePort(), tls: undefined }));
    assert.equal(refused.status, 'critical');
    assert.match(refused.output, /ECONNREFUSED/);
  });

  it('with TLS wants a certificate for the name that it asks for', async (t) => {
    const { keyAndCert, root } = serverCertificate();
    const names: string[] = [];
    const port = await tlsServer(t, keyAndCert, names);
    const at = (tls: { serverName: string; skipVerify: boolean }) => run(tcpProbe({ kind: 'tcp', host, port, tls }));
    assert.match((await at({ serverName: 'app.test', skipVerify: false })).output, /certificate/);
    assert.deepEqual(await at({ serverName: '', skipVerify: true }), {
      status: 'passing',
      output: `TCP+TLS connect 127.0.0.1:${port}: Success`,
    });
    const before = getCACertificates('default');
    setDefaultCACertificates([root]);
    t.after(() => setDefaultCACertificates(before));
    assert.equal((await at({ serverName: 'app.test', skipVerify: false })).status, 'passing');
    assert.match((await at({ serverName: 'other.test', skipVerify: false })).output, /other\.test/);
    assert.match((await at({ serverName: '', skipVerify: false })).output, /127\.0\.0\.1/);
    assert.ok(names.includes('app.test'));
  });

  it('with TLS is critical where the handshake is never answered', async (t) => {
    const tls = { serverName: '', skipVerify: true };
    const halfOpen = await run(tcpProbe({ kind: 'tcp', host, port: await silentServer(t), tls }), 100);
    assert.deepEqual(halfOpen, { status: 'critical', output: 'no answer within 100 ms' });
  });
});

describe('UDP probe', () => {
  it('passes on an answer and on silence, and is critical when nobody listens', async (t) => {
    const at = (port: number, timeoutMs: number) =>
      run(udpProbe({ kind: 'udp', host, port }, { ...limits, timeoutMs }), timeoutMs);
    const answering = await udpServer(t, true);
    assert.deepEqual(await at(answering, 60_000), {
      status: 'passing',
      output: `UDP connect 127.0.0.1:${answering}: Success`,
    });
    assert.equal((await at(await udpServer(t, false), 300)).status, 'passing');
    const nobody = createSocket('udp4');
    nobody.bind(0, host);
    await once(nobody, 'listening');
    const { port } = nobody.address();
    nobody.close();
    await once(nobody, 'close');
    const refused = await at(port, 5000);
    assert.equal(refused.status, 'critical');
    assert.match(refused.output, /ECONNREFUSED/);
  });
});
