import { constants, fstatSync, statSync } from 'node:fs';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { type ChainPosition, chainStart, maxLineBytes, readLine } from './audit-chain.ts';
import type { AuditLogEvent } from './audit-event.ts';

/**
 * The file of an audit log. A batch of lines is in it whole or not at all, as far as the file system allows: what a failed write left behind is cut off,
 * at once or before the next write. Rotation is by rename, noticed before each write; no signal is needed.
 */
export class AuditFile {
  readonly #path: string;
  readonly #sync: boolean;
  #handle: FileHandle;
  /** Bytes that are known to be whole lines of this chain. */
  #size: number;
  /** A write failed half-way, and what it left was not cut off yet. */
  #untidy = false;

  private constructor(path: string, handle: FileHandle, size: number, sync: boolean) {
    this.#path = path;
    this.#handle = handle;
    this.#size = size;
    this.#sync = sync;
  }

  /**
   * Opens the file, or makes it (0600), and finds where its chain ends. Where it is missing or empty, the chain of the file that was rotated away goes on.
   *
   * @param sync each write is on the disk when it is done
   * @returns what the chain should say about it first, if anything
   * @throws MeshError SLV-2151 when the end of the log does not fit its hash, SLV-2150 when it can't be opened
   */
  static async open(
    path: string,
    sync: boolean,
  ): Promise<{ file: AuditFile; position: ChainPosition; notice: AuditLogEvent | undefined }> {
    const handle = await openAppending(path, sync);
    try {
      const end = await readEnd(handle, path);
      if (end.tornBytes > 0) await handle.truncate(end.size);
      const rotated = end.position.sequence === 0 && end.tornBytes === 0 ? await endOfRotated(path) : undefined;
      const position = rotated ?? end.position;
      const file = new AuditFile(path, handle, end.size, sync);
      return { file, position, notice: noticeOf(end.tornBytes, rotated) };
    } catch (error) {
      await handle.close();
      throw asUnwritable(path, error);
    }
  }

  /**
   * Makes ready for the next write: tidies up, follows a rotation.
   * @param at where the chain stands
   * @returns what the chain should say about it, if anything
   * @throws MeshError SLV-2150, SLV-2151
   */
  async prepare(at: ChainPosition): Promise<AuditLogEvent | undefined> {
    try {
      if (this.#untidy) await this.#tidy();
      // In this thread: the kernel answers both in a few microseconds, a trip to a thread of the pool costs ten times that, and each batch makes both.
      const ours = fstatSync(this.#handle.fd);
      const there = statSync(this.#path, { throwIfNoEntry: false });
      if (there === undefined || there.ino !== ours.ino || there.dev !== ours.dev) return await this.#follow(at);
      if (!ours.isFile() || ours.size === this.#size) return undefined;
      if (ours.size > this.#size)
        throw new MeshError('SLV-2151', `Something else has written to ${this.#path}.`, {
          detail: { path: this.#path },
        });
      const notice = { event: 'log-truncated', bytesBefore: this.#size, bytesFound: ours.size } as const;
      this.#size = ours.size;
      return notice;
    } catch (error) {
      throw asUnwritable(this.#path, error);
    }
  }

  /** Appends whole lines. When it fails, none of them is in the file, or none will be before the next write. @throws MeshError SLV-2150 */
  async append(lines: string): Promise<void> {
    const bytes = Buffer.from(lines);
    try {
      for (let at = 0; at < bytes.length; ) at += (await this.#handle.write(bytes, at)).bytesWritten;
      this.#size += bytes.length;
    } catch (error) {
      this.#untidy = true;
      await this.#tidy().catch(() => undefined); // tried again by `prepare`
      throw asUnwritable(this.#path, error);
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  /** Cuts off what a failed write left; a device keeps nothing. */
  async #tidy(): Promise<void> {
    const { size } = await this.#handle.stat();
    if (size > this.#size) await this.#handle.truncate(this.#size);
    this.#untidy = false;
  }

  async #follow(at: ChainPosition): Promise<AuditLogEvent> {
    const handle = await openAppending(this.#path, this.#sync);
    try {
      const end = await readEnd(handle, this.#path);
      if (end.size > 0 && end.position.hash !== at.hash)
        throw new MeshError('SLV-2151', `Another log was put in the place of ${this.#path}.`, {
          detail: { path: this.#path },
        });
      if (end.tornBytes > 0) await handle.truncate(end.size);
      const old = this.#handle;
      this.#handle = handle;
      this.#size = end.size;
      await old.close();
    } catch (error) {
      if (this.#handle !== handle) await handle.close();
      throw error;
    }
    return { event: 'log-continued', after: at.sequence };
  }
}

interface LogEnd {
  readonly position: ChainPosition;
  /** Without what is torn. */
  readonly size: number;
  readonly tornBytes: number;
}

/** Finds the last whole line and checks it. What a crash left behind it is counted, not cut. */
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
    return { position: chainStart, size: 0, tornBytes };
  }
  const start = tail.subarray(0, lastBreak).lastIndexOf(0x0a) + 1;
  const line = readLine(tail.toString('utf8', start, lastBreak));
  if (line === undefined)
    throw new MeshError('SLV-2151', `The last line of ${path} does not fit its hash.`, { detail: { path } });
  return { position: { sequence: line.sequence, hash: line.hash }, size: size - tornBytes, tornBytes };
}

/** Where the newest file that was rotated away from `path` ends (`audit.jsonl.1`, `audit.jsonl-20260131`); compressed ones can't be read. */
async function endOfRotated(path: string): Promise<ChainPosition | undefined> {
  const name = basename(path);
  const rotated = (await readdir(dirname(path))).filter(
    (each) => each.startsWith(name) && /^[.-][0-9]+$/.test(each.slice(name.length)),
  );
  const ends = await Promise.all(
    rotated.map(async (each) => {
      await using file = await open(join(dirname(path), each), 'r');
      return (await readEnd(file, each)).position;
    }),
  );
  return ends.sort((a, b) => b.sequence - a.sequence)[0];
}

function noticeOf(tornBytes: number, rotated: ChainPosition | undefined): AuditLogEvent | undefined {
  if (tornBytes > 0) return { event: 'log-repaired', tornBytes };
  return rotated === undefined ? undefined : { event: 'log-continued', after: rotated.sequence };
}

/** @param sync each write comes back when it is on the disk (O_DSYNC): one trip to a thread of the pool, where a sync behind the write would be another */
async function openAppending(path: string, sync: boolean): Promise<FileHandle> {
  const { O_APPEND, O_CREAT, O_DSYNC, O_RDWR } = constants;
  try {
    const handle = await open(path, O_APPEND | O_CREAT | O_RDWR | (sync ? O_DSYNC : 0), 0o600);
    if (sync) {
      await using directory = await open(dirname(path), 'r');
      await directory.sync();
    }
    return handle;
  } catch (error) {
    throw asUnwritable(path, error);
  }
}

function asUnwritable(path: string, cause: unknown): MeshError {
  if (cause instanceof MeshError) return cause;
  const reason = errnoOf(cause) ?? 'failed';
  const why = reasons[reason];
  return new MeshError(
    'SLV-2150',
    `${path} can not be written: ${why === undefined ? reason : `${why} (${reason})`}.`,
    {
      detail: { path, reason },
      cause,
    },
  );
}

const reasons: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the quota is used up',
  EROFS: 'the file system is read-only',
  EACCES: 'permission denied',
  EIO: 'the disk has an error',
  EMFILE: 'too many open files',
};

function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}
