import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folders: string[] = [];
process.once('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

/**
 * Makes a folder that goes when this process ends. Hooks of a test run in the order in which they were set: one that removed the folder of a server ran before the one that ends the server,
 * which wrote into it meanwhile; and of a hook that fails Node leaves out those behind it, so that the file never ended.
 */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'selvedge-test-'));
  folders.push(folder);
  return folder;
}
