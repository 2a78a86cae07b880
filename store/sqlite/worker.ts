import { parentPort, workerData } from 'node:worker_threads';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { Engine } from './engine.ts';
import { openDatabase, raiseRevision } from './open-database.ts';
import { type FromWorker, type ToWorker, toPortable, type WorkerStart } from './protocol.ts';

/**
 * The thread that owns the database. It does one batch at a time and answers it after the commit is synced. On a failure whose effect on the
 * disk is unknown (a failed sync may have dropped pages that a later sync would report as written) it dies, and the store is unavailable
 * until the process is started again.
 */
const port = parentPort;
if (port === null) throw new Error('worker.ts is started by sqlite-store.ts, as a thread');
const start: WorkerStart = workerData;
const say = (message: FromWorker) => port.postMessage(message);

try {
  const database = openDatabase(start.path, start.maxSizeBytes);
  if (start.firstRevision !== undefined) raiseRevision(database, start.firstRevision);
  const engine = new Engine(database);
  port.on('message', (message: ToWorker) => {
    switch (message.kind) {
      case 'batch': {
        const { outcomes, commits } = engine.run(message.requests);
        say({ kind: 'done', outcomes, commits: message.watched ? commits : [], revision: engine.revision });
        return;
      }
      case 'close':
        database.close();
        port.close();
        return;
    }
  });
  say({ kind: 'opened', revision: engine.revision, leases: engine.leases() });
} catch (error) {
  const known =
    error instanceof MeshError
      ? error
      : new MeshError('SLV-3509', `The store can't be opened: ${(error as Error).message}`);
  say({ kind: 'open-failed', error: toPortable(known) });
  port.close();
}
