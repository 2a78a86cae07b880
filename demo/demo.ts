import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { breakerOpensAndCloses } from './chapters/breaker.ts';
import { controlPlaneDies } from './chapters/control-plane.ts';
import { intentionsDecide, openConnectionIsCut } from './chapters/intentions.ts';
import { certificatesRotate } from './chapters/rotation.ts';
import { meshStarts } from './chapters/start.ts';
import { DemoMesh } from './mesh.ts';
import { Story } from './story.ts';
import { bold, tell } from './terminal.ts';
import { startVault } from './vault.ts';

/** `npm run demo`: two services talk over the mesh, and each claim of the README is shown and checked. `--vault`: OpenBao is the CA. `--keep`: stays up. */
const values = options();
const startedMs = performance.now();
const directory = mkdtempSync(join(tmpdir(), 'selvedge-demo-'));
const story = new Story();
let interrupted = false;
let keeping = false;

tell(bold('Selvedge: web calls db through two edge proxies, and nothing in either knows.'));
tell(`State and logs of this run: ${directory}`);
await using vault = values.vault
  ? await story.value('Vault: OpenBao starts, and its PKI is prepared', () => startVault(directory, 'mesh.internal'))
  : undefined;
const mesh = new DemoMesh(directory, vault);
for (const [signal, exitCode] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  process.once(signal, () => {
    if (interrupted) return;
    interrupted = true;
    void mesh.end().then(() => {
      rmSync(directory, { recursive: true, force: true });
      // This is how a kept mesh is ended; before that it breaks the story off.
      process.exit(keeping ? 0 : exitCode);
    });
  });
}

try {
  await meshStarts(story, mesh, vault);
  await intentionsDecide(story, mesh);
  await openConnectionIsCut(story, mesh);
  await breakerOpensAndCloses(story, mesh);
  await certificatesRotate(story, mesh);
  await controlPlaneDies(story, mesh);
} catch (error) {
  story.fail(error);
}
const seconds = Math.round((performance.now() - startedMs) / 1_000);
story.close(seconds);

if (values.keep && !interrupted && story.ok) {
  await keepRunning();
} else {
  await mesh.end();
  if (story.ok) rmSync(directory, { recursive: true, force: true });
  else tell(`Logs are left in ${directory}.`);
}
process.exitCode = story.ok ? 0 : 1;

/** Leaves everything up until Ctrl-C, and says how to poke at it. */
async function keepRunning(): Promise<void> {
  keeping = true;
  tell(bold('\nAll of it is still running. Poke at it from another terminal; Ctrl-C here ends it.'));
  tell(
    `  export SELVEDGE_CATALOG=${mesh.catalogUrl} SELVEDGE_CA_FILE=${directory}/identity/ca.pem SELVEDGE_TOKEN_FILE=${directory}/catalog/operator.token`,
  );
  tell('  ./bin/selvedge intention list');
  tell('  ./bin/selvedge intention check web db --method DELETE --path /orders');
  tell(`  curl '${mesh.webUrl}/call?method=GET&path=/orders'          # web, which calls db through the mesh`);
  tell(
    `  curl ${mesh.webAdmin}/status                   # web's edge proxy: SVID, upstreams, breakers; also /metrics, /decisions`,
  );
  tell(`  curl ${mesh.dbAdmin}/decisions                # why db's edge proxy refused`);
  if (vault !== undefined)
    tell(`  BAO_ADDR=${vault.address} BAO_TOKEN=${vault.rootToken} bao list pki_int/issuers   # the Vault behind it`);
  await new Promise<never>(() => setInterval(() => {}, 60_000)); // a signal ends it
}

/** `--vault` and `--keep`; anything else is named, and nothing is started. */
function options(): { vault: boolean; keep: boolean } {
  try {
    return parseArgs({
      options: { vault: { type: 'boolean', default: false }, keep: { type: 'boolean', default: false } },
    }).values;
  } catch (error) {
    process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`);
    process.stderr.write('npm run demo [-- [--vault] [--keep]]\n');
    process.exit(2);
  }
}
