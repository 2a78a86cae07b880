import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';

const program = new URL('./testing/catalog-process.ts', import.meta.url).pathname;

async function startProcess(t: TestContext, dataDir: string): Promise<{ child: ChildProcess; url: string }> {
  const child = spawn(process.execPath, [program, dataDir], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  assert.ok(child.stdout !== null);
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  return { child, url: line.slice('catalog '.length) };
}

/** Killing proves that nothing acknowledged waits in the process; that it waits on no page cache either is shown by the store's trace of its syncs. */
test('a catalog killed while it writes has every write that it acknowledged, and its index goes on', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'selvedge-crash-'));
  t.after(() => rm(dataDir, { recursive: true, force: true }));
  const acknowledged = new Set<string>();
  let index = 1;
  for (let round = 0; round < 2; round++) {
    const { child, url } = await startProcess(t, dataDir);
    const enough = Promise.withResolvers<void>();
    const atStart = acknowledged.size;
    const writer = async (lane: number): Promise<void> => {
      for (let at = 0; ; at++) {
        const name = `w${round}-${lane}-${at}`;
        try {
          const answer = await fetch(`${url}/v1/catalog/register`, {
            method: 'PUT',
            body: JSON.stringify({ Node: name, Address: '10.0.0.1', Service: { Service: name, Port: 1 } }),
          });
          if (answer.status !== 200 || (await answer.text()) !== 'true') return;
        } catch {
          return; // the process is gone: this write was not acknowledged
        }
        acknowledged.add(name);
        if (acknowledged.size - atStart > 150) enough.resolve();
      }
    };
    const writers = Array.from({ length: 6 }, (_, lane) => writer(lane));
    await enough.promise;
    const read = await fetch(`${url}/v1/catalog/services`);
    index = Math.max(index, Number(read.headers.get('x-consul-index')));
    await read.text();
    child.kill('SIGKILL');
    await Promise.all([...writers, once(child, 'exit')]);
  }
  const { url } = await startProcess(t, dataDir);
  const answer = await fetch(`${url}/v1/catalog/services`);
  const held = (await answer.json()) as Record<string, unknown>;
  const lost = [...acknowledged].filter((name) => !(name in held));
  assert.deepEqual(lost, []);
  assert.ok(acknowledged.size > 300);
  assert.ok(Number(answer.headers.get('x-consul-index')) >= index, 'the index does not go back over a crash');
});
