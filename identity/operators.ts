import { MeshError } from '#policies/errors/mesh-error.ts';
import { RefusalBudget } from '#runtime/audit/refusal-budget.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { IdentityAudit } from './audit-events.ts';

/** What somebody asked for who says to be an operator. */
export interface OperatorClaim {
  /** The token that was shown. */
  readonly shown: string | undefined;
  readonly remote: string;
  readonly method: string;
  readonly path: string;
}

/** Knows the token of operators. */
export interface OperatorTokenCheck {
  /** Compares in constant time. False for undefined. */
  check(shown: string | undefined): boolean | Promise<boolean>;
}

const longestPath = 256;

/** Knows operators by their token. A wrong one is recorded: somebody is guessing, or goes on with one that was replaced. */
export class Operators {
  readonly #token: OperatorTokenCheck;
  readonly #audit: IdentityAudit;
  readonly #log: ProcessContext['log'];
  readonly #refusals: RefusalBudget;

  constructor(token: OperatorTokenCheck, audit: IdentityAudit, context: Pick<ProcessContext, 'clock' | 'log'>) {
    this.#token = token;
    this.#audit = audit;
    this.#log = context.log;
    this.#refusals = new RefusalBudget(context.clock);
  }

  /** Resolves for an operator. @throws MeshError SLV-2001 for everybody else */
  async admit({ shown, remote, method, path }: OperatorClaim): Promise<void> {
    if (await this.#token.check(shown)) return;
    if (shown === undefined) throw new MeshError('SLV-2001', 'No operator token was shown.');
    await this.#record({ event: 'operator-refused', remote, method, path: path.slice(0, longestPath) });
    throw new MeshError('SLV-2001', 'The operator token is not the right one.');
  }

  /** That it can't be recorded is no reason to answer anything else. */
  async #record(refusal: Parameters<IdentityAudit['append']>[0]): Promise<void> {
    if (!this.#refusals.take()) return;
    const count = this.#refusals.counted();
    const events = count > 0 ? [{ event: 'operator-refused-more', count } as const, refusal] : [refusal];
    await Promise.all(events.map((event) => this.#audit.append(event))).catch((err: unknown) => {
      this.#log.warn({ err }, 'a wrong operator token could not be recorded');
    });
  }
}
