import type { Clock } from '#runtime/clock.ts';

/** Longest body that is kept. */
export const maxKeptBytes = 262_144;
const maxAnswers = 512;
const maxBytes = 16 * 1_048_576;

/** An answer of the catalog. */
export interface Answer {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array<ArrayBuffer>;
}

interface Kept extends Answer {
  readonly atMs: number;
}

/** What the catalog answered last to reads of discovery, for the time when it is not there: bounded, the least used go first. */
export class KeptAnswers {
  readonly #clock: Clock;
  /** In the order of their last use. */
  readonly #kept = new Map<string, Kept>();
  #bytes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  keep(url: string, answer: Answer): void {
    const question = questionOf(url);
    this.#drop(question);
    this.#kept.set(question, { ...answer, atMs: this.#clock() });
    this.#bytes += answer.body.length + question.length;
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= maxAnswers && this.#bytes <= maxBytes) break;
      this.#drop(oldest);
    }
  }

  /**
   * The answer with what Consul says of one from a cache: how old it is, and that nobody leads. Undefined for what was never asked, and for a blocking query that
   * has this answer already: at once the same again would have it ask without end.
   */
  answer(url: string): Response | undefined {
    const kept = this.#kept.get(questionOf(url));
    const index = new URL(url).searchParams.get('index');
    if (kept === undefined || index === kept.headers['x-consul-index']) return undefined;
    this.#kept.delete(questionOf(url));
    this.#kept.set(questionOf(url), kept);
    const ageMs = Math.max(0, this.#clock() - kept.atMs);
    return new Response(kept.body, {
      headers: {
        ...kept.headers,
        'x-consul-knownleader': 'false',
        'x-consul-lastcontact': String(ageMs),
        'x-consul-effective-consistency': 'stale',
        'x-cache': 'HIT',
        age: String(Math.floor(ageMs / 1_000)),
      },
    });
  }

  #drop(question: string): void {
    const kept = this.#kept.get(question);
    if (kept === undefined) return;
    this.#kept.delete(question);
    this.#bytes -= kept.body.length + question.length;
  }
}

/** Parameters that say how to answer, not what. */
const notOfTheBody = ['index', 'wait', 'stale', 'consistent', 'cached', 'max_stale'];

function questionOf(url: string): string {
  const { pathname, searchParams } = new URL(url);
  for (const name of notOfTheBody) searchParams.delete(name);
  searchParams.sort();
  return `${pathname}?${searchParams}`;
}
