/** Runs an identity service on the small file system at the given path, fills that, frees it, starts anew, and tells how each was taken, one line a step. */
import { closeSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { parseTrustDomain } from '#policies/spiffe-id.ts';
import { identityStatusSchema } from '#policies/wire/identity-api.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { waitFor } from '#test/wait-for.ts';
import { openEmbeddedCa } from './backends/embedded.ts';
import { startIdentity } from './main.ts';

const directory = process.argv[2] ?? '';
const dataDir = join(directory, 'identity');
const ballast = join(directory, 'ballast');
const log = createLogger({ process: 'test', level: 'silent' });
const context = systemContext(log);

async function start() {
  const store = await openSqliteStore({ path: join(dataDir, 'identity.db'), clock: Date.now, log });
  const base = { host: '127.0.0.1', port: 0, dataDir, trustDomain: 'mesh.test', datacenter: 'dc1' };
  const identity = await startIdentity(
    { ...base, svidTtlSeconds: 3_600, open: false, backend: { kind: 'embedded' } },
    context,
    store,
  );
  const token = readFileSync(join(dataDir, 'operator.token'), 'utf8').trim();
  /** @returns `status code` */
  const ask = async (path: string, body?: object): Promise<string> => {
    const answer = await identity.app.request(
      path,
      {
        method: body === undefined ? 'GET' : 'POST',
        headers: { 'x-consul-token': token, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      },
      { remoteAddress: '127.0.0.1' },
    );
    const { code = '' } = (await answer.json()) as { code?: string };
    return `${answer.status} ${code}`.trim();
  };
  /** And the codes of what it is not well for. */
  const health = async (): Promise<string> => {
    const status = identityStatusSchema.parse(await (await identity.app.request('/v1/identity/status')).json());
    return [status.health, ...(status.failures ?? []).map((reason) => /SLV-\d+/.exec(reason)?.[0])].join(' ');
  };
  const close = async (): Promise<void> => {
    await identity.close(0);
    await store.close();
  };
  return { ask, health, pins: identity.pins, close };
}

/** To the last byte. */
function fill(): void {
  const file = openSync(ballast, 'w');
  for (let size = 65_536; size >= 1; ) {
    try {
      writeSync(file, Buffer.alloc(size));
    } catch {
      size = Math.floor(size / 2);
    }
  }
  closeSync(file);
}

const rotate = ['/v1/identity/rotation', { target: 'root', force: false }] as const;
const makeToken = ['/v1/identity/join-tokens', { services: ['web'] }] as const;
const journal = (): string => readFileSync(join(dataDir, 'ca', 'journal.json'), 'utf8');

const first = await start();
const before = journal();
fill();
console.log(`rotate: ${await first.ask(...rotate)}, journal as before: ${journal() === before}`);
console.log(`join token: ${await first.ask(...makeToken)}, health: ${await first.health()}`);
console.log(`status: ${await first.ask('/v1/identity/status')}, bundle: ${await first.ask('/v1/identity/bundle')}`);
const left = readdirSync(join(dataDir, 'ca')).filter((name) => name.endsWith('.tmp'));
console.log(`half-written files: ${left.length}`);
rmSync(ballast);
await waitFor('it to be well by itself', async () => (await first.health()) === 'ok', 30_000);
console.log(`freed, join token: ${await first.ask(...makeToken)}, rotate: ${await first.ask(...rotate)}`);
await first.close();
const second = await start();
console.log(
  `started anew, the root is kept: ${second.pins.includes(first.pins[0] ?? '')}, status: ${await second.ask('/v1/identity/status')}`,
);
await second.close();

// Each write of the journal: refused with a code, nothing lost in memory or on disk, and done once there is space.
const alone = join(directory, 'alone');
const open = () => openEmbeddedCa({ dataDir: alone, trustDomain: parseTrustDomain('mesh.test') }, context);
let ca = await open();
const course = [
  ['prepare', () => ca.rotating.prepare('root')],
  ...(['publish', 'see', 'activate', 'retire'] as const).map((step) => [step, () => ca.rotating.take(step)] as const),
] as const;
for (const [step, take] of course) {
  const { state } = ca.rotating;
  const written = readFileSync(join(alone, 'ca', 'journal.json'), 'utf8');
  fill();
  const refusal = await take().then(
    () => 'taken',
    (error: unknown) => (isMeshError(error) ? error.code : String(error)),
  );
  const held = isDeepStrictEqual(ca.rotating.state, state);
  const onDisk = readFileSync(join(alone, 'ca', 'journal.json'), 'utf8') === written;
  ca = await open(); // on the full disk, as after a crash
  const opened = isDeepStrictEqual(ca.rotating.state, state);
  rmSync(ballast);
  await take();
  console.log(`${step}: ${refusal}, as before: ${held && onDisk && opened}, then: ${ca.rotating.state.state}`);
}
process.exit(0);
