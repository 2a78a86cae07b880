import { MeshError } from '#policies/errors/mesh-error.ts';
import type { ProcessContext } from '../process-context.ts';
import { type ChainPosition, sealLine } from './audit-chain.ts';
import type { AuditEvent, AuditLog, AuditLogEvent } from './audit-event.ts';
import { AuditFile } from './audit-file.ts';

type Context = Pick<ProcessContext, 'clock' | 'log'>;

/** Acts that were refused because the log could not be written are kept for it up to this many. */
const maxLate = 1_024;
/** More callers than this never wait for one disk. */
const maxWaiting = 16_384;

/**
 * Opens the audit log of a process and goes on where it ends. Writes are batched: what comes while one is under way goes into the next.
 * While the file can't be written every `append` fails, and each tries again: when there is space again the log goes on by itself, and says so.
 *
 * @param path   undefined: records go to the process log only (`dev` without a data directory)
 * @param options.sync wait for the disk on every batch; else a power cut (not a crash of the process) may take the last seconds
 * @throws MeshError SLV-2151 when the end of the log does not fit its hash, SLV-2150 when it can't be opened
 */
export async function openAuditLog<Event extends AuditEvent>(
  path: string | undefined,
  context: Context,
  options: { sync?: boolean } = {},
): Promise<AuditLog<Event>> {
  if (path === undefined) {
    return {
      append: async (event) => context.log.info({ audit: event }, 'audit'),
      ready: async () => undefined,
      failure: undefined,
      close: async () => undefined,
    };
  }
  const { file, position, notice } = await AuditFile.open(path, options.sync ?? false);
  const log = new ChainedLog<Event>(file, position, context);
  if (notice !== undefined) {
    context.log.warn(
      { path, ...notice },
      'the audit log was not left as it should be; it goes on, and its chain says so',
    );
    // On a disk that is full now, it is written with the first line that can be.
    await log.note(notice).catch(() => undefined);
  }
  return log;
}

interface Entry {
  readonly timeMs: number;
  /** Undefined: only a try whether the log can be written. */
  readonly event: AuditEvent | undefined;
  readonly done: PromiseWithResolvers<void>;
}

interface Failure {
  readonly error: MeshError;
  readonly sinceMs: number;
  readonly late: { readonly timeMs: number; readonly event: AuditEvent }[];
  lost: number;
}

class ChainedLog<Event extends AuditEvent> implements AuditLog<Event> {
  readonly #file: AuditFile;
  readonly #context: Context;
  #position: ChainPosition;
  #waiting: Entry[] = [];
  #writing: Promise<void> | undefined;
  /** Set while the file can't be written. */
  #failure: Failure | undefined;
  /** About the log itself, still to be written. */
  #notices: { readonly timeMs: number; readonly event: AuditLogEvent }[] = [];

  constructor(file: AuditFile, position: ChainPosition, context: Context) {
    this.#file = file;
    this.#position = position;
    this.#context = context;
  }

  append(event: Event): Promise<void> {
    return this.#enqueue(event);
  }

  get failure(): AuditLog<Event>['failure'] {
    if (this.#failure === undefined) return undefined;
    const { error, sinceMs } = this.#failure;
    return { sinceMs, reason: `${error.code}: ${error.message}` };
  }

  async ready(): Promise<void> {
    if (this.#failure !== undefined) await this.#enqueue(undefined);
  }

  /** Records something about the log itself. */
  note(event: AuditLogEvent): Promise<void> {
    this.#notices.push({ timeMs: this.#context.clock(), event });
    return this.#enqueue(undefined);
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#file.close();
  }

  #enqueue(event: AuditEvent | undefined): Promise<void> {
    if (this.#waiting.length >= maxWaiting)
      return Promise.reject(new MeshError('SLV-2150', `${maxWaiting} events wait for the audit log.`));
    const done = Promise.withResolvers<void>();
    this.#waiting.push({ timeMs: this.#context.clock(), event, done });
    this.#writing ??= this.#drain();
    return done.promise;
  }

  /** Writes all that wait in one go, until none does: a burst costs one write, not hundreds. */
  async #drain(): Promise<void> {
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#write(batch);
        for (const { done } of batch) done.resolve();
      } catch (error) {
        const failure = this.#failed(error, batch);
        for (const { done } of batch) done.reject(failure);
      }
    }
    this.#writing = undefined;
  }

  async #write(batch: readonly Entry[]): Promise<void> {
    const notice = await this.#file.prepare(this.#position);
    const nowMs = this.#context.clock();
    if (notice !== undefined) {
      this.#notices.push({ timeMs: nowMs, event: notice });
      if (notice.event === 'log-continued')
        this.#context.log.info({ ...notice }, 'the audit log goes on in a new file');
      else this.#context.log.warn({ ...notice }, 'the file of the audit log was changed by somebody else');
    }
    const failure = this.#failure;
    const events = [
      ...this.#notices,
      ...(failure === undefined ? [] : resumed(failure, nowMs)),
      ...batch.flatMap(({ timeMs, event }) => (event === undefined ? [] : [{ timeMs, event }])),
    ];
    let position = this.#position;
    let lines = '';
    for (const { timeMs, event } of events) {
      const sealed = sealLine(position, timeMs, event);
      lines += sealed.line;
      position = sealed.position;
    }
    if (lines !== '') await this.#file.append(lines);
    this.#position = position;
    this.#notices = [];
    this.#failure = undefined;
    if (failure !== undefined)
      this.#context.log.info({ kept: failure.late.length, lost: failure.lost }, 'the audit log is written again');
  }

  #failed(error: unknown, batch: readonly Entry[]): unknown {
    if (!(error instanceof MeshError)) return error;
    if (this.#failure === undefined) this.#context.log.error({ err: error }, 'the audit log can not be written');
    this.#failure ??= { error, sinceMs: this.#context.clock(), late: [], lost: 0 };
    for (const { timeMs, event } of batch) {
      if (event === undefined) continue;
      if (this.#failure.late.length < maxLate) this.#failure.late.push({ timeMs, event });
      else this.#failure.lost += 1;
    }
    return error;
  }
}

function resumed(failure: Failure, nowMs: number): { timeMs: number; event: AuditEvent | AuditLogEvent }[] {
  const { error, sinceMs, late, lost } = failure;
  const event: AuditLogEvent = {
    event: 'log-resumed',
    since: new Date(sinceMs).toISOString(),
    reason: String(error.detail['reason'] ?? error.code),
    kept: late.length,
    lost,
  };
  return [
    { timeMs: nowMs, event },
    ...late.map((each) => ({ timeMs: each.timeMs, event: { ...each.event, late: true } })),
  ];
}
