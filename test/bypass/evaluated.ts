import fc from 'fast-check';
import { disguises, hidesOnly } from '#policies/disguises.fixture.ts';
import { allNormalizations } from '#policies/generated-policies.fixture.ts';
import { allows } from '#policies/requests.fixture.ts';
import { plainCases } from './search.ts';

/** Judges so many disguised requests by canonicaliser and evaluator, with whatever a service may let pass. @returns how many. @throws Error with one that is allowed where the plain one is not */
export function evaluateCases(atLeast: number, seed: number): number {
  let cases = 0;
  for (let round = 0; cases < atLeast; round++) {
    for (const { policy, request, defaultAction } of fc.sample(plainCases, { numRuns: 1_000, seed: seed + round })) {
      const before = allows(policy, defaultAction, request);
      for (const [name, disguise] of Object.entries(disguises)) {
        const disguised = disguise(request);
        for (const words of allNormalizations) {
          if (!hidesOnly(name, policy, request, words)) continue;
          cases += 1;
          if (before || !allows(policy, defaultAction, disguised, 'web', words)) continue;
          throw new Error(`wider by ${name}: ${JSON.stringify({ words, policy, defaultAction, request, disguised })}`);
        }
      }
    }
  }
  return cases;
}
