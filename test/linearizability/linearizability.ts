import { parseArgs } from 'node:util';
import { durationMs } from '#runtime/option-kinds.ts';
import { dice } from '../fuzz/mutate.ts';
import { etcdFaults } from './etcd-faults.ts';
import { judge } from './judge.ts';
import { recordOnEtcd, recordOnSqlite } from './runs.ts';

/*
 * `npm run test:linearizability -- --duration 10m`: run after run on either engine, the faults on etcd in another order each time, every history judged.
 * Short runs are part of the tests (linearizability.test.ts). A refused history is kept in .cache/linearizability/.
 */

const { values } = parseArgs({
  options: {
    duration: { type: 'string', default: '1m' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000_007) },
  },
});
const seed = Number(values.seed);
const untilMs = performance.now() + durationMs(values.duration);
const roll = dice(seed);
const random = (): number => roll(2 ** 30) / 2 ** 30;
const options = {
  random,
  say: (words: string) => process.stdout.write(`  ${(performance.now() / 1_000).toFixed(1)} s: ${words}\n`),
};
const minimum = { writes: 250, casDone: 60, casRefused: 10, consistentReads: 200, defaultReads: 300 };

process.stdout.write(`seed ${seed}\n`);
for (let run = 1; run === 1 || performance.now() < untilMs; run++) {
  const shuffled = etcdFaults
    .map((fault) => ({ fault, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ fault }) => fault);
  for (const [engine, record] of [
    ['etcd', () => recordOnEtcd(shuffled, options)],
    ['sqlite', () => recordOnSqlite(10, options)],
  ] as const) {
    const history = await record();
    process.stdout.write(`${await judge(`${engine}-${seed}-${run}`, history, minimum)}\n`);
  }
}
