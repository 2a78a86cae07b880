import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Child } from '../child.ts';
import type { Addressed } from './recorder.ts';

const program = join(import.meta.dirname, '..', '..', 'catalog', 'testing', 'catalog-process.ts');

/** A catalog in a process of its own, on etcd or on SQLite, which can be killed or stopped; ends with its scope. */
export class CatalogUnderTest implements Addressed, AsyncDisposable {
  readonly #name: string;
  readonly #directory: string;
  readonly #etcd: readonly string[] | undefined;
  #child: Child | undefined;
  #url = '';

  /** @param etcd addresses of the members; undefined: SQLite */
  constructor(name: string, directory: string, etcd: readonly string[] | undefined) {
    this.#name = name;
    this.#directory = directory;
    this.#etcd = etcd;
  }

  /** Where it listens; while it is away, where it did. */
  get url(): string {
    return this.#url;
  }

  /** Starts it, or starts it again on its data. */
  async start(): Promise<void> {
    const dataDir = join(this.#directory, this.#name);
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    const members = this.#etcd === undefined ? [] : [this.#etcd.join(',')];
    this.#child = new Child(this.#name, process.execPath, [program, dataDir, ...members], this.#directory);
    // A disk that others sync on may hold up its first one for half a minute.
    this.#url = await this.#child.fact('catalog', 120_000);
  }

  /** SIGKILL, and until it is gone. */
  async kill(): Promise<void> {
    await this.#child?.end('SIGKILL');
  }

  /** SIGSTOP: it holds its connections and says nothing. */
  pause(): void {
    this.#child?.signal('SIGSTOP');
  }

  resume(): void {
    this.#child?.signal('SIGCONT');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
