import { forwardableHeaders } from '#edge-proxy/http1/forwardable-headers.ts';
import type { ResponseHead } from '#edge-proxy/http1/message.ts';
import { type Recorded, recordResponses } from '#edge-proxy/http1/recorder.ts';
import { type OddAnswer, piecesOf } from './odd-answers.ts';

/** How one client reads one answer. All text holds a byte a character. */
export interface AnswerReading {
  readonly status: number;
  /** `name: value` in lower-case names, by name, of one name in the order sent; without those that frame the message, are the hop's own, or are every server's to set. */
  readonly headers: readonly string[];
  readonly body: string;
}

/** What a client got: an answer, or none that is whole. */
export type Answered = AnswerReading | { readonly broken: string };

/** What the caller has to get. */
export type Due =
  | {
      readonly kind: 'answer';
      readonly reading: AnswerReading /** Before anything was taken out of it. */;
      readonly sent: AnswerReading;
    }
  /** The mesh says that there is none; or, where its beginning is on its way already, the connection breaks. */
  | { readonly kind: 'refusal'; readonly begun: boolean };

const notCompared =
  /^(content-length|transfer-encoding|connection|keep-alive|proxy-connection|upgrade|trailer|sec-websocket-accept|server|date|via)$/;

export function comparableHeaders(flat: readonly string[]): string[] {
  const pairs = Array.from({ length: flat.length / 2 }, (_, index): [string, string] => [
    (flat[2 * index] ?? '').toLowerCase(),
    flat[2 * index + 1] ?? '',
  ]);
  const kept = pairs.filter(([name]) => !notCompared.test(name));
  kept.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return kept.map((pair) => pair.join(': '));
}

export function ownReading({ head, body }: Recorded<ResponseHead>): AnswerReading {
  return { status: head.status, headers: comparableHeaders(head.headers), body };
}

/** By how we read what the application says. */
export function dueOf(odd: OddAnswer): Due {
  const { messages } = recordResponses(piecesOf(odd), [odd.method], { end: odd.ends });
  const [first] = messages;
  if (first?.complete !== true) return { kind: 'refusal', begun: first !== undefined };
  const { head, body } = first;
  return {
    kind: 'answer',
    sent: ownReading(first),
    reading: { status: head.status, headers: comparableHeaders(forwardableHeaders(head)), body },
  };
}
