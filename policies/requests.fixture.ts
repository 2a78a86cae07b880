import { canonicaliseTarget } from './canonical-request.ts';
import { lookalikesAmong } from './header-rule.ts';
import type { Intention, IntentionAction } from './intention.ts';
import { compileIntentions, type RequestFacts } from './intention-decision.ts';
import { precedenceOf } from './intention-precedence.ts';
import { type RequestNormalization, strictNormalization } from './request-normalization.ts';

/** A header as a codec reads it. */
export type Line = readonly [name: string, value: string];
/** A request as it comes in: its target is not canonical yet. */
export interface Request {
  readonly method: string;
  readonly target: string;
  readonly lines: readonly Line[];
}

/** An intention without history. */
export function intention(
  source: string,
  destination: string,
  rule: Pick<Intention, 'action' | 'permissions' | 'observe' | 'expiresAtMs' | 'jwt'>,
): Intention {
  const precedence = precedenceOf(source, destination);
  return { source, destination, ...rule, precedence, createdAtMs: 0, updatedAtMs: 0, createIndex: 1, modifyIndex: 1 };
}

/** What the evaluator sees of a request. */
export function facts({ method, lines }: Request, path: string): RequestFacts {
  return {
    method,
    path,
    headerValues: (name) => lines.filter(([of]) => of === name).map(([, value]) => value),
    headerLookalikes: (name) => lookalikesAmong(lines, name),
  };
}

/** What a service says of underscores, done to a request; undefined: it is refused. */
function passed(request: Request, { underscores }: RequestNormalization): Request | undefined {
  const plain = request.lines.filter(([name]) => !name.includes('_'));
  if (underscores === 'ALLOW' || plain.length === request.lines.length) return request;
  return underscores === 'DROP_HEADER' ? { ...request, lines: plain } : undefined;
}

/** The whole way of a request: what the service says of it, canonicaliser, then evaluator. A redirect is none, but who follows it asks as `UNESCAPE_AND_FORWARD` does. */
export function allows(
  intentions: readonly Intention[],
  defaultAction: IntentionAction,
  sent: Request,
  source = 'web',
  words = strictNormalization,
) {
  const request = passed(sent, words);
  if (request === undefined) return false;
  const canonical = canonicaliseTarget(request.target, words.escapedSlashes);
  if (!canonical.ok) return false;
  const policy = compileIntentions({
    destination: 'db',
    protocol: 'http',
    defaultAction,
    intentions,
    revision: 1,
    nowMs: 0,
  });
  return policy.forSource(source).request(facts(request, canonical.path)).allowed;
}
