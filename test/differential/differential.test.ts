import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type AnswerDifferential, compareAnswersFor, startAnswerDifferential } from './answers.ts';
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

describe('what applications answer is read by nginx, HAProxy, net/http and node:http as both proxies forward it', {
  skip: await skipWithoutReaders(),
}, () => {
  let differential: AnswerDifferential;
  before(async () => {
    differential = await startAnswerDifferential();
  });
  after(() => differential.end());

  it('whatever it is, and what is behind it is nobody’s answer', async () => {
    await compareAnswersFor(differential, { seed: 20261130, durationMs: 2_000 });
    const { answers, forwarded, refused, agreed } = differential.tally;
    assert.ok(forwarded > 15 && forwarded < answers, JSON.stringify(differential.tally));
    assert.equal(refused, 0);
    assert.equal(Object.keys(agreed).length, 4);
  });
});
