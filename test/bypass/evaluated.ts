import fc from 'fast-check';
import { disguises, hidesOnly } from '#policies/disguises.fixture.ts';
import { allows } from '#policies/requests.fixture.ts';
import { plainCases } from './search.ts';

/** Judges so many disguised requests by canonicaliser and evaluator. @returns how many. @throws Error with one that is allowed where the plain one is not */
export function evaluateCases(atLeast: number, seed: number): number {
  let cases = 0;
  for (let round = 0; cases < atLeast; round++) {
    for (const { policy, request, defaultAction } of fc.sample(plainCases, { numRuns: 1_000, seed: seed + round })) {
      const before = allows(policy, defaultAction, request);
      for (const [name, disguise] of Object.entries(disguises)) {
        if (!hidesOnly(name, policy, request)) continue;
        cases += 1;
        const disguised = disguise(request);
        if (before || !allows(policy, defaultAction, disguised)) continue;
        throw new Error(`wider by ${name}: ${JSON.stringify({ policy, defaultAction, request, disguised })}`);
      }
    }
  }
  return cases;
}
