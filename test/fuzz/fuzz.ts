import { inspect, parseArgs } from 'node:util';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { durationMs } from '#runtime/option-kinds.ts';
import { dice, mutate } from './mutate.ts';
import { type FuzzedReader, fuzzedReaders } from './readers.ts';

/*
 * `npm run fuzz -- --duration 10m`: damaged input into every reader, in one process whose heap is bounded (package.json), so that a reader that takes
 * memory by what its input claims ends it. A short run is part of
 * the tests (fuzz.test.ts). The same seed does the same damage, to samples with fresh keys: what fails is printed whole.
 */

/** No input may cost more, in CPU time of this thread. */
const maxCpuMs = 100;

const { values } = parseArgs({
  options: {
    duration: { type: 'string' },
    rounds: { type: 'string', default: '0' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000_007) },
  },
});
const seed = Number(values.seed);
const rounds = Number(values.rounds);
const duration = values.duration ?? (rounds === 0 ? '1m' : '0s');
const untilMs = performance.now() + durationMs(duration);

const readers = await fuzzedReaders();
let inputs = 0;
let slowestMs = 0;
process.stdout.write(`seed ${seed}, ${readers.length} readers\n`);
for (const reader of readers) {
  for (const sample of reader.samples) {
    await accept(reader, sample);
    for (let length = 0; length < sample.length; length++) await feed(reader, sample.subarray(0, length));
  }
}
const roll = dice(seed);
for (let round = 0; round < rounds || performance.now() < untilMs; round++) {
  for (const reader of readers) {
    const sample = reader.samples[roll(reader.samples.length)] ?? new Uint8Array();
    await feed(reader, mutate(sample, roll));
  }
}
process.stdout.write(`${inputs} inputs, slowest ${slowestMs.toFixed(1)} ms of CPU\n`);

/** A sample that is refused would fuzz nothing. */
async function accept(reader: FuzzedReader, sample: Uint8Array): Promise<void> {
  try {
    await reader.read(sample);
  } catch (error) {
    fail(reader, sample, `refuses its own sample: ${inspect(error)}`);
  }
}

async function feed(reader: FuzzedReader, bytes: Uint8Array): Promise<void> {
  inputs += 1;
  let cpuMs = await timed(reader, bytes);
  // Garbage is collected, and code compiled, on somebody's time: only what is slow each time is slow.
  for (let again = 0; again < 3 && cpuMs > maxCpuMs; again++) cpuMs = Math.min(cpuMs, await timed(reader, bytes));
  if (cpuMs > maxCpuMs) fail(reader, bytes, `took ${Math.round(cpuMs)} ms of CPU`);
  slowestMs = Math.max(slowestMs, cpuMs);
}

/** @returns what it cost, ms of this thread's CPU */
async function timed(reader: FuzzedReader, bytes: Uint8Array): Promise<number> {
  const before = process.threadCpuUsage();
  try {
    await reader.read(bytes);
  } catch (error) {
    const isRefusal = error instanceof ConsulError && reader.statuses?.includes(error.status);
    if (!isRefusal && !reader.codes.some((code) => isMeshError(error, code)))
      fail(reader, bytes, `threw ${inspect(error)}`);
  }
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1_000;
}

function fail(reader: FuzzedReader, bytes: Uint8Array, what: string): never {
  process.stderr.write(`reader "${reader.name}" ${what}\nseed ${seed}, input (base64):\n`);
  process.stderr.write(`${Buffer.from(bytes).toString('base64')}\n`);
  process.exit(1);
}
