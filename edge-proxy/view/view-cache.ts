import { join } from 'node:path';
import { z } from 'zod';
import { feedResourceSchema } from '#policies/wire/feed.ts';
import { ensurePrivateDirectory, readFileBounded, writeFileAtomic } from '#runtime/atomic-file.ts';
import type { Logger } from '#runtime/logging.ts';
import type { ServiceView } from './service-view.ts';

/** A disk that stays full is named again this often. */
const failureRepeatMs = 600_000;
const maxCacheBytes = 64 * 1_024 * 1_024;

const cacheSchema = z.strictObject({
  format: z.literal(1),
  service: z.string(),
  revision: z.number(),
  confirmedAtMs: z.number(),
  resources: z.array(feedResourceSchema),
});

/**
 * A service's view on disk (0600), so that a proxy that restarts while the catalog is away serves with what it knew. It can't widen anything: it is the same
 * view, read by the same parser, and a file that is damaged or of another service counts as nothing, which denies.
 */
export class ViewCache {
  readonly #path: string;
  readonly #directory: string;
  readonly #log: Logger;
  readonly #now: () => number;
  #writing: Promise<void> | undefined;
  #again = false;
  /** Why the last save failed, and when that was said; undefined: it did not. Monotonic, ms. */
  #failure: { readonly reason: string; readonly saidAtMs: number } | undefined;

  /** @param now monotonic, ms */
  constructor(stateDir: string, service: string, log: Logger, now = () => performance.now()) {
    this.#now = now;
    this.#directory = stateDir;
    this.#path = join(stateDir, `view-${service}.json`);
    this.#log = log;
  }

  /**
   * Fills an empty view from disk.
   *
   * @param notBeforeMs what the catalog has last confirmed earlier counts as nothing. @returns whether there was something usable
   */
  async load(view: ServiceView, notBeforeMs: number): Promise<boolean> {
    let bytes: Buffer | undefined;
    try {
      bytes = await readFileBounded(this.#path, maxCacheBytes);
    } catch (error) {
      this.#log.warn({ err: error }, 'cached view not readable: starting with nothing, which denies');
      return false;
    }
    if (bytes === undefined) return false;
    const parsed = cacheSchema.safeParse(tryJson(bytes.toString('utf8')));
    if (!parsed.success || parsed.data.service !== view.service) {
      this.#log.warn({ file: this.#path }, 'cached view not understood: starting with nothing, which denies');
      return false;
    }
    const { confirmedAtMs } = parsed.data;
    if (confirmedAtMs < notBeforeMs) {
      const confirmedAt = new Date(confirmedAtMs).toISOString();
      this.#log.warn({ file: this.#path, confirmedAt }, 'cached view too old: starting with nothing, which denies');
      return false;
    }
    const rejected = view.apply(
      { revision: parsed.data.revision, reset: true, resources: parsed.data.resources },
      'cache',
    );
    view.confirmedAtMs = confirmedAtMs;
    for (const { kind, name, reason } of rejected) this.#log.warn({ kind, name, reason }, 'cached resource refused');
    return true;
  }

  /** Saves the view; calls while a save is under way are folded into one that follows. A failure is logged, not every one of a row: traffic does not depend on it. */
  save(view: ServiceView): void {
    if (this.#writing !== undefined) {
      this.#again = true;
      return;
    }
    this.#writing = this.#write(view)
      .then(
        () => this.#saved(),
        (error: unknown) => this.#failed(error),
      )
      .finally(() => {
        this.#writing = undefined;
        if (this.#again) {
          this.#again = false;
          this.save(view);
        }
      });
  }

  /** Resolves when nothing is being written. */
  async settled(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  #saved(): void {
    if (this.#failure !== undefined) this.#log.info({ file: this.#path }, 'view saved again');
    this.#failure = undefined;
  }

  #failed(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    const nowMs = this.#now();
    const last = this.#failure;
    if (last?.reason === reason && nowMs - last.saidAtMs < failureRepeatMs) return;
    this.#failure = { reason, saidAtMs: nowMs };
    this.#log.error({ err: error }, 'view not saved: a restart without the catalog would know an older one');
  }

  async #write(view: ServiceView): Promise<void> {
    await ensurePrivateDirectory(this.#directory);
    const cached: z.infer<typeof cacheSchema> = {
      format: 1,
      service: view.service,
      revision: view.revision,
      confirmedAtMs: view.confirmedAtMs,
      resources: view.resources(),
    };
    await writeFileAtomic(this.#path, JSON.stringify(cached));
  }
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // damaged: refused by the schema that follows
  }
}
