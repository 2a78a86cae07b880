import { z } from 'zod';
import type { ServiceClient } from '../service-client.ts';
import type { ConsulSource } from './consul-source.ts';
import type { ImportReport } from './import-report.ts';

const entrySchema = z.looseObject({
  Key: z.string(),
  Value: z
    .string()
    .nullish()
    .transform((value) => value ?? ''),
  Flags: z.number(),
  Session: z.string().optional(),
});
type Entry = z.infer<typeof entrySchema>;

/** Keys, and characters of values, of one transaction. */
const maxKeys = 60;
const maxCharacters = 400_000;
/** Largest answer of our own catalog. */
const maxBytes = 256 * 1_048_576;

/** Takes over the KV: keys that are there and not here, or say another thing. Nothing is deleted. */
export async function importKeyValues(
  source: ConsulSource,
  target: ServiceClient,
  apply: boolean,
  report: ImportReport,
): Promise<void> {
  const answer = await source.attempt('/v1/kv/?recurse=true');
  if (!('json' in answer)) {
    if (answer.status !== 404) report.left('KV', `the source answered ${answer.status}: ${answer.text}`);
    return; // 404: it is empty
  }
  const held = await entriesHere(target);
  const writes: { readonly entry: Entry; readonly fate: 'new' | 'changed' }[] = [];
  for (const entry of z.array(entrySchema).parse(answer.json)) {
    const what = `KV ${entry.Key}`;
    const here = held.get(entry.Key);
    if (!Number.isSafeInteger(entry.Flags)) report.left(what, 'its Flags are beyond what JSON numbers hold exactly');
    else if (here?.Value === entry.Value && here.Flags === entry.Flags) report.add(what, 'same');
    else writes.push({ entry, fate: here === undefined ? 'new' : 'changed' });
    if (entry.Session !== undefined) report.note(`${what}: the lock of its session is not taken over`);
  }
  let batch: typeof writes = [];
  let characters = 0;
  for (const write of writes) {
    if (batch.length >= maxKeys || characters + write.entry.Value.length > maxCharacters) {
      await put(target, apply, batch, report);
      batch = [];
      characters = 0;
    }
    batch.push(write);
    characters += write.entry.Value.length;
  }
  await put(target, apply, batch, report);
}

/** A transaction; where it is refused, each key by itself, so that the one that can't be taken is named. */
async function put(
  target: ServiceClient,
  apply: boolean,
  batch: readonly { readonly entry: Entry; readonly fate: 'new' | 'changed' }[],
  report: ImportReport,
): Promise<void> {
  if (batch.length === 0) return;
  const steps = batch.map(({ entry: { Key, Value, Flags } }) => ({ KV: { Verb: 'set', Key, Value, Flags } }));
  const answer = apply ? await target.attempt('PUT', '/v1/txn', steps) : undefined;
  if (answer === undefined || answer.status < 400) {
    for (const { entry, fate } of batch) report.add(`KV ${entry.Key}`, fate);
  } else if (batch.length === 1) {
    report.left(`KV ${batch[0]?.entry.Key ?? ''}`, answer.body.toString('utf8').slice(0, 300).trim());
  } else {
    for (const one of batch) await put(target, apply, [one], report);
  }
}

async function entriesHere(target: ServiceClient): Promise<Map<string, Entry>> {
  const answer = await target.attempt('GET', '/v1/kv/?recurse=true', undefined, maxBytes);
  if (answer.status === 404) return new Map();
  const entries = z.array(entrySchema).parse(JSON.parse(answer.body.toString('utf8')));
  return new Map(entries.map((entry) => [entry.Key, entry]));
}
