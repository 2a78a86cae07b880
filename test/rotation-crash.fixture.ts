import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { startIdentity } from '#identity/main.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { certificatesOfPem } from '#runtime/svid/pem.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { waitFor } from './wait-for.ts';

/**
 * An identity service that rotates its root, or goes on with the rotation that it finds, and dies by kill -9 when the given state was written down.
 * Prints `state <state>` for each state, and `done <root>` when it lived to the end.
 */

const [dataDir = '', fatal = ''] = process.argv.slice(2);
const context = systemContext(createLogger({ process: 'fixture', level: 'error' }));
const store = await openSqliteStore({ path: join(dataDir, 'identity.db'), clock: context.clock, log: context.log });
const identity = await startIdentity(
  {
    host: '127.0.0.1',
    port: 0,
    dataDir,
    trustDomain: 'mesh.test',
    datacenter: 'dc1',
    svidTtlSeconds: 60,
    open: true,
    backend: { kind: 'embedded' },
    rotation: { blindWaitMs: 0, settleMs: 0 },
    onRotation({ state }) {
      process.stdout.write(`state ${state}\n`);
      if (state === fatal) process.kill(process.pid, 'SIGKILL');
    },
  },
  context,
  store,
);
const path = '/v1/identity/rotation';
const env = { remoteAddress: '127.0.0.1' };
const look = async (): Promise<{ state: string; active: { root: string } }> =>
  (await identity.app.request(path, {}, env)).json() as Promise<{ state: string; active: { root: string } }>;
if ((await look()).state === 'idle') {
  const asked = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"target":"root"}' };
  const { status } = await identity.app.request(path, asked, env);
  if (status !== 200) throw new Error(`the rotation was refused: ${status}`);
}
const isPublished = (): boolean => certificatesOfPem(readFileSync(join(dataDir, 'ca.pem'), 'utf8')).length === 1;
await waitFor('the rotation to end', async () => (await look()).state === 'idle' && isPublished(), 30_000);
process.stdout.write(`done ${(await look()).active.root}\n`);
await identity.close(0);
await store.close();
