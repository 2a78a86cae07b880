/** Answers kept, and bytes in all of them together. */
const maxAnswers = 2_048;
const maxBytes = 32 * 1024 * 1024;

/** A body as it goes to the socket. */
export type Body = Uint8Array<ArrayBuffer>;

/** Its bytes are an allocation of their own: a slice of a Buffer's pool would keep all of it. */
const encoder = new TextEncoder();

interface Kept {
  readonly index: number;
  readonly body: Body;
}

/**
 * Bodies of lists, as they were last rendered. An answer is known by what was asked and by its index: what changes a list raises the index of a topic that
 * it depends on, which is what blocking queries live by; so a body of the same index is the same body. Thousands of watchers of one service have it
 * rendered once.
 */
export class AnswerCache {
  /** In the order of their last use. */
  readonly #kept = new Map<string, Kept>();
  #bytes = 0;

  /** @param question path and parameters, without those that change nothing in the body */
  body(question: string, index: number, render: () => string): Body {
    const known = this.#kept.get(question);
    if (known !== undefined) {
      this.#drop(question, known);
      if (known.index === index) return this.#keep(question, known);
    }
    return this.#keep(question, { index, body: encoder.encode(render()) });
  }

  #keep(question: string, kept: Kept): Body {
    this.#kept.set(question, kept);
    this.#bytes += question.length + kept.body.byteLength;
    for (const [oldest, one] of this.#kept) {
      if (this.#kept.size <= maxAnswers && this.#bytes <= maxBytes) break;
      this.#drop(oldest, one);
    }
    return kept.body;
  }

  #drop(question: string, { body }: Kept): void {
    this.#kept.delete(question);
    this.#bytes -= question.length + body.byteLength;
  }
}

/** Parameters that say how to answer, not what. */
const notOfTheBody = ['index', 'wait', 'token', 'stale', 'consistent', 'cached', 'max_stale', 'dc', 'ns', 'partition'];

/** @returns what a request asks for, the same for requests that have the same body at the same index */
export function questionOf({ pathname, searchParams }: URL): string {
  if (searchParams.size === 0) return pathname;
  const asked = new URLSearchParams(searchParams);
  for (const name of notOfTheBody) asked.delete(name);
  asked.sort();
  return `${pathname}?${asked}`;
}
