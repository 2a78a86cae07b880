import type { Operators } from '../operators.ts';
import type { IdentityApp } from './app.ts';

/**
 * Lets operators in at these paths and below, by token in either header, and nobody else (SLV-2001).
 * @param operators undefined in `dev`: nobody is asked
 */
export function operatorsOnly(app: IdentityApp, operators: Operators | undefined, paths: readonly string[]): void {
  for (const path of paths) {
    // Hono's `/*` holds the path itself too.
    app.use(`${path}/*`, async (c, next) => {
      const shown = c.req.header('x-consul-token') ?? /^Bearer (\S+)$/i.exec(c.req.header('authorization') ?? '')?.[1];
      await operators?.admit({ shown, remote: c.env.remoteAddress, method: c.req.method, path: c.req.path });
      await next();
    });
  }
}
