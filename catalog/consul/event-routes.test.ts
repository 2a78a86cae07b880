import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunningCatalog } from '../main.ts';
import { send, startTestCatalog } from '../testing/running-catalog.ts';

interface Fired {
  readonly ID: string;
  readonly Name: string;
  readonly Payload: string | null;
  readonly LTime: number;
}

async function fire(catalog: RunningCatalog, name: string, body?: string): Promise<Fired> {
  const { status, json, text } = await send(catalog, 'PUT', `/v1/event/fire/${name}`, { body });
  assert.equal(status, 200, text);
  return json as Fired;
}

async function list(catalog: RunningCatalog, query = '') {
  const { json, headers } = await send(catalog, 'GET', `/v1/event/list${query}`);
  return { events: json as Fired[], index: headers.get('x-consul-index') };
}

/** As Consul's Go client computes it (api.Event.IDToIndex). */
function indexOfId(id: string): string {
  const hex = id.replaceAll('-', '');
  return String(BigInt(`0x${hex.slice(0, 16)}`) ^ BigInt(`0x${hex.slice(16)}`));
}

test('events in their order; the index is what clients compute from the last one', async (t) => {
  const catalog = await startTestCatalog(t);
  assert.deepEqual(await list(catalog), { events: [], index: '1' });
  const first = await fire(catalog, 'deploy', 'v2');
  const { ID, ...rest } = first;
  assert.match(ID, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  assert.deepEqual(rest, {
    Name: 'deploy',
    Payload: Buffer.from('v2').toString('base64'),
    NodeFilter: '',
    ServiceFilter: '',
    TagFilter: '',
    Version: 1,
    LTime: 0,
  });
  const second = await fire(catalog, 'other');
  assert.equal(second.Payload, null);
  const all = await list(catalog);
  assert.deepEqual(
    all.events.map((event) => [event.ID, event.LTime]),
    [
      [first.ID, 1],
      [second.ID, 2],
    ],
  );
  assert.equal(all.index, indexOfId(second.ID));
  const named = await list(catalog, '?name=deploy');
  assert.deepEqual(named.events, [{ ...first, LTime: 1 }]);
  assert.equal(named.index, indexOfId(first.ID));
});

test('a reader waits for an event of its name, and for no other', async (t) => {
  const catalog = await startTestCatalog(t);
  await fire(catalog, 'deploy');
  const { index } = await list(catalog, '?name=deploy');
  let answered = false;
  const waiting = list(catalog, `?name=deploy&index=${index}&wait=60s`).then((answer) => {
    answered = true;
    return answer;
  });
  await fire(catalog, 'other');
  assert.deepEqual((await list(catalog, '?index=77&wait=60s')).events.length, 2, 'any other index is answered at once');
  assert.equal(answered, false);
  const { ID } = await fire(catalog, 'deploy');
  assert.equal((await waiting).index, indexOfId(ID));
});

test('256 are remembered, and the numbers go on', async (t) => {
  const catalog = await startTestCatalog(t);
  for (let count = 0; count < 8; count++) {
    await Promise.all(Array.from({ length: 33 }, () => fire(catalog, `e${count}`)));
  }
  const { events, index } = await list(catalog);
  assert.equal(events.length, 256);
  assert.deepEqual([events[0]?.LTime, events.at(-1)?.LTime, index], [9, 264, '265']);
});

test('what is refused', async (t) => {
  const catalog = await startTestCatalog(t);
  for (const [path, body, status, text] of [
    ['/v1/event/fire/', undefined, 400, /^Missing name$/],
    ['/v1/event/fire/x?node=(', undefined, 400, /^Invalid node filter/],
    ['/v1/event/fire/x?tag=a', undefined, 400, /^Cannot provide tag filter without service filter$/],
    ['/v1/event/fire/x', 'y'.repeat(513), 413, /limit of 512 bytes/],
  ] as const) {
    const answer = await send(catalog, 'PUT', path, { body });
    assert.equal(answer.status, status, path);
    assert.match(answer.text, text);
  }
  const guarded = await startTestCatalog(t, { open: false });
  assert.equal((await send(guarded, 'PUT', '/v1/event/fire/x')).status, 403);
});
