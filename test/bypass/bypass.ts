import { parseArgs } from 'node:util';
import { durationMs } from '#runtime/option-kinds.ts';
import { evaluateCases } from './evaluated.ts';
import { searchWayIn } from './search.ts';
import { waysIn } from './ways-in.ts';

/*
 * `npm run test:bypass -- --cases 1000000 --duration 10m`: random policies, requests that they deny, and these requests in every disguise of reliability.md 2d: so many
 * cases by canonicaliser and evaluator alone, then for that long over sockets, on every way to a service, or on the one that `--way` names. Short runs are part of the tests (bypass.test.ts,
 * policies/intention-properties.test.ts).
 */

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '1000000' },
    duration: { type: 'string', default: '1m' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000_007) },
    way: { type: 'string' },
  },
});
const seed = Number(values.seed);
const searched = waysIn.filter(({ name }) => values.way === undefined || name === values.way);
if (searched.length === 0) throw new Error(`--way is one of:\n${waysIn.map(({ name }) => name).join('\n')}`);
const say = (words: string): void => void process.stdout.write(`${words}\n`);
say(`seed ${seed}`);
say(`evaluated: ${evaluateCases(Number(values.cases), seed)} cases, none wider`);
for (const wayIn of searched) {
  const tally = await searchWayIn(wayIn, { seed, durationMs: durationMs(values.duration) / searched.length });
  say(`${wayIn.name}: ${JSON.stringify(tally)}, none wider`);
}
