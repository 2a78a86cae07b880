import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { compareFor, type Differential, startDifferential } from './exchange.ts';
import { skipWithoutReaders } from './readers.ts';

describe('nginx, HAProxy, net/http and node:http read what both proxies forward as these have read it', {
  skip: await skipWithoutReaders(),
}, () => {
  let differential: Differential;
  before(async () => {
    differential = await startDifferential();
  });
  after(() => differential.end());

  it('whatever the caller says', async () => {
    await compareFor(differential, { seed: 20261130, durationMs: 3_000 });
    const { forwarded, refusals } = differential.tally;
    const refused = Object.values(refusals).reduce((sum, count) => sum + count, 0);
    // Methods that they do not know, mostly.
    assert.ok(forwarded > 20 && refused < forwarded / 4, JSON.stringify(differential.tally));
  });
});
