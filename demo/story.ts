import { bold, dim, green, red, tell } from './terminal.ts';

/** The steps of the demo: each is told, done, checked and timed. One that does not come out as it should fails the whole. */
export class Story {
  #count = 0;
  #failed = 0;

  get ok(): boolean {
    return this.#failed === 0;
  }

  chapter(title: string): void {
    tell(`\n${bold(title)}`);
  }

  /** Does a step; `check` is what proves it, and its text is shown. Throws on when the step fails: what follows rests on it. */
  async step(title: string, work: () => Promise<string | undefined>): Promise<void> {
    await this.value(title, work, (proof) => proof);
  }

  /** A step that brings something for later. */
  async value<T>(
    title: string,
    work: () => Promise<T>,
    proof: (value: T) => string | undefined = () => undefined,
  ): Promise<T> {
    this.#count += 1;
    const startedMs = performance.now();
    tell(`  ${dim('…')} ${title}`);
    try {
      const value = await work();
      const shown = proof(value);
      tell(`  ${green('✓')} ${shown ?? title} ${dim(`(${((performance.now() - startedMs) / 1_000).toFixed(1)} s)`)}`);
      return value;
    } catch (error) {
      this.#failed += 1;
      tell(`  ${red('✗')} ${title}: ${error instanceof Error ? error.message : String(error)}`);
      throw new StepFailed();
    }
  }

  /** The story broke off. */
  fail(error: unknown): void {
    if (error instanceof StepFailed) return;
    this.#failed += 1;
    tell(`  ${red('✗')} ${error instanceof Error ? error.message : String(error)}`);
  }

  close(seconds: number): void {
    const verdict = this.ok
      ? green(`All ${this.#count} steps came out as they should`)
      : red(`The story broke off at step ${this.#count}`);
    tell(`\n${verdict}, in ${seconds} s.`);
  }
}

/** Thrown after a failed step has been told. */
class StepFailed extends Error {}

/** @throws Error with the text when the condition does not hold */
export function expect(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new Error(otherwise);
}
