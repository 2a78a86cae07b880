/**
 * The kinds of SQLite failure that are told apart: locked by another, no space, no write taken (the file system is read-only, or the disk refused), all else
 * (a sync that failed, damage, misuse).
 */
export type SqliteCode = 'busy' | 'full' | 'unwritable' | 'other';

/** SQLITE_IOERR_WRITE: an extended code. */
const writeFailed = 10 | (3 << 8);

/** @returns undefined when the error is not SQLite's. Result codes: https://sqlite.org/rescode.html */
export function sqliteCode(error: unknown): SqliteCode | undefined {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return undefined;
  if (error.errcode === writeFailed) return 'unwritable';
  switch (error.errcode & 0xff) {
    case 5: // SQLITE_BUSY
    case 6: // SQLITE_LOCKED
      return 'busy';
    case 8: // SQLITE_READONLY
      return 'unwritable';
    case 13: // SQLITE_FULL
      return 'full';
    default:
      return 'other';
  }
}
