import { parseArgs } from 'node:util';
import { durationMs } from '#runtime/option-kinds.ts';
import { compareAnswersFor, startAnswerDifferential } from './answers.ts';
import { compareFor, startDifferential } from './exchange.ts';

/*
 * `npm run test:differential -- --duration 10m`: well-formed, damaged and smuggled requests through both proxies, and how nginx, HAProxy, net/http and node:http behind
 * them read what was forwarded; then, for as long again, odd answers the other way, to the same as clients and to node:http2. A short run is part of the tests (differential.test.ts).
 */

const { values } = parseArgs({
  options: {
    duration: { type: 'string', default: '1m' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000_007) },
  },
});
process.stdout.write(`seed ${values.seed}\n`);
const differential = await startDifferential();
try {
  await compareFor(differential, { seed: Number(values.seed), durationMs: durationMs(values.duration) });
} finally {
  await differential.end();
}
const { conversations, read, forwarded, refusals } = differential.tally;
process.stdout.write(
  `${conversations} conversations, ${read} requests read, ${forwarded} forwarded and read alike; refused: ${JSON.stringify(refusals)}\n`,
);

const answering = await startAnswerDifferential();
try {
  await compareAnswersFor(answering, { seed: Number(values.seed), durationMs: durationMs(values.duration) });
} finally {
  await answering.end();
}
const { answers, forwarded: answersForwarded, refused, agreed } = answering.tally;
process.stdout.write(
  `${answers} answers, ${answersForwarded} forwarded and read alike, ${refused} times refused by a client; read so without us: ${JSON.stringify(agreed)}\n`,
);
