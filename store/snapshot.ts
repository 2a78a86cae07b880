import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { KeyValue, Operation, Store } from './contract.ts';

/** All that a store holds, as of one revision. */
export interface Snapshot {
  /** Whose it is: `catalog`. */
  readonly service: string;
  readonly createdAtMs: number;
  readonly revision: number;
  readonly entries: readonly { readonly key: string; readonly value: Uint8Array }[];
}

/**
 * Between what a snapshot says and where the store that is made of it begins: its users may have seen later revisions than the snapshot did, and none may
 * come again with another meaning. A day of 10 writes a second.
 */
export const restoreMargin = 1_000_000;

const headSchema = z.strictObject({
  format: z.literal('selvedge-store'),
  version: z.literal(1),
  service: z.string(),
  createdAtMs: z.number().int(),
  revision: z.number().int().min(1),
  entries: z.number().int().min(0),
});
const entrySchema = z.tuple([z.string().min(1), z.base64()]);
const endSchema = z.strictObject({ sha256: z.string() });
/** Unpacked. Far above what a store may hold, far below what a small file could be blown up to. */
const maxBytes = 4 * 1024 * 1024 * 1024;

/** Reads all of a store at once. Keys that live by a lease are left out: whoever holds the lease makes them again. */
export async function takeSnapshot(store: Store, service: string, nowMs: number): Promise<Snapshot> {
  const { kvs, revision } = await store.range('');
  const lasting = kvs.filter((kv: KeyValue) => kv.lease === undefined);
  return { service, createdAtMs: nowMs, revision, entries: lasting.map(({ key, value }) => ({ key, value })) };
}

/** As a file: gzip of JSON lines, the head first, then `[key, base64]` of each entry, then the SHA-256 of all lines before. */
export async function encodeSnapshot({ entries, ...head }: Snapshot): Promise<Buffer> {
  const lines = [
    JSON.stringify({ format: 'selvedge-store', version: 1, ...head, entries: entries.length }),
    ...entries.map(({ key, value }) => JSON.stringify([key, Buffer.from(value).toString('base64')])),
  ];
  const body = `${lines.join('\n')}\n`;
  return promisify(gzip)(`${body}${JSON.stringify({ sha256: digestOf(body) })}\n`);
}

/** @throws MeshError SLV-3510 when it is damaged, cut off, of another service, or of a newer version */
export async function decodeSnapshot(file: Buffer, service: string): Promise<Snapshot> {
  try {
    const text = (await promisify(gunzip)(file, { maxOutputLength: maxBytes })).toString('utf8');
    const end = text.lastIndexOf('\n', text.length - 2) + 1;
    const body = text.slice(0, end);
    if (endSchema.parse(JSON.parse(text.slice(end))).sha256 !== digestOf(body))
      throw new Error('its checksum is wrong');
    const [first = '', ...rest] = body.trimEnd().split('\n');
    const head = headSchema.parse(JSON.parse(first));
    if (head.service !== service) throw new Error(`it is of the ${head.service}, not of the ${service}`);
    const entries = rest.map((line) => {
      const [key, base64] = entrySchema.parse(JSON.parse(line));
      return { key, value: new Uint8Array(Buffer.from(base64, 'base64')) };
    });
    if (entries.length !== head.entries) throw new Error('entries are missing');
    return { service, createdAtMs: head.createdAtMs, revision: head.revision, entries };
  } catch (cause) {
    const reason = cause instanceof z.ZodError || cause instanceof SyntaxError ? 'it is not of this form' : cause;
    throw new MeshError(
      'SLV-3510',
      `The backup can not be read: ${reason instanceof Error ? reason.message : reason}.`,
      {
        cause,
      },
    );
  }
}

const stepEntries = 100;
const stepBytes = 512 * 1024;

/** Writes the entries of a snapshot into an empty store. Not atomic: whoever opens it must not do so before this is done. */
export async function fillStore(store: Store, { entries }: Snapshot): Promise<void> {
  let step: Operation[] = [];
  let bytes = 0;
  const commit = async (): Promise<void> => {
    if (step.length > 0) await store.txn({ compare: [], success: step });
    step = [];
    bytes = 0;
  };
  for (const { key, value } of entries) {
    if (step.length === stepEntries || bytes + value.byteLength > stepBytes) await commit();
    step.push({ kind: 'put', key, value });
    bytes += value.byteLength;
  }
  await commit();
}

function digestOf(body: string): string {
  return createHash('sha256').update(body).digest('hex');
}
