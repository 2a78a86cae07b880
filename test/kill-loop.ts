import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { verifyAuditLog } from '#runtime/audit/verify-audit-log.ts';
import { CatalogUnderTest } from './linearizability/catalog-under-test.ts';
import { waitFor } from './wait-for.ts';

/** What came of it. */
export interface KillLoopResult {
  readonly acknowledged: number;
  /** Sent, and killed before an answer came: they may be there or not. */
  readonly unanswered: number;
  readonly auditLines: number;
}

const writers = 6;
/** Between two kills at most so many writes are acknowledged, so that kills come at all moments of a process's life: also while its log is checkpointed. */
const mostWrites = 300;

/**
 * A catalog on SQLite that is killed with -9 under writes, again and again, and started on what it left. After each start every write that it ever acknowledged is
 * there, as often as it was acknowledged, and its index is not below what any answer said; at the end its audit log verifies.
 *
 * Killing proves that nothing acknowledged waits in the process. That it waits in no page cache either is shown by the trace of its syncs (sync-trace.ts).
 *
 * @param directory an empty one
 * @param random as Math.random
 */
export async function killLoop(
  kills: number,
  directory: string,
  { random, say }: { readonly random: () => number; readonly say: (words: string) => void },
): Promise<KillLoopResult> {
  await using catalog = new CatalogUnderTest('catalog', directory, undefined);
  await catalog.start();
  const acknowledged = new Set<string>();
  let unanswered = 0;
  let highest = 0;
  const note = (answer: Response): void => {
    highest = Math.max(highest, Number(answer.headers.get('x-consul-index') ?? 0));
  };
  const check = async (): Promise<void> => {
    const answer = await fetch(`${catalog.url}/v1/catalog/services`);
    const held = (await answer.json()) as Record<string, unknown>;
    const lost = [...acknowledged].filter((name) => !(name in held));
    assert.deepEqual(lost, [], 'an acknowledged write is lost');
    const index = Number(answer.headers.get('x-consul-index'));
    assert.ok(index >= highest, `the index went back from ${highest} to ${index}`);
    note(answer);
  };
  for (let kill = 1; kill <= kills; kill++) {
    let dead = false;
    const target = acknowledged.size + 1 + Math.floor(random() * mostWrites);
    const writer = async (lane: number): Promise<void> => {
      for (let at = 0; !dead; at++) {
        const name = `w${kill}-${lane}-${at}`;
        try {
          const answer = await fetch(`${catalog.url}/v1/catalog/register`, {
            method: 'PUT',
            body: JSON.stringify({ Node: `n${kill}`, Address: '10.0.0.1', Service: { Service: name, Port: 1 } }),
          });
          assert.equal(`${answer.status} ${(await answer.text()).trim()}`, '200 true');
          acknowledged.add(name);
          if (at % 20 === 0) {
            const read = await fetch(`${catalog.url}/v1/catalog/service/${name}`);
            await read.text();
            note(read);
          }
        } catch (error) {
          if (error instanceof assert.AssertionError) throw error;
          unanswered += 1;
          return; // the process is gone
        }
      }
    };
    const writing = Promise.all(Array.from({ length: writers }, (_, lane) => writer(lane)));
    writing.catch(() => undefined); // said below
    await Promise.race([waitFor('writes', () => acknowledged.size >= target, 180_000), writing]);
    await catalog.kill();
    dead = true;
    await writing;
    await catalog.start();
    await check();
    if (kill % 10 === 0) say(`${kill} times killed: ${acknowledged.size} acknowledged, all there`);
  }
  await catalog.kill();
  const { lines } = await verifyAuditLog([readFileSync(join(directory, 'catalog', 'audit.jsonl'))]);
  return { acknowledged: acknowledged.size, unanswered, auditLines: lines };
}
