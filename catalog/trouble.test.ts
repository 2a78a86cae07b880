import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { verifyAuditLog } from '#runtime/audit/verify-audit-log.ts';
import { Child } from '#test/child.ts';
import { temporaryFolder } from '#test/temporary-folder.ts';
import { waitFor } from '#test/wait-for.ts';

/**
 * A catalog as a process, whose disk is full or takes no writes, and that has no descriptors left: each change that is refused is 507 with what to do, in Consul's
 * words or as a problem, reads go on, and when the trouble is over it goes on by itself.
 */

const program = new URL('./testing/catalog-process.ts', import.meta.url).pathname;
const patienceMs = 20_000;

/** Starts a catalog; `through` is put before the command. */
async function start(t: TestContext, dataDir: string, through: readonly string[] = []) {
  const [command = '', ...args] = [...through, process.execPath, program, dataDir];
  const child = new Child('catalog', command, args, temporaryFolder());
  t.after(() => child.end('SIGKILL'));
  const url = await child.fact('catalog');
  const call = async (method: string, path: string, body?: string) => {
    const answer = await fetch(`${url}${path}`, {
      method,
      ...(body === undefined ? {} : { body, headers: { 'content-type': 'application/json' } }),
    });
    const { status, headers } = answer;
    return { status, type: headers.get('content-type') ?? '', text: await answer.text() };
  };
  return { child, url, call, pid: child.pid ?? 0 };
}
type Catalog = Awaited<ReturnType<typeof start>>;

let written = 0;
const put = ({ call }: Catalog, bytes = 10) => call('PUT', `/v1/kv/k-${++written}`, 'x'.repeat(bytes));

/** Both of its APIs refuse changes, with a code and what to do; it reads, and says that it is ready to. */
async function takesNoWrites(catalog: Catalog, code: RegExp): Promise<void> {
  const consul = await put(catalog);
  assert.deepEqual([consul.status, /^text\/plain/.test(consul.type)], [507, true], consul.text);
  assert.match(consul.text, code);
  const own = await catalog.call('PUT', '/v1/mesh/intentions/web/db', JSON.stringify({ action: 'allow' }));
  assert.deepEqual([own.status, own.type], [507, 'application/problem+json'], own.text);
  const problem = JSON.parse(own.text) as { status: number; code: string; fix: string };
  assert.match(`${problem.code} ${problem.status}`, new RegExp(`(${code.source}) 507`));
  assert.ok(problem.fix.length > 20);
  const read = await catalog.call('GET', '/v1/kv/first?raw');
  assert.deepEqual([read.status, read.text], [200, 'kept']);
  assert.equal((await catalog.call('GET', '/readyz')).status, 200);
}

/** Whatever it was told no about is not there, and it takes writes again. */
async function isWellAgain(catalog: Catalog, dataDir: string): Promise<void> {
  await waitFor('it to take a write', async () => (await put(catalog)).status === 200, patienceMs);
  assert.equal((await catalog.call('GET', '/v1/kv/first?raw&consistent')).text, 'kept');
  await verifyAuditLog([readFileSync(join(dataDir, 'audit.jsonl'))]);
}

test('a disk that is really full', async (t) => {
  const directory = temporaryFolder();
  const mount = ['unshare', '--user', '--map-root-user', '--mount', 'sh', '-c'];
  const script = 'mount -t tmpfs -o size=3m tmpfs "$0" && head -c 1500000 /dev/zero > "$0/ballast" && exec "$@"';
  if (spawnSync('unshare', [...mount.slice(1), script, directory, 'true']).status !== 0)
    return t.skip('no right to mount a small file system (unshare --user --mount)');
  const catalog = await start(t, directory, [...mount, script, directory]);
  const inside = `/proc/${catalog.pid}/root${directory}`;
  assert.equal((await catalog.call('PUT', '/v1/kv/first', 'kept')).status, 200);
  const first = await waitFor(
    'the disk to be full',
    async () => {
      const answer = await put(catalog, 50_000);
      return answer.status === 200 ? undefined : answer;
    },
    patienceMs,
  );
  assert.equal(first.status, 507, first.text);
  // What is left over for something small is used up, too.
  await waitFor('it to take nothing', async () => (await put(catalog)).status === 507, patienceMs);
  await takesNoWrites(catalog, /SLV-3504|SLV-2150/);
  rmSync(join(inside, 'ballast'));
  await isWellAgain(catalog, inside);
});

test('a disk that takes no writes: read-only, as after an error of the device', async (t) => {
  if (spawnSync('strace', ['-V']).error !== undefined) {
    assert.notEqual(process.env['CI'], 'true', 'strace is missing (apt-get install strace); in CI this test must run');
    return t.skip('strace is not installed (apt-get install strace)');
  }
  const dataDir = temporaryFolder();
  const catalog = await start(t, dataDir);
  assert.equal((await catalog.call('PUT', '/v1/kv/first', 'kept')).status, 200);
  // The kernel answers as it does for a file system that it has made read-only under open files, which remounting can't be had for.
  const readOnly = async (files: readonly string[]): Promise<ChildProcess> => {
    const paths = files.flatMap((file) => ['-P', join(dataDir, file)]);
    const calls = [
      '-e',
      'trace=write,pwrite64,writev,pwritev',
      '-e',
      'inject=write,pwrite64,writev,pwritev:error=EROFS',
    ];
    const strace = spawn('strace', ['-f', ...paths, ...calls, '-p', `${catalog.pid}`], { stdio: 'ignore' });
    t.after(() => strace.kill('SIGKILL'));
    await waitFor('the disk to take no writes', async () => (await put(catalog)).status === 507, patienceMs);
    return strace;
  };
  const writable = async (strace: ChildProcess): Promise<void> => {
    const ended = once(strace, 'exit');
    strace.kill('SIGINT'); // it lets go of the process
    await ended;
  };
  const store = await readOnly(['catalog.db-wal']);
  await takesNoWrites(catalog, /SLV-3512/);
  await writable(store);
  await isWellAgain(catalog, dataDir);
  const all = await readOnly(['catalog.db-wal', 'audit.jsonl']);
  await takesNoWrites(catalog, /SLV-3512|SLV-2150/);
  await writable(all);
  await isWellAgain(catalog, dataDir);
  // All of that is on the disk.
  await catalog.child.end('SIGKILL');
  const again = await start(t, dataDir);
  assert.equal((await again.call('GET', `/v1/kv/k-${written}?raw`)).status, 200);
});

test('a disk that is read-only from the start is said so, in one line', async (t) => {
  const dataDir = temporaryFolder();
  const mount = ['--user', '--map-root-user', '--mount', 'sh', '-c'];
  const script = 'mount -t tmpfs -o ro tmpfs "$0" && exec "$@"';
  if (spawnSync('unshare', [...mount, script, dataDir, 'true']).status !== 0)
    return t.skip('no right to mount a file system (unshare --user --mount)');
  const command = [new URL('../bin/selvedge', import.meta.url).pathname, 'dev', '--data-dir', dataDir];
  const run = spawnSync('unshare', [...mount, script, dataDir, ...command], { encoding: 'utf8', timeout: patienceMs });
  assert.notEqual(run.status, 0);
  assert.match(run.stderr, /SLV-\d{4}/);
  assert.match(run.stderr, /read-only|EROFS/);
  assert.doesNotMatch(run.stderr, /^\s+at /m, 'no stack trace');
});

test('no descriptors are left: it goes on for those who are there, and takes others when some come back', async (t) => {
  if (!existsSync('/proc/self/fd') || spawnSync('prlimit', ['--version']).error !== undefined)
    return t.skip('no prlimit (apt-get install util-linux)');
  const dataDir = temporaryFolder();
  const catalog = await start(t, dataDir);
  assert.equal((await catalog.call('PUT', '/v1/kv/first', 'kept')).status, 200);
  const open = readdirSync(`/proc/${catalog.pid}/fd`).length;
  assert.equal(spawnSync('prlimit', ['--pid', `${catalog.pid}`, `--nofile=${open + 40}`]).status, 0);
  const kept = await asker(catalog.url);
  const sockets: Socket[] = [];
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  const { port } = new URL(catalog.url);
  for (let number = 0; number < 200; number++)
    sockets.push(connect(Number(port), '127.0.0.1').on('error', () => undefined)); // that it gets no further is what is tried
  await waitFor('all to be in use', () => readdirSync(`/proc/${catalog.pid}/fd`).length >= open + 39, patienceMs);
  for (let turn = 0; turn < 5; turn++) {
    assert.match(await kept.ask('GET /v1/kv/first?raw'), /^HTTP\/1\.1 200 .*kept$/s, 'who is connected is served');
    assert.match(await kept.ask(`PUT /v1/kv/meanwhile-${turn}`), /^HTTP\/1\.1 200 .*true$/s, 'and writes');
  }
  assert.ok(catalog.child.running);
  for (const socket of sockets) socket.destroy();
  await waitFor('a new client to be served', async () => (await put(catalog)).status === 200, patienceMs);
  assert.equal((await catalog.call('GET', '/v1/kv/meanwhile-4')).status, 200);
  await isWellAgain(catalog, dataDir);
});

/** One connection that is kept: asks, and has the whole answer. */
async function asker(url: string) {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  await once(socket, 'connect');
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  return {
    async ask(line: string): Promise<string> {
      text = '';
      const body = line.startsWith('PUT') ? 'content-length: 1\r\n\r\nx' : '\r\n';
      socket.write(`${line} HTTP/1.1\r\nhost: 127.0.0.1\r\n${body}`);
      return waitFor(`the answer to ${line}`, () => (/\r\n\r\n.+/s.test(text) ? text : undefined), patienceMs);
    },
  };
}
