import assert from 'node:assert/strict';
import { test } from 'node:test';
import { searchWayIn } from './search.ts';
import { waysIn } from './ways-in.ts';

for (const wayIn of waysIn) {
  test(`property: no disguise carries a denied request to the application: ${wayIn.name}`, async () => {
    const tally = await searchWayIn(wayIn, { seed: 20261130, durationMs: 350 });
    assert.ok(tally.denied > 3 && tally.allowed > 0, JSON.stringify(tally));
  });
}
