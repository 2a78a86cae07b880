import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { caConfigSchema } from '#identity/backends/ca-config.ts';
import { startIdentity } from '#identity/main.ts';
import { rotationViewSchema } from '#policies/wire/rotation-api.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { certificatesOfPem } from '#runtime/svid/pem.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { waitFor } from './wait-for.ts';

/**
 * An identity service that rotates its root, or goes on with the rotation that it finds, and dies by kill -9 when the given state was written down.
 * With a third argument, the configuration of a CA as JSON, it is that CA which is to take over.
 * Prints `state <state>` for each state, and `done <root>` when it lived to the end.
 */

const [dataDir = '', fatal = '', successor = ''] = process.argv.slice(2);
const backend = caConfigSchema.parse(successor === '' ? { kind: 'embedded' } : JSON.parse(successor));
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
    backend,
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
const look = async () => rotationViewSchema.parse(await (await identity.app.request(path, {}, env)).json());
if (successor === '' && (await look()).state === 'idle') {
  const asked = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"target":"root"}' };
  const { status } = await identity.app.request(path, asked, env);
  if (status !== 200) throw new Error(`the rotation was refused: ${status}`);
}
const isPublished = (): boolean => certificatesOfPem(readFileSync(join(dataDir, 'ca.pem'), 'utf8')).length === 1;
const isOver = async (): Promise<boolean> => {
  const { state, takeover } = await look();
  return state === 'idle' && takeover === undefined && isPublished();
};
await waitFor('the rotation to end', isOver, 30_000);
process.stdout.write(`done ${(await look()).active.root}\n`);
await identity.close(0);
await store.close();
