import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { Hono } from 'hono';
import { serveHttp } from './http-service.ts';
import { createLogger } from './logging.ts';
import { readyResponse } from './ready-response.ts';

const body = new TextEncoder().encode('{"größe":1}');
const headers = { 'content-type': 'application/json', 'x-own': 'yes' };

/** Routes that answer the same, one ready, one as the platform has it. */
const app = new Hono()
  .get('/ready', () => readyResponse(200, body, headers))
  .get('/platform', () => new Response(body, { headers }))
  .get('/not-found', () => readyResponse(404, body, headers))
  .get('/empty', () => readyResponse(200, new Uint8Array(0), headers));
app.use('/looked-at', async (c, next) => {
  await next();
  c.header('x-added', c.res.headers.get('x-own') ?? 'nothing');
});
app.get('/looked-at', () => readyResponse(200, body, headers));

const served = await serveHttp({
  app: { fetch: (request, env) => app.fetch(request, env) },
  host: '127.0.0.1',
  port: 0,
  log: createLogger({ process: 'test', level: 'silent' }),
  clock: Date.now,
});
test.after(() => served.close(0));

/** All that a client is told, without what the moment adds. */
async function told(path: string, method = 'GET') {
  const answer = await fetch(`${served.url}${path}`, { method });
  const shown = Object.fromEntries([...answer.headers].filter(([name]) => name !== 'date'));
  return { status: answer.status, headers: shown, text: await answer.text() };
}

test('an answer that is ready is, on the wire, the one that the platform would have made', async () => {
  const ready = await told('/ready');
  assert.deepEqual(ready, await told('/platform'));
  assert.deepEqual([ready.text, ready.headers['content-length']], ['{"größe":1}', String(body.byteLength)]);
  assert.deepEqual(await told('/ready', 'HEAD'), await told('/platform', 'HEAD'));
  assert.equal((await told('/ready', 'HEAD')).headers['x-own'], 'yes');
  assert.equal((await told('/not-found')).status, 404);
  assert.deepEqual([(await told('/empty')).text, (await told('/empty')).headers['content-length']], ['', '0']);
});

test('who looks at it before it is written has a Response, and what is changed there is sent', async () => {
  const { headers: seen, text } = await told('/looked-at');
  assert.deepEqual([seen['x-added'], seen['x-own'], text], ['yes', 'yes', '{"größe":1}']);
  const alone = readyResponse(200, body, headers);
  assert.ok(alone instanceof Response && alone.ok && !alone.bodyUsed);
  assert.deepEqual([await alone.clone().json(), alone.headers.get('x-own')], [{ größe: 1 }, 'yes']);
  await alone.arrayBuffer();
  assert.ok(alone.bodyUsed);
});

test('requests sent at once over one connection are answered in their order, and the connection is kept', async () => {
  const socket = connect(served.port, '127.0.0.1');
  const ask = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n`;
  socket.write(ask('/not-found') + ask('/ready') + ask('/platform') + ask('/empty'));
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    if ((text.match(/HTTP\/1\.1/g) ?? []).length === 4) socket.end();
  });
  await once(socket, 'close');
  assert.deepEqual(
    [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status),
    ['404', '200', '200', '200'],
  );
});
