import assert from 'node:assert/strict';
import { createServer } from 'node:https';
import { describe, it } from 'node:test';
import { systemTimers } from '../timers.ts';
import { httpProbe } from './http-probe.ts';
import { runOnce } from './probe-schedule.ts';
import { application, freePort, listening, serverCertificate, silentServer } from './testing/listeners.ts';

const limits = { timeoutMs: 5000, maxOutputBytes: 4096 };
const running = new AbortController().signal;

function target(url: string, over: Partial<Parameters<typeof httpProbe>[0]> = {}) {
  const tls = { serverName: '', skipVerify: false };
  return { kind: 'http', url: new URL(url), method: 'GET', headers: {}, body: '', tls, ...over } as const;
}

const probe = (of: Parameters<typeof httpProbe>[0], over: Partial<typeof limits> = {}) =>
  runOnce(httpProbe(of, { ...limits, ...over }), { ...limits, ...over }, systemTimers, running);

describe('HTTP probe', () => {
  it('2xx passes, 429 warns, all else is critical; a redirect is not followed', async (t) => {
    let status = 200;
    let requests = 0;
    const url = await application(t, (_, response) => {
      requests += 1;
      response.writeHead(status, { location: '/elsewhere' }).end('well');
    });
    for (const [code, expected] of [
      [200, 'passing'],
      [204, 'passing'],
      [429, 'warning'],
      [301, 'critical'],
      [307, 'critical'],
      [404, 'critical'],
      [500, 'critical'],
    ] as const) {
      status = code;
      const result = await probe(target(url));
      assert.equal(result.status, expected, `${code}`);
      assert.ok(result.output.startsWith(`HTTP GET ${url}: ${code} `), result.output);
    }
    assert.equal(requests, 7);
  });

  it('sends method, headers, body and who it is; a user and a password go along but are not shown', async (t) => {
    const seen: unknown[] = [];
    const url = await application(t, async (request, response) => {
      const body = await request.setEncoding('utf8').toArray();
      const { host, authorization } = request.headers;
      seen.push(
        request.method,
        request.headers['x-check'],
        host,
        request.headers['user-agent'],
        authorization,
        body.join(''),
      );
      response.end();
    });
    const headers = { 'X-Check': ['a', 'b'], Host: ['db.local'] };
    const at = url.replace('//', '//me:s%40crt@');
    const { output } = await probe(target(at, { method: 'POST', headers, body: 'ping' }));
    const basic = `Basic ${Buffer.from('me:s@crt').toString('base64')}`;
    assert.deepEqual(seen, ['POST', 'a, b', 'db.local', 'Consul Health Check', basic, 'ping']);
    assert.ok(output.startsWith(`HTTP POST ${url}: 200 OK`), output);
  });

  it('reads no more of an answer than it keeps, and waits no longer than its timeout', async (t) => {
    const url = await application(t, (_, response) => {
      const endless = setInterval(() => response.write('x'.repeat(65_536)), 1);
      response.on('close', () => clearInterval(endless));
    });
    const large = await probe(target(url));
    assert.deepEqual([large.status, large.output.length], ['passing', 4096]);
    const silent = await probe(target(`http://127.0.0.1:${await silentServer(t)}/`), { timeoutMs: 50 });
    assert.deepEqual(silent, { status: 'critical', output: 'no answer within 50 ms' });
    const slow = await application(t, (_, response) => void response.write('half'));
    assert.deepEqual(await probe(target(slow), { timeoutMs: 50 }), silent);
    assert.match((await probe(target(`http://127.0.0.1:${await freePort()}/`))).output, /ECONNREFUSED/);
  });

  it('ends with its signal', async (t) => {
    const stop = new AbortController();
    const url = await application(t, () => stop.abort(new Error('stopped')));
    await assert.rejects(httpProbe(target(url), limits)(stop.signal), /abort/i);
  });

  it('over TLS trusts what the system trusts, unless told not to look', async (t) => {
    const { keyAndCert } = serverCertificate();
    const port = await listening(
      t,
      createServer(keyAndCert, (_, response) => response.end('well')),
    );
    const url = `https://127.0.0.1:${port}/`;
    assert.match((await probe(target(url))).output, /certificate/);
    const blind = await probe(target(url, { tls: { serverName: '', skipVerify: true } }));
    assert.equal(blind.status, 'passing');
  });

  it('goes to no metadata address', async () => {
    const { status, output } = await probe(target('http://169.254.169.254/latest/meta-data'));
    assert.equal(status, 'critical');
    assert.match(output, /refused: 169\.254\.169\.254/);
  });
});
