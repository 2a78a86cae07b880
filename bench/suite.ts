import type { ProcessGroup } from './processes.ts';
import type { Sample } from './report.ts';

/** What every suite is given. */
export interface SuiteOptions {
  /** Root of the checkout. */
  readonly checkout: string;
  readonly rounds: number;
  /** Length of one measurement. */
  readonly seconds: number;
  /** Only these, when any are named. */
  readonly cases: readonly string[];
  readonly subjects: readonly string[];
  /** Ends with the benchmark, however it ends. */
  readonly processes: ProcessGroup;
  /** Says what is going on, a line at a time. */
  readonly tell: (line: string) => void;
}

/** What came of it. */
export interface SuiteResult {
  readonly samples: readonly Sample[];
  /** What went wrong with whom; any of them fails the benchmark. */
  readonly failures: readonly string[];
  /** Peers that could not be had; they fail the benchmark in CI. */
  readonly missing: readonly string[];
}

/** One suite of the benchmark. */
export interface Suite {
  readonly caseNames: readonly string[];
  /** What `--quick` runs where no case is named: a minute at most, to see that all works. */
  readonly quickCases: readonly string[];
  readonly subjectNames: readonly string[];
  run(options: SuiteOptions): Promise<SuiteResult>;
}
