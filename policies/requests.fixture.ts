import { canonicaliseTarget } from './canonical-request.ts';
import type { Intention, IntentionAction } from './intention.ts';
import { compileIntentions, type RequestFacts } from './intention-decision.ts';
import { precedenceOf } from './intention-precedence.ts';

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
  return { method, path, headerValues: (name) => lines.filter(([of]) => of === name).map(([, value]) => value) };
}

/** The whole way of a request: canonicaliser, then evaluator. */
export function allows(
  intentions: readonly Intention[],
  defaultAction: IntentionAction,
  request: Request,
  source = 'web',
) {
  const canonical = canonicaliseTarget(request.target);
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
