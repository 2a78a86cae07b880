import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunningCatalog } from '../main.ts';
import { send, startTestCatalog } from '../testing/running-catalog.ts';

const path = '/v1/connect/intentions';
const web = { SourceName: 'web', DestinationName: 'db', SourceType: 'consul', Action: 'allow' };

async function post(catalog: RunningCatalog, body: object): Promise<string> {
  const { status, json, text } = await send(catalog, 'POST', path, { body });
  assert.equal(status, 200, text);
  const { ID } = json as { ID: string };
  assert.match(ID, /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/);
  return ID;
}

test('the deprecated form and the others show one truth', async (t) => {
  const catalog = await startTestCatalog(t);
  const id = await post(catalog, web);
  const read = (await send(catalog, 'GET', `${path}/${id}`)).json as { ID: string; Action: string };
  assert.deepEqual([read.ID, read.Action], [id, 'allow']);
  assert.deepEqual((await send(catalog, 'GET', path)).json, [read]);
  const exact = `${path}/exact?source=web&destination=db`;
  assert.deepEqual((await send(catalog, 'GET', exact)).json, read);
  const entry = (await send(catalog, 'GET', '/v1/config/service-intentions/db')).json as { Sources: object[] };
  assert.equal(entry.Sources.length, 1);

  const body = { ...read, Action: 'deny', Description: 'no more' };
  assert.deepEqual((await send(catalog, 'PUT', `${path}/${id}`, { body })).json, { ID: id });
  assert.equal(((await send(catalog, 'GET', exact)).json as { Action: string }).Action, 'deny');

  await send(catalog, 'PUT', `${path}/exact?source=api&destination=db`, { body: { Action: 'allow' } });
  const listed = (await send(catalog, 'GET', path)).json as { ID: string; SourceName: string }[];
  const api = listed.find(({ SourceName }) => SourceName === 'api')?.ID ?? '';
  assert.equal((await send(catalog, 'DELETE', `${path}/${api.toUpperCase()}`)).text, 'true');
  assert.equal((await send(catalog, 'GET', `${path}/${api}`)).status, 404);
  assert.equal((await send(catalog, 'DELETE', `${path}/${id}`)).text, 'true');
  assert.equal((await send(catalog, 'GET', '/v1/config/service-intentions/db')).status, 404);
  assert.equal(await post(catalog, web), id, 'the same pair, the same id');
});

test('wildcards on either side, in the order in which they are consulted', async (t) => {
  const catalog = await startTestCatalog(t);
  const ids = new Map<string, string>();
  for (const [source, destination] of [
    ['*', '*'],
    ['web', '*'],
    ['*', 'db'],
    ['web', 'db'],
  ] as const) {
    const body = { SourceName: source, DestinationName: destination, Action: 'deny' };
    ids.set(`${source} ${destination}`, await post(catalog, body));
  }
  assert.equal(new Set(ids.values()).size, 4);
  const listed = (await send(catalog, 'GET', path)).json as { ID: string; Precedence: number }[];
  assert.deepEqual(
    listed.map(({ ID, Precedence }) => [ID, Precedence]),
    [
      [ids.get('web db'), 9],
      [ids.get('* db'), 8],
      [ids.get('web *'), 6],
      [ids.get('* *'), 5],
    ],
  );
});

test('what the deprecated form refuses', async (t) => {
  const catalog = await startTestCatalog(t);
  const id = await post(catalog, web);
  const none = '00000000-0000-4000-8000-000000000000';
  const permissions = { Permissions: [{ Action: 'allow', HTTP: { PathPrefix: '/' } }], Action: '' };
  for (const [method, at, body, status, text] of [
    ['POST', path, web, 409, /^duplicate intention found: default\/web => default\/db/],
    ['POST', path, { ...web, ID: none }, 400, /^ID must be empty when creating a new intention$/],
    ['POST', path, { ...web, SourceName: '' }, 400, /Name is required/],
    ['POST', path, { ...web, ...permissions }, 400, /^Permissions cannot be set here/],
    ['POST', path, { ...web, Meta: { a: 'b' } }, 400, /^Meta cannot be set here/],
    ['PUT', `${path}/${id}`, { ...web, SourceName: 'api' }, 400, /^cannot modify SourceName or DestinationName/],
    ['PUT', `${path}/${none}`, web, 404, /^Cannot modify non-existent intention: '0+/],
    ['DELETE', `${path}/${none}`, undefined, 404, /^Cannot delete non-existent intention/],
    ['GET', `${path}/${none}`, undefined, 404, /^Intention not found$/],
    ['GET', `${path}/hello`, undefined, 400, /UUID must be 36 characters/],
    ['DELETE', `${path}/hello`, undefined, 400, /UUID/],
  ] as const) {
    const answer = await send(catalog, method, at, { body });
    assert.equal(answer.status, status, `${method} ${at} ${JSON.stringify(body)}`);
    assert.match(answer.text, text);
  }
});
