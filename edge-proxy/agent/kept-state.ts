import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { checkStatuses } from '#policies/consul/check-status.ts';
import { writeFileAtomic } from '#runtime/atomic-file.ts';
import type { Logger } from '#runtime/logging.ts';
import { type CheckRequest, checkSchema, toCheckDefinition } from './check-definition.ts';
import type { LocalState } from './local-state.ts';
import { serviceSchema, toServiceDefinition } from './service-definition.ts';
import type { Timers } from './timers.ts';

/** Signs of life come often; what is kept of them may be this old. A TTL then runs out early after a crash, never late. */
const writeWithinMs = 2_000;

const keptCheck = z.object({
  check: checkSchema,
  status: z.enum(checkStatuses),
  output: z.string().max(8192),
  ttlUntilMs: z.number().optional(),
});
const keptMaintenance = z.object({ serviceId: z.string(), reason: z.string() });
const fileSchema = z.object({
  version: z.literal(1),
  services: z.array(z.unknown()),
  checks: z.array(z.unknown()),
  maintenance: z.array(z.unknown()),
  /** Ids of those services that came along with others. */
  sidecars: z.array(z.string()).default([]),
});

/**
 * What clients registered at this agent, in a file (0600: headers of checks may be secret), so that it is there again after a restart: services, checks with
 * what they said last, maintenance. In Consul's names, and read back as what a client sends: no other way in.
 */
export class KeptState {
  readonly #path: string;
  readonly #timers: Timers;
  readonly #log: Logger;
  #state: LocalState | undefined;
  #cancelWrite: (() => void) | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(path: string, timers: Timers, log: Logger) {
    this.#path = path;
    this.#timers = timers;
    this.#log = log;
  }

  /**
   * Registers what the file holds; what the process itself registered before stays as it is. From then on the file follows the state. What can't be read or
   * no longer holds together is left out, with a line in the log.
   * @param admit throws for a definition that this start does not allow
   */
  async restore(state: LocalState, admit: (definition: ReturnType<typeof toCheckDefinition>) => void): Promise<void> {
    const kept = await this.#read();
    this.#state = state;
    this.#each(kept.services, (item) => {
      const definition = toServiceDefinition(serviceSchema.parse(item));
      if (!state.isOwn(`service/${definition.service.ID}`)) state.register(definition, false, 'client');
    });
    for (const id of kept.sidecars) state.rememberSidecar(id);
    this.#each(kept.checks, (item) => {
      const { check, ...before } = keptCheck.parse(item);
      const definition = toCheckDefinition(check, { id: check.Name, name: check.Name });
      admit(definition);
      if (!state.isOwn(`check/${definition.id}`)) state.registerCheck(definition, 'client', before);
    });
    this.#each(kept.maintenance, (item) => {
      const { serviceId, reason } = keptMaintenance.parse(item);
      if (serviceId === '') state.setNodeMaintenance(true, reason);
      else state.setMaintenance(serviceId, true, reason);
    });
  }

  /** Writes soon. */
  changed(): void {
    if (this.#state === undefined) return;
    this.#cancelWrite ??= this.#timers.after(writeWithinMs, () => {
      this.#cancelWrite = undefined;
      this.#write();
    });
  }

  /** Writes what is not written yet. */
  async flush(): Promise<void> {
    this.#cancelWrite?.();
    if (this.#cancelWrite !== undefined) this.#write();
    this.#cancelWrite = undefined;
    await this.#writing;
  }

  /** Writes what is not written yet; the file then stays as it is. */
  async close(): Promise<void> {
    const flushed = this.flush();
    this.#state = undefined;
    await flushed;
  }

  async #read(): Promise<z.output<typeof fileSchema>> {
    try {
      return fileSchema.parse(JSON.parse(await readFile(this.#path, 'utf8')));
    } catch (err) {
      const isFirstStart = err instanceof Error && 'code' in err && err.code === 'ENOENT';
      if (!isFirstStart)
        this.#log.warn({ err, file: this.#path }, 'registrations not read: clients have to register again');
      return { version: 1, services: [], checks: [], maintenance: [], sidecars: [] };
    }
  }

  #each(items: readonly unknown[], register: (item: unknown) => void): void {
    for (const item of items) {
      try {
        register(item);
      } catch (err) {
        this.#log.warn({ err, file: this.#path }, 'a registration from before the restart is left out');
      }
    }
  }

  #write(): void {
    if (this.#state === undefined) return;
    const text = JSON.stringify(contentOf(this.#state));
    this.#writing = this.#writing.then(async () => {
      try {
        await writeFileAtomic(this.#path, text);
      } catch (err) {
        this.#log.warn({ err }, 'registrations not kept: after a restart clients have to register again');
      }
    });
  }
}

function contentOf(state: LocalState): z.input<typeof fileSchema> {
  const services = [...state.services.values()].filter(({ ID }) => !state.isOwn(`service/${ID}`));
  const checks = [...state.checks.values()].filter(({ definition }) => !state.isOwn(`check/${definition.id}`));
  return {
    version: 1,
    services: services.map(({ Service, ...rest }) => ({ ...rest, Name: Service })),
    checks: checks.flatMap(
      ({ definition: { id, name, serviceId, request }, state: { status, output, ttlUntilMs } }) => {
        if (request === undefined) return [];
        const check = { ...asSent(request), CheckID: id, Name: name, ServiceID: serviceId };
        return [{ check, status, output, ttlUntilMs }];
      },
    ),
    maintenance: checks.flatMap(({ definition: { serviceId, notes, work } }) =>
      work.kind === 'fixed' ? [{ serviceId, reason: notes }] : [],
    ),
    sidecars: services.flatMap(({ ID }) => (state.isSidecar(ID) ? [ID] : [])),
  };
}

/** Durations as the API takes them: bare numbers would be nanoseconds. */
function asSent(request: CheckRequest): z.input<typeof checkSchema> {
  const { TTL, Interval, Timeout, DeregisterCriticalServiceAfter } = request;
  return {
    ...request,
    TTL: `${TTL}ms`,
    Interval: `${Interval}ms`,
    Timeout: `${Timeout}ms`,
    DeregisterCriticalServiceAfter: `${DeregisterCriticalServiceAfter}ms`,
  };
}
