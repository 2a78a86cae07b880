import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { ProcessContext } from '#runtime/process-context.ts';

/**
 * The audit log of identity: one JSON object a line, each holding the hash of the one before, so that nothing can be changed or taken out of the
 * middle unseen. (The end can be cut off by whoever may write the file: compare `sequence` with a copy kept elsewhere.)
 */

/** What is recorded. Flat, so that a line can be searched by field. Never a token, a key or a CSR; hashes of them. */
export interface AuditEvent {
  readonly event:
    | 'svid-issued'
    | 'svid-refused'
    | 'node-joined'
    | 'join-refused'
    | 'join-token-created'
    | 'join-token-withdrawn'
    | 'node-revoked'
    | 'revoked'
    | 'revocation-deleted'
    | 'rotation-begun'
    | 'rotation-forced'
    | 'authority-tainted'
    | 'jwt-svid-issued'
    | 'jwt-svid-refused'
    | 'jwt-key-changed'
    | 'federation-created'
    | 'federation-deleted'
    | 'federated-bundle-changed'
    | 'log-repaired';
  readonly [fact: string]: string | number | boolean | readonly string[] | undefined;
}

/** Where issuance writes; `append` resolves when the line is written (and synced, where asked for). */
export interface AuditLog {
  /** @throws MeshError SLV-2150 when it can't be written: what can't be recorded must not be done */
  append(event: AuditEvent): Promise<void>;
  close(): Promise<void>;
}

const lineSchema = z.looseObject({
  sequence: z.number().int().min(1),
  time: z.string(),
  previous: z.string().length(64),
  hash: z.string().length(64),
});

/** Hash before the first line. */
const genesis = '0'.repeat(64);
const maxLineBytes = 65_536;

/**
 * Opens the log of a data directory and goes on where it ends; a half-written last line (power cut) is cut off, and that is recorded.
 *
 * @param path   undefined: records go to the process log only (`dev` without a data directory)
 * @param options.sync wait for the disk on every batch; else the operating system writes when it does
 * @throws MeshError SLV-2151 when the end of the log does not fit its hash, SLV-2150 when it can't be opened
 */
export async function openAuditLog(
  path: string | undefined,
  context: Pick<ProcessContext, 'clock' | 'log'>,
  options: { sync?: boolean } = {},
): Promise<AuditLog> {
  if (path === undefined) {
    return {
      append: async (event) => context.log.info({ audit: event }, 'audit'),
      close: async () => undefined,
    };
  }
  const file = await open(path, 'a+', 0o600).catch((cause: unknown) => {
    throw unwritable(path, cause);
  });
  try {
    const end = await readEnd(file, path);
    const log = new ChainedLog(file, path, end, context, options.sync ?? false);
    if (end.tornBytes > 0) {
      context.log.warn(
        { path, tornBytes: end.tornBytes },
        'the audit log ended in a half-written line, which was cut off',
      );
      await log.append({ event: 'log-repaired', tornBytes: end.tornBytes });
    }
    return log;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/**
 * Checks a whole log, from its text.
 * @returns how many lines it has
 * @throws MeshError SLV-2151 naming the first line that does not fit
 */
export function verifyAuditLog(text: string): number {
  let previous = genesis;
  let sequence = 0;
  for (const line of text.split('\n')) {
    if (line === '') continue;
    sequence += 1;
    const read = readLine(line);
    if (read === undefined || read.sequence !== sequence || read.previous !== previous) throw broken(sequence);
    previous = read.hash;
  }
  return sequence;
}

interface LogEnd {
  readonly sequence: number;
  readonly hash: string;
  readonly tornBytes: number;
}

class ChainedLog implements AuditLog {
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #context: Pick<ProcessContext, 'clock' | 'log'>;
  readonly #sync: boolean;
  #sequence: number;
  #hash: string;
  #pending: { line: string; done: PromiseWithResolvers<void> }[] = [];
  #writing: Promise<void> | undefined;
  /** Once a write failed the file's end is not known any more; a restart repairs it. */
  #failed: MeshError | undefined;

  constructor(
    file: FileHandle,
    path: string,
    end: LogEnd,
    context: Pick<ProcessContext, 'clock' | 'log'>,
    sync: boolean,
  ) {
    this.#file = file;
    this.#path = path;
    this.#context = context;
    this.#sync = sync;
    this.#sequence = end.sequence;
    this.#hash = end.hash;
  }

  append(event: AuditEvent): Promise<void> {
    if (this.#failed !== undefined) return Promise.reject(this.#failed);
    this.#sequence += 1;
    const time = new Date(this.#context.clock()).toISOString();
    const body = JSON.stringify({ sequence: this.#sequence, time, ...event, previous: this.#hash });
    this.#hash = hashOf(body);
    const done = Promise.withResolvers<void>();
    this.#pending.push({ line: `${body.slice(0, -1)},"hash":"${this.#hash}"}\n`, done });
    this.#writing ??= this.#drain();
    return done.promise;
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#file.close();
  }

  /** Writes all that wait in one go, until none does: a burst costs one write, not hundreds. */
  async #drain(): Promise<void> {
    await Promise.resolve();
    while (this.#pending.length > 0) {
      const batch = this.#pending;
      this.#pending = [];
      try {
        if (this.#failed !== undefined) throw this.#failed;
        await this.#file.appendFile(batch.map(({ line }) => line).join(''));
        if (this.#sync) await this.#file.datasync();
        for (const { done } of batch) done.resolve();
      } catch (cause) {
        this.#failed ??= unwritable(this.#path, cause);
        for (const { done } of batch) done.reject(this.#failed);
      }
    }
    this.#writing = undefined;
  }
}

/** Finds the last line, checks it, and cuts off what a crash left half-written. */
async function readEnd(file: FileHandle, path: string): Promise<LogEnd> {
  const { size } = await file.stat();
  const length = Math.min(size, 2 * maxLineBytes);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
  const tail = buffer.subarray(0, bytesRead);
  const lastBreak = tail.lastIndexOf(0x0a);
  const tornBytes = tail.length - (lastBreak + 1);
  if (lastBreak === -1) {
    // No whole line: fine in a fresh log, and where the very first line was torn.
    if (size > maxLineBytes) throw new MeshError('SLV-2151', `${path} does not end in a line of an audit log.`);
    if (tornBytes > 0) await file.truncate(0);
    return { sequence: 0, hash: genesis, tornBytes };
  }
  const start = tail.subarray(0, lastBreak).lastIndexOf(0x0a) + 1;
  const read = readLine(tail.toString('utf8', start, lastBreak));
  if (read === undefined)
    throw new MeshError('SLV-2151', `The last line of ${path} does not fit its hash.`, { detail: { path } });
  if (tornBytes > 0) await file.truncate(size - tornBytes);
  return { sequence: read.sequence, hash: read.hash, tornBytes };
}

/** @returns the line's place in the chain, or undefined when it is no line or its hash does not fit */
function readLine(line: string): z.infer<typeof lineSchema> | undefined {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    return undefined; // said by the caller, with the line's number
  }
  const parsed = lineSchema.safeParse(json);
  if (!parsed.success) return undefined;
  const suffix = `,"hash":"${parsed.data.hash}"}`;
  if (!line.endsWith(suffix)) return undefined;
  return hashOf(`${line.slice(0, -suffix.length)}}`) === parsed.data.hash ? parsed.data : undefined;
}

function hashOf(body: string): string {
  return createHash('sha256').update(body).digest('hex');
}

function unwritable(path: string, cause: unknown): MeshError {
  const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed';
  return new MeshError('SLV-2150', `${path} can not be written: ${reason}.`, { detail: { path, reason }, cause });
}

function broken(line: number): MeshError {
  return new MeshError('SLV-2151', `Line ${line} of the audit log does not fit the chain.`, { detail: { line } });
}
