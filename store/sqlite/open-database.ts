import { chmodSync, closeSync, existsSync, mkdirSync, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { sqliteCode } from './sqlite-error.ts';

/** Earlier ones have a WAL-reset bug that can lose commits (mended in 3.51.3, March 2026). */
export const oldestSqlite = '3.51.3';
/** `PRAGMA user_version` of the files that this code writes. */
const schemaVersion = 1;
const pageBytes = 4096;

/**
 * One row per write, oldest first; a key's value is its newest row. Compaction removes what is neither current nor asked for.
 * A key is written at most once per revision, so (key, revision) names a row.
 */
const schema = `
  CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL,
    key TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    value BLOB,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease TEXT
  ) STRICT;
  CREATE UNIQUE INDEX history_by_key ON history (key, revision);
  CREATE INDEX history_by_revision ON history (revision);
  CREATE TABLE lease (id TEXT PRIMARY KEY, ttl_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE lease_key (lease TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (lease, key)) STRICT, WITHOUT ROWID;
  CREATE TABLE meta (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    revision INTEGER NOT NULL,
    compact_revision INTEGER NOT NULL,
    last_lease INTEGER NOT NULL
  ) STRICT;
  INSERT INTO meta VALUES (1, 1, 1, 0);
  PRAGMA user_version = ${schemaVersion};
`;

/**
 * Opens (or makes) the database: 0600 in a 0700 directory, WAL, every commit synced, locked against other processes for as long as it is open
 * (the kernel frees the lock when the process dies).
 *
 * @param path a file, or undefined for a database in memory
 * @param maxSizeBytes a write that would grow the file beyond it fails as on a full disk
 * @throws SLV-3508 another process has it; SLV-3509 damaged, newer, or an unfit SQLite; SLV-1005 the file or folder can't be made
 */
export function openDatabase(path: string | undefined, maxSizeBytes: number): DatabaseSync {
  requireSqlite(process.versions['sqlite'] ?? '0');
  if (path !== undefined) prepareFile(path);
  const database = new DatabaseSync(path ?? ':memory:');
  try {
    configure(database, path !== undefined, maxSizeBytes);
    migrate(database);
    return database;
  } catch (error) {
    database.close();
    throw describeOpenFailure(error, path);
  }
}

/** Lets the store begin at a later revision than it would; one that is further is left as it is. */
export function raiseRevision(database: DatabaseSync, revision: number): void {
  database
    .prepare('UPDATE meta SET revision = :revision, compact_revision = :revision WHERE revision < :revision')
    .run({ revision });
}

/** Throws SLV-3509 when `version` (as "3.51.2") is older than the oldest that keeps its promises. */
export function requireSqlite(version: string): void {
  const found = version.split('.').map(Number);
  const needed = oldestSqlite.split('.').map(Number);
  for (const [position, need] of needed.entries()) {
    const have = found[position] ?? 0;
    if (have > need) return;
    if (have === need) continue;
    throw new MeshError(
      'SLV-3509',
      `This Node carries SQLite ${version}; ${oldestSqlite} or newer is needed (older ones can lose committed data).`,
    );
  }
}

function prepareFile(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    if (existsSync(path)) {
      // Never open and close an existing file here: POSIX drops all of the process's locks on a file with any descriptor of it.
      if ((statSync(path).mode & 0o077) !== 0) chmodSync(path, 0o600);
    } else {
      // SQLite gives its -wal file the mode of the database file.
      closeSync(openSync(path, 'wx', 0o600));
    }
  } catch (error) {
    throw new MeshError('SLV-1005', `The store's file ${path} can't be made or secured: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

function configure(database: DatabaseSync, onDisk: boolean, maxSizeBytes: number): void {
  // Exclusive before the first use: the lock is then never given back, and there is no shared-memory file.
  database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF; PRAGMA fullfsync = ON;');
  database.exec(`PRAGMA page_size = ${pageBytes};`);
  if (onDisk) {
    const mode = database.prepare('PRAGMA journal_mode = WAL').get()?.['journal_mode'];
    database.exec('PRAGMA synchronous = FULL; PRAGMA checkpoint_fullfsync = ON;');
    const synchronous = database.prepare('PRAGMA synchronous').get()?.['synchronous'];
    if (mode !== 'wal' || synchronous !== 2) {
      throw new MeshError(
        'SLV-3509',
        `SQLite refused WAL or synced commits (journal ${mode}, synchronous ${synchronous}).`,
      );
    }
  }
  database.exec('BEGIN IMMEDIATE; COMMIT;');
  const size = database.prepare('PRAGMA page_size').get()?.['page_size'];
  database.exec(`PRAGMA max_page_count = ${Math.floor(maxSizeBytes / Number(size))};`);
}

function migrate(database: DatabaseSync): void {
  const found = Number(database.prepare('PRAGMA user_version').get()?.['user_version']);
  if (found > schemaVersion) {
    throw new MeshError(
      'SLV-3509',
      `The store was written by a newer Selvedge (layout ${found}; this one knows ${schemaVersion}).`,
    );
  }
  if (found === schemaVersion) return;
  database.exec(`BEGIN; ${schema} COMMIT;`);
}

function describeOpenFailure(error: unknown, path: string | undefined): unknown {
  const code = sqliteCode(error);
  if (code === undefined) return error;
  const where = path ?? 'in memory';
  switch (code) {
    case 'busy':
      return new MeshError('SLV-3508', `The store ${where} is open in another process.`, { cause: error });
    case 'full':
      return new MeshError('SLV-3504', `No space to open the store ${where}.`, { cause: error });
    case 'unwritable':
      return new MeshError('SLV-3512', `The store ${where} is on a disk that takes no writes.`, { cause: error });
    case 'other':
      return new MeshError('SLV-3509', `The store ${where} can't be opened: ${(error as Error).message}.`, {
        cause: error,
      });
  }
}
