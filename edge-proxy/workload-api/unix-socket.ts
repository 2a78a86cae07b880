import { randomBytes } from 'node:crypto';
import { fstatSync, type Stats } from 'node:fs';
import { chmod, lstat, mkdir, rename, rm, stat, unlink } from 'node:fs/promises';
import { connect, type Server } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { MeshError } from '#policies/errors/mesh-error.ts';

/**
 * A UNIX socket whose being reachable is the attestation: who can connect to it is the workload. So nobody but this process' user may be able to put another
 * in its place (he would hand out trust), and nobody but the workload may get through its directory.
 */

/** A socket of the Workload API: made at a path, or passed on by who started the process (systemd: the first one is 3). */
export type WorkloadSocket =
  | { readonly kind: 'path'; readonly path: string }
  | { readonly kind: 'fd'; readonly fd: number };

/**
 * Listens. At a path: the socket has mode 0600, or 0660 in a directory with the setgid bit, whose group it then has; it appears there whole, by renaming, and
 * replaces the socket of a process that is no more. A directory that is missing is made (0700).
 *
 * @param succeeds a process that still serves there is to be replaced, by the one that it has started itself
 * @returns the end of it, which takes the socket away. Throws MeshError SLV-1004 when another process serves there or the descriptor is no UNIX socket that
 * listens, SLV-1005 when the directory is not safe or can't be written
 */
export async function listenAtSocket(
  server: Server,
  socket: WorkloadSocket,
  succeeds = false,
): Promise<() => Promise<void>> {
  if (socket.kind === 'fd') {
    await listenAtDescriptor(server, socket.fd);
    return () => closed(server);
  }
  const path = resolve(socket.path);
  if (Buffer.byteLength(path) > longestPath)
    throw new MeshError('SLV-1002', `the path of a UNIX socket has at most ${longestPath} bytes: ${path}`);
  const directory = await safeDirectory(dirname(path));
  await refuseTaken(path, succeeds);
  const made = await listenAndPlace(server, path, (directory.mode & setgid) === 0 ? 0o600 : 0o660);
  return async () => {
    const present = await lstat(path).catch(absent);
    // Another process may have taken the place since.
    if (present?.ino === made.ino && present.dev === made.dev) await unlink(path);
    await closed(server);
  };
}

/** sun_path has 108 bytes with its end; the socket is made in a directory beside its place, whose name takes some. */
const longestPath = 90;
const setgid = 0o2000;
const sticky = 0o1000;

/** @throws MeshError SLV-1005 unless only this user and root can change what is in the directory, or put another in its place */
async function safeDirectory(directory: string): Promise<Stats> {
  await mkdir(directory, { mode: 0o700 }).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'EEXIST') throw unusable(directory, `can't be made: ${cause.code}`, cause);
  });
  const own = await stat(directory);
  for (let path = directory, facts = own; ; path = dirname(path), facts = await stat(path)) {
    if (facts.uid !== 0 && facts.uid !== process.getuid?.()) throw unusable(path, 'belongs to another user');
    const writableByOthers = (facts.mode & 0o022) !== 0;
    // In /tmp and its like (sticky) others can't rename what is ours; but the place of the socket itself is to be nobody else's.
    if (writableByOthers && (path === directory || (facts.mode & sticky) === 0))
      throw unusable(path, 'is writable by others, who could put their own socket in its place');
    if (path === dirname(path)) return own;
  }
}

/** @throws MeshError SLV-1004 when something is at the path that is not the socket of a process that is no more */
async function refuseTaken(path: string, succeeds: boolean): Promise<void> {
  const present = await lstat(path).catch(absent);
  if (present === undefined) return;
  if (!present.isSocket()) throw new MeshError('SLV-1004', `${path} is there already and is no socket`);
  if (succeeds) return;
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  const probe = connect({ path });
  probe.on('connect', () => resolve(true));
  // Nobody listens: ECONNREFUSED. Gone meanwhile: ENOENT. Anything else says nothing of the kind.
  probe.on('error', (error: NodeJS.ErrnoException) =>
    error.code === 'ECONNREFUSED' || error.code === 'ENOENT' ? resolve(false) : reject(error),
  );
  const alive = await promise.finally(() => probe.destroy());
  if (alive) throw new MeshError('SLV-1004', `another process serves at ${path}`);
}

/** Makes the socket where only this user can reach it, gives it its mode, and only then puts it in its place. */
async function listenAndPlace(server: Server, path: string, mode: number): Promise<Stats> {
  const nursery = join(dirname(path), `.${randomBytes(4).toString('hex')}`);
  try {
    await mkdir(nursery, { mode: 0o700 });
    const unfinished = join(nursery, 's');
    await listening(server, { path: unfinished });
    await chmod(unfinished, mode);
    await rename(unfinished, path);
    return await lstat(path);
  } catch (cause) {
    server.close();
    throw unusable(path, cause instanceof Error ? cause.message : 'failed', cause);
  } finally {
    await rm(nursery, { recursive: true, force: true });
  }
}

async function listenAtDescriptor(server: Server, fd: number): Promise<void> {
  const refused = (cause?: unknown) =>
    new MeshError('SLV-1004', `file descriptor ${fd} is no UNIX socket that listens: was it passed on by systemd?`, {
      cause,
    });
  try {
    if (!fstatSync(fd).isSocket()) throw refused();
    await listening(server, { fd });
  } catch (cause) {
    throw cause instanceof MeshError ? cause : refused(cause);
  }
  // A TCP socket has an address that is an object: whoever reaches its port would be the workload.
  if (typeof server.address() === 'object' && server.address() !== null) {
    server.close();
    throw refused();
  }
}

function listening(server: Server, where: { readonly path: string } | { readonly fd: number }): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen(where, () => {
    server.off('error', reject);
    resolve();
  });
  return promise;
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}

function unusable(path: string, why: string, cause?: unknown): MeshError {
  return new MeshError('SLV-1005', `${path} ${why}`, { detail: { path }, cause });
}
