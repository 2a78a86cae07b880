/** The kinds of SQLite failure that are told apart: locked by another, no space, all else (I/O, damage, misuse). */
export type SqliteCode = 'busy' | 'full' | 'other';

/** @returns undefined when the error is not SQLite's. Primary result codes: https://sqlite.org/rescode.html */
export function sqliteCode(error: unknown): SqliteCode | undefined {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return undefined;
  switch (error.errcode & 0xff) {
    case 5: // SQLITE_BUSY
    case 6: // SQLITE_LOCKED
      return 'busy';
    case 13: // SQLITE_FULL
      return 'full';
    default:
      return 'other';
  }
}
