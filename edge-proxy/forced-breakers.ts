import { join } from 'node:path';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { ensurePrivateDirectory, readFileBounded, writeFileAtomic } from '#runtime/atomic-file.ts';
import type { ProcessContext } from '#runtime/process-context.ts';

/** What an operator holds a breaker at, and since when (ms since the epoch). */
export interface ForcedState {
  readonly state: 'open' | 'closed';
  readonly sinceMs: number;
}

/** Held at a state, or, where the whole target is held, on its own all the same. */
const heldSchema = z.strictObject({
  target: z.string(),
  /** Absent: every instance, those that are yet to come among them. */
  endpoint: z.string().optional(),
  state: z.enum(['open', 'closed', 'free']),
  sinceMs: z.number(),
});
type Held = z.infer<typeof heldSchema>;

const fileSchema = z.strictObject({ format: z.literal(2), service: z.string(), held: z.array(heldSchema) });

/** Of one service. Who forces more by name forces the target. */
const maxHeld = 1_000;
const maxFileBytes = 4 * 1_024 * 1_024;

/**
 * The breakers of one service's calls that an operator holds open or closed: by target, and by instance, whose word goes before that of its target. On disk
 * (0600), so that they hold through a restart and in a successor; a file that can't be read counts as nothing, and is said.
 */
export class ForcedBreakers {
  readonly #service: string;
  readonly #directory: string | undefined;
  readonly #path: string;
  readonly #process: ProcessContext;
  readonly #held = new Map<string, Held>();
  #saving: Promise<boolean> = Promise.resolve(true);
  #aside = false;

  private constructor(service: string, directory: string | undefined, process: ProcessContext) {
    this.#service = service;
    this.#directory = directory;
    this.#path = join(directory ?? '', `breakers-${service}.json`);
    this.#process = process;
  }

  /** With what was held at the last run. @param directory undefined: nothing outlives this process */
  static async load(service: string, directory: string | undefined, process: ProcessContext): Promise<ForcedBreakers> {
    const forced = new ForcedBreakers(service, directory, process);
    if (directory !== undefined) await forced.#read();
    return forced;
  }

  /** What an instance is held at; undefined: its breaker is on its own. */
  of(target: string, endpoint: string): ForcedState | undefined {
    const { state, sinceMs } = this.#held.get(key(target, endpoint)) ?? this.#held.get(key(target)) ?? free;
    return state === 'free' ? undefined : { state, sinceMs };
  }

  /** What is held, each as it was said. */
  get all(): readonly (ForcedState & { readonly target: string; readonly endpoint: string | undefined })[] {
    return [...this.#held.values()].flatMap(({ target, endpoint, state, sinceMs }) =>
      state === 'free' ? [] : [{ target, endpoint, state, sinceMs }],
    );
  }

  /**
   * Holds an instance, or with `endpoint` undefined the target and all of its instances, at a state, or lets them go.
   *
   * @returns whether it outlives this process, once that is sure
   * @throws MeshError SLV-4016 a successor takes over, SLV-1009 too many
   */
  set(target: string, endpoint: string | undefined, state: ForcedState['state'] | 'free'): Promise<boolean> {
    if (this.#aside)
      throw new MeshError(
        'SLV-4016',
        `The proxy of ${this.#service} hands over to its successor, which would not know.`,
      );
    const own = key(target, endpoint);
    const before = this.#held.get(own);
    if (endpoint === undefined) {
      for (const [other, held] of this.#held) if (held.target === target) this.#held.delete(other);
    }
    if (state === 'free' && (endpoint === undefined || !this.#held.has(key(target)))) this.#held.delete(own);
    else {
      if (!this.#held.has(own) && this.#held.size >= maxHeld)
        throw new MeshError('SLV-1009', `${maxHeld} breakers are forced; reset some, or force their whole target.`);
      // Said once more it is as old as before.
      const sinceMs = before?.state === state ? before.sinceMs : this.#process.clock();
      this.#held.set(own, { target, endpoint, state, sinceMs });
    }
    return this.#save();
  }

  /** What is on disk is a successor's from here on. @returns takes that back */
  stepAside(): () => void {
    this.#aside = true;
    return () => {
      this.#aside = false;
    };
  }

  /** Resolves when nothing is being written. */
  async settled(): Promise<void> {
    await this.#saving;
  }

  #save(): Promise<boolean> {
    this.#saving = this.#saving.then(() => this.#write());
    return this.#saving;
  }

  /** What is forced holds now, whatever becomes of the file: an emergency does not wait for a disk. */
  async #write(): Promise<boolean> {
    if (this.#directory === undefined) return this.#held.size === 0;
    const kept: z.infer<typeof fileSchema> = { format: 2, service: this.#service, held: [...this.#held.values()] };
    try {
      await ensurePrivateDirectory(this.#directory);
      await writeFileAtomic(this.#path, JSON.stringify(kept));
      return true;
    } catch (error) {
      this.#process.log.error({ err: error }, 'forced breakers not saved: a restart would forget them');
      return false;
    }
  }

  async #read(): Promise<void> {
    const { log } = this.#process;
    const forgotten = 'forced breakers not readable: all breakers are on their own';
    try {
      const bytes = await readFileBounded(this.#path, maxFileBytes);
      if (bytes === undefined) return;
      const { service, held } = fileSchema.parse(JSON.parse(bytes.toString('utf8')));
      if (service !== this.#service) throw new Error(`of ${service}`);
      for (const each of held.slice(0, maxHeld)) this.#held.set(key(each.target, each.endpoint), each);
    } catch (error) {
      log.error({ err: error, file: this.#path }, forgotten);
      return;
    }
    for (const { target, endpoint, state, sinceMs } of this.all) {
      const since = new Date(sinceMs).toISOString();
      log.warn({ service: this.#service, target, endpoint, state, since }, 'breaker still forced by an operator');
    }
  }
}

const free = { state: 'free', sinceMs: 0 } as const;

/** Names hold no line ends. */
function key(target: string, endpoint?: string): string {
  return `${target}\n${endpoint ?? ''}`;
}
