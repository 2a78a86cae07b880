/**
 * A parser of parsing expression grammars that reports failures as the one behind go-bexpr does (pigeon), because Consul's users read and match
 * those texts: the farthest place that was tried and what could have stood there. Every rule is remembered per place, so time is linear where the
 * original's is exponential in parentheses.
 */

/** What a pattern found: where it ended and what it is. */
export interface Found<T> {
  readonly end: number;
  readonly value: T;
}
/** A piece of a grammar. Undefined: no match at `at`. */
export type Pattern<T> = (run: Run, at: number) => Found<T> | undefined;

/** A text that the grammar does not take; the message is go-bexpr's. */
export class GrammarError extends Error {}

/** Rules within rules before a text is refused: what keeps the stack bounded. */
const maxDepth = 600;

/** One parse of one text. */
export class Run {
  readonly text: string;
  readonly #errors = new Set<string>();
  readonly #remembered = new Map<object, Map<number, Found<unknown> | undefined>>();
  readonly #rules: string[] = [];
  readonly #expected = new Set<string>();
  #farthest = 0;
  #inverted = false;

  constructor(text: string) {
    this.text = text;
  }

  /** Notes what a terminal found; under `!` its presence is what fails. */
  tried(matched: boolean, at: number, wanted: string): void {
    if (matched !== this.#inverted || at < this.#farthest) return;
    if (at > this.#farthest) this.#expected.clear();
    this.#farthest = at;
    this.#expected.add(this.#inverted ? `!${wanted}` : wanted);
  }

  inverted<T>(look: () => T): T {
    this.#inverted = !this.#inverted;
    try {
      return look();
    } finally {
      this.#inverted = !this.#inverted;
    }
  }

  /** An error that the grammar itself names: it stands even if another way to read the text is found. */
  refuse(at: number, message: string): void {
    const rule = this.#rules.at(-1);
    this.#errors.add(`${place(this.text, at)}${rule === undefined ? '' : `: rule ${rule}`}: ${message}`);
  }

  /** Matches a rule once per place. */
  rule<T>(key: object, shown: string, at: number, pattern: Pattern<T>): Found<T> | undefined {
    const places = this.#remembered.get(key) ?? new Map<number, Found<unknown> | undefined>();
    this.#remembered.set(key, places);
    const place = at * 2 + Number(this.#inverted);
    // Under one key are only results of its own pattern.
    if (places.has(place)) return places.get(place) as Found<T> | undefined;
    if (this.#rules.length >= maxDepth) throw new GrammarError('the expression is nested too deeply');
    this.#rules.push(shown);
    const found = pattern(this, at);
    this.#rules.pop();
    places.set(place, found);
    return found;
  }

  /** Throws GrammarError with all that was wrong. */
  result<T>(found: Found<T> | undefined): T {
    if (this.#errors.size > 0) throw new GrammarError([...this.#errors].join('\n'));
    if (found !== undefined) return found.value;
    const end = this.#expected.delete('!.') ? ['EOF'] : [];
    const wanted = [...[...this.#expected].sort(), ...end];
    const last = wanted.pop() ?? '';
    const list = wanted.length === 0 ? last : `${wanted.join(', ')} or ${last}`;
    throw new GrammarError(`${place(this.text, this.#farthest)}: no match found, expected: ${list}`);
  }
}

/** Parses a whole text. Throws GrammarError. */
export function parseAll<T>(pattern: Pattern<T>, text: string): T {
  const run = new Run(text);
  return run.result(pattern(run, 0));
}

/** `line:column (byte)`. */
function place(text: string, at: number): string {
  const before = text.slice(0, at);
  const bytes = new TextEncoder().encode(before).length;
  const lines = before.split('\n');
  if (text[at] === '\n') return `${lines.length + 1}:0 (${bytes})`;
  return `${lines.length}:${[...(lines.at(-1) ?? '')].length + 1} (${bytes})`;
}

export function literal(text: string): Pattern<string> {
  const shown = JSON.stringify(text);
  return (run, at) => {
    const matched = run.text.startsWith(text, at);
    run.tried(matched, at, shown);
    return matched ? { end: at + text.length, value: text } : undefined;
  };
}

/** One character out of a set. @param shown the set as error texts show it */
export function character(shown: string, set: RegExp): Pattern<string> {
  return (run, at) => {
    const value = run.text.slice(at, at + 1);
    const matched = set.test(value);
    run.tried(matched, at, shown);
    return matched ? { end: at + 1, value } : undefined;
  };
}

/** Any one character, whole even when it takes two UTF-16 units. */
export const anything: Pattern<string> = (run, at) => {
  const code = run.text.codePointAt(at);
  run.tried(code !== undefined, at, '.');
  if (code === undefined) return undefined;
  const value = String.fromCodePoint(code);
  return { end: at + value.length, value };
};

export function sequence<T extends readonly unknown[]>(
  ...patterns: { readonly [K in keyof T]: Pattern<T[K]> }
): Pattern<T> {
  return (run, at) => {
    const values: unknown[] = [];
    let end = at;
    for (const pattern of patterns) {
      const found = pattern(run, end);
      if (found === undefined) return undefined;
      values.push(found.value);
      end = found.end;
    }
    return { end, value: values as unknown as T }; // one value for each pattern, in their order
  };
}

/** The first that matches. */
export function choice<T>(...patterns: readonly Pattern<T>[]): Pattern<T> {
  return (run, at) => {
    for (const pattern of patterns) {
      const found = pattern(run, at);
      if (found !== undefined) return found;
    }
    return undefined;
  };
}

/** As often as it goes. */
export function many<T>(pattern: Pattern<T>): Pattern<readonly T[]> {
  return (run, at) => {
    const value: T[] = [];
    let end = at;
    for (let found = pattern(run, end); found !== undefined; found = pattern(run, end)) {
      value.push(found.value);
      end = found.end;
    }
    return { end, value };
  };
}

export function maybe<T>(pattern: Pattern<T>): Pattern<T | undefined> {
  return (run, at) => pattern(run, at) ?? { end: at, value: undefined };
}

/** Nothing is taken; what follows must not match. */
export function not(pattern: Pattern<unknown>): Pattern<undefined> {
  return (run, at) => (run.inverted(() => pattern(run, at)) === undefined ? { end: at, value: undefined } : undefined);
}

/** Nothing is taken; what follows must match. */
export function ahead(pattern: Pattern<unknown>): Pattern<undefined> {
  return (run, at) => (pattern(run, at) === undefined ? undefined : { end: at, value: undefined });
}

/** Matches never: to come here is an error with a name. */
export function refuse(message: string): Pattern<never> {
  return (run, at) => {
    run.refuse(at, message);
    return undefined;
  };
}

/** Makes something of a match and of its text. What `make` throws as GrammarError is an error at the place of the match. */
export function made<T, R>(pattern: Pattern<T>, make: (value: T, text: string) => R, otherwise?: R): Pattern<R> {
  return (run, at) => {
    const found = pattern(run, at);
    if (found === undefined) return undefined;
    try {
      return { end: found.end, value: make(found.value, run.text.slice(at, found.end)) };
    } catch (error) {
      if (!(error instanceof GrammarError) || otherwise === undefined) throw error;
      run.refuse(at, error.message);
      return { end: found.end, value: otherwise };
    }
  };
}

/** A named part of the grammar. @param pattern given late, so that rules can be circular */
export function rule<T>(shown: string, pattern: () => Pattern<T>): Pattern<T> {
  const key = {};
  let built: Pattern<T> | undefined;
  return (run, at) => {
    built ??= pattern();
    return run.rule(key, shown, at, built);
  };
}
