import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach } from 'node:test';
import { MeshProcesses } from '#test/mesh-processes.ts';

// The runner ends a file that takes too long by SIGTERM; on exit its processes end too (test/child.ts).
process.once('SIGTERM', () => process.exit(143));

/** Of each log, what is shown at most when a test fails. */
const shownLines = 40;
/** How much of each log has been shown, by file. */
const shown = new Map<string, number>();

/**
 * The mesh of one test file: started before its tests, ended after them. When a test fails, what the processes logged since the last failure is shown. At the end no log of any
 * process may hold a secret that was used, nor a private key.
 *
 * @param setUp starts what the tests need
 * @returns the mesh, and what `setUp` returned
 */
export async function setScene<T extends object>(
  options: ConstructorParameters<typeof MeshProcesses>[1],
  setUp: (mesh: MeshProcesses) => Promise<T>,
): Promise<T & { readonly mesh: MeshProcesses }> {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-scenario-'));
  const mesh = new MeshProcesses(directory, options);
  const end = async (): Promise<void> => {
    await mesh.end();
    assert.deepEqual(secretsInLogs(mesh), [], 'logs hold secrets');
    rmSync(directory, { recursive: true, force: true });
  };
  after(end);
  afterEach((t) => {
    if ('error' in t && t.error !== undefined && t.error !== null) showLogs(mesh);
  });
  try {
    return { ...(await setUp(mesh)), mesh };
  } catch (error) {
    showLogs(mesh);
    throw error;
  }
}

function showLogs(mesh: MeshProcesses): void {
  for (const child of mesh.children) {
    const text = child.log.slice(shown.get(child.logFile) ?? 0);
    if (text === '') continue;
    shown.set(child.logFile, child.log.length);
    const end = text.trimEnd().split('\n').slice(-shownLines).join('\n');
    process.stderr.write(`--- ${child.name} (${child.ended ?? 'running'}), ${child.logFile}\n${end}\n`);
  }
}

/** What secrets look like that a test never sees: made by Vault, or on a node. */
const shapes = {
  'a private key': /PRIVATE KEY/,
  'a token of Vault': /\b(?:s|b|hvs|hvb)\.[A-Za-z0-9_-]{20,}/,
  'a join token': /slj_[0-9a-f]{16}_[A-Za-z0-9_-]{43}/,
};

/** Logs that hold a secret, as `log: which`. */
function secretsInLogs(mesh: MeshProcesses): string[] {
  return mesh.children.flatMap((child) => {
    const text = child.log;
    const found = [...mesh.secrets].filter((secret) => text.includes(secret));
    const kinds = Object.entries(shapes).flatMap(([kind, shape]) => (shape.test(text) ? [kind] : []));
    return [...found.map((secret) => `${secret.slice(0, 6)}…`), ...kinds].map((what) => `${child.name}: ${what}`);
  });
}
