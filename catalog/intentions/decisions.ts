import { canonicaliseTarget } from '#policies/canonical-request.ts';
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
    const target = canonicaliseTarget(request.path);
    if (!target.ok) {
      const reason = `The target of the request has no canonical form: ${target.reason}.`;
      return { allowed: false, rule: 'request target (deny)', reason, revision: compiled.revision };
    }
    const headers = new Map<string, readonly string[]>();
    for (const [name, value] of Object.entries(request.headers)) {
      const lines = typeof value === 'string' ? [value] : value;
      headers.set(name.toLowerCase(), [...(headers.get(name.toLowerCase()) ?? []), ...lines]);
    }
    const verdict = compiled.forSource(source).request({
      method: request.method,
      path: target.path,
      headerValues: (name) => headers.get(name) ?? [],
      token: (provider) => {
        const claims = new Map(Object.entries(request.tokens ?? {})).get(provider);
        return claims === undefined ? { valid: false, flaw: 'the request carries no token' } : { valid: true, claims };
      },
    });
    return { ...verdict, path: target.path };
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
