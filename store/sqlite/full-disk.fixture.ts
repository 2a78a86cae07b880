/** Fills the small file system at the given path with a real store on it, frees it, and tells how the store took it. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { createLogger } from '#runtime/logging.ts';
import { openSqliteStore } from './sqlite-store.ts';

const directory = process.argv[2] ?? '';
const ballast = join(directory, 'ballast');
writeFileSync(ballast, Buffer.alloc(1_500_000));
const store = await openSqliteStore({
  path: join(directory, 'store.db'),
  clock: Date.now,
  log: createLogger({ process: 'test', level: 'silent' }),
});
const value = Buffer.alloc(50_000);
let written = 0;
let failure: unknown;
while (failure === undefined && written < 1000) {
  await store.put(`key-${written}`, value).then(
    () => {
      written += 1;
    },
    (error: unknown) => {
      failure = error;
    },
  );
}
console.log(`filled: ${isMeshError(failure) ? failure.code : failure}`);
console.log(`read: ${(await store.range('')).kvs.length === written}`);
rmSync(ballast);
await store.put('after', value);
console.log(`after freeing: ${(await store.range('')).kvs.length === written + 1}`);
await store.close();
