import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { mkdir, open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { MeshError } from '#policies/errors/mesh-error.ts';

let temporaries = 0;

/** A name beside the file, so that the rename stays within one file system. Unique within the host's living processes. */
function temporaryBeside(path: string): string {
  temporaries += 1;
  return `${path}.${process.pid}.${temporaries}.tmp`;
}

/** Turns a failed system call into SLV-1005, which names the file. */
function unusable(path: string, doing: string, cause: unknown): MeshError {
  const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed';
  return new MeshError('SLV-1005', `Cannot ${doing} ${path}: ${reason}.`, { detail: { path, reason }, cause });
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

/** Makes the directory, and those above it, for this user alone (0700). An existing one stays as it is. Throws SLV-1005. */
export async function ensurePrivateDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
    throw unusable(path, 'create', cause);
  });
}

/**
 * Replaces a file's content so that a crash or power cut at any moment leaves the old content or the new, never a mixture: written to a temporary
 * file in the same directory, synced, renamed over, and the directory synced. Durable when the promise resolves. Throws SLV-1005.
 *
 * @param mode permission bits of the file; its default is for secrets
 */
export async function writeFileAtomic(path: string, data: string | Uint8Array, mode = 0o600): Promise<void> {
  const temporary = temporaryBeside(path);
  try {
    const file = await open(temporary, 'wx', mode);
    try {
      await file.writeFile(data);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    const directory = await open(dirname(path), 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  } catch (cause) {
    await unlink(temporary).catch(() => undefined); // it may never have been made, or be renamed already
    throw unusable(path, 'write', cause);
  }
}

/**
 * Creates a file with its whole content, durable, unless it exists: of many who try at once exactly one succeeds, and nobody sees a half-written one.
 * Makes the directory (0700) too. Throws SLV-1005.
 *
 * @returns true when this call made it
 */
export function createFileOnceSync(path: string, data: string | Uint8Array, mode = 0o600): boolean {
  // What is there needs no disk that takes writes: a process starts again on a full one.
  if (existsSync(path)) return false;
  const temporary = temporaryBeside(path);
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const file = openSync(temporary, 'wx', mode);
    try {
      try {
        const bytes = Buffer.from(data);
        for (let written = 0; written < bytes.length; ) written += writeSync(file, bytes, written);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      linkSync(temporary, path);
    } catch (error) {
      if (isErrno(error, 'EEXIST')) return false;
      throw error;
    } finally {
      unlinkSync(temporary);
    }
    const directory = openSync(dirname(path), 'r');
    try {
      fsyncSync(directory);
    } finally {
      closeSync(directory);
    }
    return true;
  } catch (cause) {
    throw unusable(path, 'create', cause);
  }
}

/** @returns the file's content, or undefined when there is no such file. Throws SLV-1005 when it is larger than `maxBytes` or unreadable. */
export async function readFileBounded(path: string, maxBytes: number): Promise<Buffer | undefined> {
  // Small files at start-up: one way to read them is better than two.
  return readFileBoundedSync(path, maxBytes);
}

/** As readFileBounded, at once. */
export function readFileBoundedSync(path: string, maxBytes: number): Buffer | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) return undefined;
    throw unusable(path, 'read', cause);
  }
  try {
    const buffer = Buffer.alloc(maxBytes + 1);
    let length = 0;
    for (let read = -1; read !== 0 && length < buffer.length; length += read) {
      read = readSync(file, buffer, length, buffer.length - length, null);
    }
    if (length > maxBytes) {
      throw new MeshError('SLV-1005', `${path} is larger than ${maxBytes} bytes.`, { detail: { path, maxBytes } });
    }
    return Buffer.from(buffer.subarray(0, length));
  } catch (cause) {
    throw cause instanceof MeshError ? cause : unusable(path, 'read', cause);
  } finally {
    closeSync(file);
  }
}
