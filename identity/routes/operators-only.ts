import { MeshError } from '#policies/errors/mesh-error.ts';
import type { OperatorToken } from '#runtime/operator-token.ts';
import type { IdentityApp } from './app.ts';

/**
 * Lets operators in at these paths and below, by token in either header, and nobody else (SLV-2001).
 * @param operator undefined in `dev`: nobody is asked
 */
export function operatorsOnly(app: IdentityApp, operator: OperatorToken | undefined, paths: readonly string[]): void {
  for (const path of paths) {
    // Hono's `/*` holds the path itself too.
    app.use(`${path}/*`, async (c, next) => {
      const shown = c.req.header('x-consul-token') ?? /^Bearer (\S+)$/i.exec(c.req.header('authorization') ?? '')?.[1];
      if (operator !== undefined && !operator.check(shown)) {
        throw new MeshError(
          'SLV-2001',
          shown === undefined ? 'No operator token was shown.' : 'The operator token is not the right one.',
        );
      }
      await next();
    });
  }
}
