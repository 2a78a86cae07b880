import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { canonicaliseTarget } from '#policies/canonical-request.ts';
import { PathReadings } from '#policies/path-readings.ts';
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

  it('and what they make of an encoded slash that is let pass is among the readings that intentions judge', async () => {
    const pieces = fc.constantFrom('a', 'B', 'c%40', 'd%3Fe', 'caf%C3%A9', 'f%20g', '');
    const slashes = fc.constantFrom(['/', '%2F', '%2f'], ['/', '%5C']);
    const paths = slashes.chain((glue) => fc.array(fc.tuple(fc.constantFrom(...glue), pieces), { maxLength: 6 }));
    const read = new Set<string>();
    for (const parts of fc.sample(paths, { numRuns: 300, seed: 20261130 })) {
      const canonical = canonicaliseTarget(`/x${parts.flat().join('')}`, 'KEEP_UNCHANGED');
      if (!canonical.ok || !/%2F|%5C/.test(canonical.path)) continue;
      const { stripped, decoded, combined, slashed } = new PathReadings(canonical.path);
      const judged = [canonical.path, stripped, decoded, combined, ...slashed.values()];
      for (const path of await differential.pathsRead(canonical.path)) {
        assert.ok(judged.includes(path), `${canonical.path} is read as ${path}`);
        read.add(path);
      }
    }
    assert.ok(read.size > 100, String(read.size));
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
