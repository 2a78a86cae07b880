import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const preload = new URL('./shifted-clock.preload.ts', import.meta.url).href;

/** Wall clocks of the processes of a test, one for each name, that can be set while they run. */
export class ShiftedClocks {
  readonly #directory: string;
  readonly #offsets = new Map<string, number>();

  /** @param directory where a file for each clock is kept */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** What a process needs in its environment to live by the clock of this name. */
  environment(name: string): NodeJS.ProcessEnv {
    this.#write(name, this.#offsets.get(name) ?? 0);
    return { NODE_OPTIONS: `--import=${preload}`, TEST_CLOCK_OFFSET_FILE: this.#path(name) };
  }

  /** Moves these clocks by so much against where they are; all known ones when none is named. */
  shift(byMs: number, ...names: readonly string[]): void {
    for (const name of names.length === 0 ? this.#offsets.keys() : names) {
      this.#write(name, (this.#offsets.get(name) ?? 0) + byMs);
    }
  }

  /** What the clock of this name shows, ms since the epoch. */
  now(name: string): number {
    return Date.now() + (this.#offsets.get(name) ?? 0);
  }

  #write(name: string, offsetMs: number): void {
    this.#offsets.set(name, offsetMs);
    const path = this.#path(name);
    writeFileSync(`${path}.new`, String(offsetMs));
    renameSync(`${path}.new`, path);
  }

  #path(name: string): string {
    return join(this.#directory, `${name}.clock-offset`);
  }
}
