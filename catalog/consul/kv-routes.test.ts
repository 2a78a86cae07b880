import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunningCatalog } from '../main.ts';
import { send, startTestCatalog } from '../testing/running-catalog.ts';

/** The KV of a catalog over HTTP. */
function kvOf(catalog: RunningCatalog) {
  return async (method: string, path: string, body?: string | Uint8Array<ArrayBuffer>) => {
    const response = await fetch(`${catalog.url}/v1/kv/${path}`, { method, ...(body === undefined ? {} : { body }) });
    return { status: response.status, headers: response.headers, text: await response.text() };
  };
}

test('an entry in the shape that Consul’s clients know', async (t) => {
  const kv = kvOf(await startTestCatalog(t));
  assert.deepEqual(await kv('PUT', 'app/port?flags=18446744073709551615', '8080').then(({ text }) => text), 'true');
  const read = await kv('GET', 'app/port');
  const index = read.headers.get('x-consul-index');
  assert.equal(
    read.text,
    `[{"LockIndex":0,"Key":"app/port","Flags":18446744073709551615,"Value":"ODA4MA==","CreateIndex":${index},"ModifyIndex":${index}}]`,
  );
  const raw = await kv('GET', 'app/port?raw');
  assert.equal(raw.text, '8080');
  assert.equal(raw.headers.get('content-type'), 'text/plain');
  assert.equal(raw.headers.get('content-security-policy'), 'sandbox');
  await kv('PUT', 'empty', '');
  assert.equal(JSON.parse((await kv('GET', 'empty')).text)[0].Value, null);
  assert.equal((await kv('GET', 'empty?raw')).text, '');
  const bytes = Uint8Array.from({ length: 256 }, (_, at) => at);
  await kv('PUT', 'bytes', bytes);
  assert.equal(JSON.parse((await kv('GET', 'bytes')).text)[0].Value, Buffer.from(bytes).toString('base64'));
});

test('what is not there: 404 without words, with an index; the root lists nothing', async (t) => {
  const kv = kvOf(await startTestCatalog(t));
  for (const path of ['none', 'none?raw', 'none/?recurse', 'none/?keys', '?recurse']) {
    const { status, text, headers } = await kv('GET', path);
    assert.deepEqual([status, text], [404, ''], path);
    assert.ok(Number(headers.get('x-consul-index')) >= 1);
  }
  const root = await kv('GET', '?keys');
  assert.deepEqual([root.status, root.text], [200, '[]']);
});

test('folders: recurse, keys, separator', async (t) => {
  const kv = kvOf(await startTestCatalog(t));
  for (const key of ['a/b/c', 'a/b/d', 'a/e', 'ab', 'z', 'a%252Fb', 'ü/%20']) await kv('PUT', key, key);
  const get = async (path: string) => JSON.parse((await kv('GET', path)).text);
  for (const [path, expected] of [
    ['?keys', ['a%2Fb', 'a/b/c', 'a/b/d', 'a/e', 'ab', 'z', 'ü/ ']],
    ['?keys&separator=/', ['a%2Fb', 'a/', 'ab', 'z', 'ü/']],
    ['?keys&seperator=/', ['a%2Fb', 'a/', 'ab', 'z', 'ü/']],
    ['a/?keys&separator=/', ['a/b/', 'a/e']],
    ['a/b?keys', ['a/b/c', 'a/b/d']],
    ['a?keys&separator=/', ['a%2Fb', 'a/', 'ab']],
    ['%C3%BC?keys', ['ü/ ']],
  ] as const) {
    assert.deepEqual(await get(path), expected, path);
  }
  const keys = async (path: string) => (await get(path)).map(({ Key }: { Key: string }) => Key);
  assert.deepEqual(await keys('a/?recurse'), ['a/b/c', 'a/b/d', 'a/e']);
  assert.equal((await kv('DELETE', 'a/?recurse')).text, 'true');
  assert.deepEqual(await get('?keys'), ['a%2Fb', 'ab', 'z', 'ü/ ']);
  assert.equal((await kv('DELETE', '?recurse')).text, 'true');
  assert.deepEqual(await get('?keys'), []);
});

test('cas: writes and deletes only what nobody else has changed', async (t) => {
  const kv = kvOf(await startTestCatalog(t));
  const index = async () => Number(JSON.parse((await kv('GET', 'k')).text)[0].ModifyIndex);
  const answer = async (method: string, path: string, body?: string) => (await kv(method, path, body)).text;
  assert.equal(await answer('PUT', 'k?cas=7', 'v'), 'false');
  assert.equal(await answer('PUT', 'k?cas=0', 'v1'), 'true');
  assert.equal(await answer('PUT', 'k?cas=0', 'v2'), 'false');
  const first = await index();
  assert.equal(await answer('PUT', `k?cas=${first}`, 'v3'), 'true');
  assert.equal(await answer('PUT', `k?cas=${first}`, 'v4'), 'false');
  assert.equal((await kv('GET', 'k?raw')).text, 'v3');
  assert.equal(await answer('DELETE', `k?cas=${first}`), 'false');
  assert.equal(await answer('DELETE', `k?cas=${await index()}`), 'true');
  assert.equal(await answer('DELETE', 'k?cas=1'), 'true', 'gone already');
  assert.equal(await answer('DELETE', 'k'), 'true');
});

test('of many that write with one index, one wins', async (t) => {
  const kv = kvOf(await startTestCatalog(t));
  await kv('PUT', 'counter', '0');
  const add = async (): Promise<void> => {
    for (;;) {
      const [entry] = JSON.parse((await kv('GET', 'counter')).text);
      const next = String(Number(Buffer.from(entry.Value, 'base64').toString()) + 1);
      if ((await kv('PUT', `counter?cas=${entry.ModifyIndex}`, next)).text === 'true') return;
    }
  };
  await Promise.all(Array.from({ length: 8 }, add));
  assert.equal((await kv('GET', 'counter?raw')).text, '8');
});

test('each key and each folder has an index of its own; the same value again changes nothing', async (t) => {
  const kv = kvOf(await startTestCatalog(t));
  await kv('PUT', 'a/x', '1');
  await kv('PUT', 'b/x', '1');
  const index = async (path: string) => Number((await kv('GET', path)).headers.get('x-consul-index'));
  const before = { key: await index('a/x'), folder: await index('a/?recurse'), all: await index('?keys') };
  const onKey = kv('GET', `a/x?index=${before.key}&wait=60s`);
  const onFolder = kv('GET', `a/?recurse&index=${before.folder}&wait=60s`);
  await kv('PUT', 'a/x', '1');
  await kv('PUT', 'b/x', '2');
  assert.deepEqual([await index('a/x'), await index('a/?recurse')], [before.key, before.folder]);
  assert.ok((await index('?keys')) > before.all);
  await kv('PUT', 'a/x', '2');
  assert.equal(JSON.parse((await onKey).text)[0].Value, 'Mg==');
  assert.equal(JSON.parse((await onFolder).text).length, 1);
  const gone = kv('GET', `a/x?index=${await index('a/x')}&wait=60s`);
  await kv('DELETE', 'a/?recurse');
  assert.equal((await gone).status, 404);
  assert.ok((await index('a/x')) > before.key, 'an index never goes back');
});

test('what is refused', async (t) => {
  const catalog = await startTestCatalog(t);
  const kv = kvOf(catalog);
  for (const [method, path, status, text] of [
    ['GET', '', 400, 'Missing key name'],
    ['PUT', '', 400, 'Missing key name'],
    ['DELETE', '', 400, 'Missing key name'],
    ['PUT', 'k?cas=1&acquire=s', 400, 'Conflicting flags: cas=1&acquire=s\n'],
    ['DELETE', 'k?cas=1&recurse', 400, 'Conflicting flags: cas=1&recurse=\n'],
    ['PUT', 'k?acquire=s', 501, /^Sessions and locks are not offered; \?cas=/],
    ['PUT', 'k?release=s', 501, /^Sessions/],
    ['PUT', 'k?flags=x', 400, 'strconv.ParseUint: parsing "x": invalid syntax'],
    ['PUT', 'k?flags=18446744073709551616', 400, /value out of range$/],
    ['PUT', 'k?cas=-1', 400, /invalid syntax$/],
    ['PUT', '%ff', 400, /not percent-encoded UTF-8/],
    ['PUT', 'x'.repeat(1_001), 400, /longer than/],
    ['POST', 'k', 405, 'method POST not allowed'],
  ] as const) {
    const answer = await kv(method, path, method === 'GET' || method === 'DELETE' ? undefined : 'v');
    assert.equal(answer.status, status, `${method} ${path}`);
    if (typeof text === 'string') assert.equal(answer.text, text);
    else assert.match(answer.text, text);
  }
  const large = await kv('PUT', 'large', 'x'.repeat(512 * 1024 + 1));
  assert.equal(large.status, 413);
  assert.match(large.text, /^Request body\(524289 bytes\) too large, max size: 524288 bytes\./);
  assert.equal((await kv('PUT', 'large', 'x'.repeat(512 * 1024))).text, 'true');
  const guarded = await startTestCatalog(t, { open: false });
  assert.equal((await send(guarded, 'GET', '/v1/kv/k')).status, 403);
});

test('keys that path rules would fold stay apart', async (t) => {
  const kv = kvOf(await startTestCatalog(t));
  for (const key of ['a%2Fb', 'a%252Fb', 'a//b', 'a%3Fb', 'a%23b', '__proto__', 'a%00b']) await kv('PUT', key, key);
  for (const key of ['a%252Fb', 'a//b', 'a%3Fb', 'a%23b', '__proto__', 'a%00b']) {
    assert.equal((await kv('GET', `${key}?raw`)).text, key, key);
  }
  assert.equal((await kv('GET', 'a/b?raw')).text, 'a%2Fb', 'a slash is a slash, however it is sent');
});
