import { RE2JS } from 're2js';

/** Longest pattern in characters. */
export const maxPatternLength = 1_024;
/** Largest compiled program: it bounds the time for one character (docs/decisions/0001-linear-time-regex.md). */
const maxProgramSize = 1_000;

/** A compiled pattern in RE2's syntax, matched against the whole text in time linear to its length. */
export interface RegularExpression {
  readonly source: string;
  /** Whether the whole of `text` matches. */
  matches(text: string): boolean;
  /** The same without regard to case. */
  matchesFolded(text: string): boolean;
  /** Whether some part of `text` matches. */
  foundIn(text: string): boolean;
}

/**
 * Compiles a pattern. The only importer of re2js.
 * @throws SyntaxError with a reason for the reader when it is no RE2 pattern, or too large
 */
export function compileRegularExpression(source: string): RegularExpression {
  if (source.length > maxPatternLength)
    throw new SyntaxError(`the pattern is longer than ${maxPatternLength} characters`);
  const strict = compile(source, 0);
  const folded = compile(source, RE2JS.CASE_INSENSITIVE);
  return {
    source,
    matches: (text) => strict.testExact(text),
    matchesFolded: (text) => folded.testExact(text),
    foundIn: (text) => strict.test(text),
  };
}

function compile(source: string, flags: number): RE2JS {
  let compiled: RE2JS;
  try {
    compiled = RE2JS.compile(source, flags);
  } catch (error) {
    throw new SyntaxError(error instanceof Error ? error.message : 'not a pattern', { cause: error });
  }
  if (compiled.programSize() > maxProgramSize) {
    throw new SyntaxError(`the pattern compiles to more than ${maxProgramSize} steps`);
  }
  return compiled;
}
