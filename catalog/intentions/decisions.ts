import { canonicaliseTarget } from '#policies/canonical-request.ts';
import { type HeaderLine, lookalikesAmong } from '#policies/header-rule.ts';
import { type CompiledIntentions, compileIntentions, type Verdict } from '#policies/intention-decision.ts';
import { type SpiffeId, serviceIdentityOf } from '#policies/spiffe-id.ts';
import type { CatalogParts } from '../parts.ts';

/** A request that someone wants to know the answer to before making it. */
export interface HypotheticalRequest {
  readonly method: string;
  /** As a client would send it, with or without query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  /** Claims of verified tokens, by provider. */
  readonly tokens?: Readonly<Record<string, Readonly<Record<string, unknown>>>> | undefined;
}

/** Whether a connection may be made: decided, or left to its requests. */
export type ConnectionDecision =
  | { readonly layer: 'connection'; readonly verdict: Verdict }
  | { readonly layer: 'request'; readonly revision: number };

type DecidingParts = Pick<CatalogParts, 'state' | 'defaultAction' | 'trustDomain' | 'context'>;

/** Asks the one evaluator (policies/intention-decision.ts) on the catalog's state. */
export class Decisions {
  readonly #parts: DecidingParts;

  constructor(parts: DecidingParts) {
    this.#parts = parts;
  }

  /** @param source name of a service; undefined: an identity that is none of ours */
  connection(source: string | undefined, destination: string): ConnectionDecision {
    const compiled = this.#compile(destination);
    const { connection } = compiled.forSource(source);
    if (connection === 'per-request') return { layer: 'request', revision: compiled.revision };
    return { layer: 'connection', verdict: connection };
  }

  /** The verdict on one request, and its path in the form that the proxies judge; a target that has none is refused. */
  request(source: string, destination: string, request: HypotheticalRequest): Verdict & { readonly path?: string } {
    const compiled = this.#compile(destination);
    const { escapedSlashes, underscores } = this.#parts.state.normalizationOf(destination);
    const refused = (rule: string, reason: string): Verdict => ({
      allowed: false,
      rule: `${rule} (deny)`,
      reason,
      revision: compiled.revision,
    });
    const target = canonicaliseTarget(request.path, escapedSlashes);
    if (!target.ok) {
      const hint = canonicaliseTarget(request.path, 'KEEP_UNCHANGED').ok
        ? ` What becomes of encoded slashes says PathWithEscapedSlashesAction of ${destination}.`
        : '';
      return refused('request target', `The target of the request has no canonical form: ${target.reason}.${hint}`);
    }
    const sent = Object.entries(request.headers).flatMap(([name, value]) =>
      (typeof value === 'string' ? [value] : value).map((line): HeaderLine => [name.toLowerCase(), line]),
    );
    const plain = sent.filter(([name]) => !name.includes('_'));
    if (underscores === 'REJECT_REQUEST' && plain.length < sent.length)
      return refused('HeadersWithUnderscoresAction', `${destination} takes no header with an underscore in its name.`);
    const lines = underscores === 'ALLOW' ? sent : plain;
    const verdict = compiled.forSource(source).request({
      method: request.method,
      path: target.path,
      headerValues: (name) => lines.filter(([of]) => of === name).map(([, value]) => value),
      headerLookalikes: (name) => lookalikesAmong(lines, name),
      token: (provider) => {
        const claims = new Map(Object.entries(request.tokens ?? {})).get(provider);
        return claims === undefined ? { valid: false, flaw: 'the request carries no token' } : { valid: true, claims };
      },
    });
    if (target.unescaped !== true || escapedSlashes !== 'UNESCAPE_AND_REDIRECT')
      return { ...verdict, path: target.path };
    const reason = `${verdict.reason} The caller is sent there first: its path has encoded slashes.`;
    return { ...verdict, reason, path: target.path };
  }

  /** The service that an identity is in intentions: of the own trust domain, as the proxies read it. */
  serviceOf(id: SpiffeId): string | undefined {
    const identity = serviceIdentityOf(id);
    return identity?.trustDomain === this.#parts.trustDomain ? identity.service : undefined;
  }

  #compile(destination: string): CompiledIntentions {
    const { state, defaultAction, context } = this.#parts;
    return compileIntentions({
      destination,
      protocol: state.protocolOf(destination),
      defaultAction,
      intentions: state.intentions.deciding(destination),
      revision: state.revision,
      nowMs: context.clock(),
    });
  }
}
