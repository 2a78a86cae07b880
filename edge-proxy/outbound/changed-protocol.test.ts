import assert from 'node:assert/strict';
import { once } from 'node:events';
import { constants } from 'node:http2';
import { createServer, type Socket } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { ask, session } from '#test/http2-session.ts';
import { dialTlsPeer } from '#test/raw-client.ts';
import { endpoint, type Mesh, startMesh, webMayCall } from '#test/sidecars.ts';
import { waitFor } from '#test/wait-for.ts';
import type { Sidecar } from '../sidecar.ts';

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: db\r\n\r\n`;

/** An application of HTTP/1.1 that answers `/now` at once, and everything else when it is told to. */
function application() {
  const waiting: Socket[] = [];
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('data', (bytes) => {
      if (bytes.includes('/now')) socket.write(ok);
      else waiting.push(socket);
    });
  });
  return { server, waiting, answer: () => waiting.splice(0).map((socket) => socket.write(ok)) };
}

describe('when the protocol of a service becomes another', () => {
  test('its caller’s idle connections end, those with a request under way behind its answer, HTTP/2 by GOAWAY', async (t) => {
    const { server, waiting, answer } = application();
    const mesh = await startMesh(t, { applications: [server] });
    const idle = mesh.dial().send(get('/now'));
    await idle.until('ok');
    const unused = mesh.dial();
    await unused.untilTrue('the connection', () => !unused.socket.connecting);
    const busy = mesh.dial().send(get('/later'));
    const client = session(mesh);
    const goaway = new Promise((resolve) => client.once('goaway', resolve));
    const streamed = ask(client, { ':path': '/later' });
    await waitFor('the requests', () => waiting.length === 2);
    mesh.feedUpstream({ protocol: 'tcp' });
    await Promise.all([idle.untilEnded(), unused.untilEnded()]);
    assert.equal(await goaway, constants.NGHTTP2_NO_ERROR);
    assert.equal(busy.ended, false);
    answer();
    await busy.untilEnded();
    assert.match(busy.text, /200 OK\r\nConnection: close\r\n|Connection: close\r\n\r\nok/i);
    assert.equal((await streamed).body, 'ok');
    await waitFor('the end of HTTP/2', () => client.closed);
  });

  test('bytes have the time of a drain at their caller’s', async (t) => {
    const echo = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => socket.pipe(socket));
    const mesh = await startMesh(t, { applications: [echo], protocol: 'tcp' });
    const peer = mesh.dial().send('one');
    await peer.until('one');
    mesh.feedUpstream({ protocol: 'http' });
    mesh.pass(20_000);
    peer.send('two');
    await peer.until('onetwo');
    mesh.pass(11_000);
    await peer.untilEnded();
    const cut = () => mesh.log.some((line) => /"cut: db is of protocol http now"/.test(JSON.stringify(line)));
    await waitFor('the access log', cut);
  });

  test('its own proxy ends what plain clients and other proxies hold, and leaves the application', async (t) => {
    const { server, waiting, answer } = application();
    const mesh = await startMesh(t, { applications: [server] });
    const plain = async () => mesh.keep((await dialTlsPeer(mesh.db.inboundPort, mesh.webSvid.current)).peer);
    const [idle, busy] = [(await plain()).send(get('/now')), (await plain()).send(get('/later'))];
    const ours = mesh.dial().send(get('/now'));
    await Promise.all([idle.until('ok'), ours.until('ok')]);
    await waitFor('the request', () => waiting.length === 1);
    mesh.feedIntentions(webMayCall, 'http2');
    await idle.untilEnded();
    answer();
    await busy.untilEnded();
    assert.match(busy.text, /Connection: close/i);
    await waitFor('the application to be left', () => mesh.applicationConnections === 0);
    assert.equal(ours.ended, false, 'its caller’s proxy has not heard of it');
  });
});

describe('before the catalog has told of an upstream', () => {
  /** Another proxy of `web`, which has heard of nothing. */
  async function newcomer(t: TestContext): Promise<{ mesh: Mesh; fresh: Sidecar; port: number }> {
    const { server } = application();
    const mesh = await startMesh(t, { applications: [server] });
    const fresh = await mesh.sidecar('web', mesh.webSvid, mesh.webTrust, undefined);
    mesh.defer(() => void fresh.close());
    await mesh.ask(get('/now').replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
    return { mesh, fresh, port: fresh.outboundPorts.get('db') ?? 0 };
  }

  test('connections wait, and are served in its protocol', async (t) => {
    const { mesh, fresh, port } = await newcomer(t);
    assert.equal(fresh.upstreams[0]?.known, false);
    const peer = mesh.dial(port).send(get('/now'));
    const streamed = ask(session(mesh, port), { ':path': '/now' });
    const gone = mesh.dial(port);
    await waitFor('the connections', () => [peer, gone].every(({ socket }) => !socket.connecting));
    gone.socket.destroy();
    const { inboundPort } = mesh.db;
    const endpoints = [endpoint(0, inboundPort)];
    mesh.feed(fresh, [{ kind: 'upstream', name: 'db', protocol: 'http', endpoints, resilience: {} }]);
    await peer.until(ok);
    assert.equal((await streamed).body, 'ok');
  });

  test('where it can’t be asked, who speaks HTTP is told so, others are closed; all have a decision', async (t) => {
    const { mesh, fresh, port } = await newcomer(t);
    fresh.feed.state = { kind: 'lost', reason: 'it is down' };
    const bytes = mesh.dial(port).send('\0\0\0\x08bytes');
    const told = mesh.dial(port).send(get('/now'));
    const client = session(mesh, port);
    const [code, last, said] = await once(client, 'goaway');
    assert.deepEqual([code, last], [constants.NGHTTP2_NO_ERROR, 0]);
    assert.match(String(said), /^SLV-4013: .*it is down.* \(decision /);
    await Promise.all([bytes.untilEnded(), told.untilEnded()]);
    assert.equal(bytes.text, '');
    assert.match(told.text, /^HTTP\/1\.1 503 .*SLV-4013.*it is down/s);
    assert.equal(mesh.decisions.filter((one) => one.code === 'SLV-4013').length, 3);
    const silent = mesh.dial(port);
    await waitFor('the fourth', () => mesh.decisions.length === 4);
    mesh.pass(1_000);
    await silent.untilEnded();
  });
});
