import { createRoute, z } from '@hono/zod-openapi';
import { signedBundleAnswerSchema } from '#policies/wire/identity-api.ts';
import type { SvidSource } from '#runtime/svid/svid.ts';
import type { TrustPublication } from '../trust-publication.ts';
import type { IdentityApp } from './app.ts';
import { answerOf, problems } from './openapi-parts.ts';

/** Who waits costs a connection: beyond so many, the answer comes at once. */
const maxWaiting = 5_000;

const route = createRoute({
  method: 'get',
  path: '/v1/identity/bundle/signed',
  summary: 'Trust bundle and revocation list, signed by the SVID of this service',
  description:
    'With `sequence` and `wait` (seconds) the answer comes when the bundle is another than that one, or when the time is over.',
  request: {
    query: z.object({
      sequence: z.coerce.number().int().min(0).optional(),
      wait: z.coerce.number().int().min(0).max(60).default(0),
    }),
  },
  responses: { 200: answerOf('A compact JWS.', signedBundleAnswerSchema), ...problems(400, 503) },
});

/**
 * `GET /v1/identity/bundle/signed`, for anybody: nothing of it is secret, and first contact needs it before anything can be proven.
 * @param stopping aborts when the service drains: whoever waits is answered
 */
export function addSignedBundleRoute(
  app: IdentityApp,
  parts: { trust: TrustPublication; own: SvidSource; stopping: AbortSignal },
): void {
  const { trust, own, stopping } = parts;
  let waiting = 0;

  app.openapi(route, async (c) => {
    const { sequence, wait } = c.req.valid('query');
    if (sequence === trust.bundle.sequence && wait > 0 && waiting < maxWaiting) {
      waiting += 1;
      await changeOf(trust, wait * 1_000, AbortSignal.any([c.req.raw.signal, stopping])).finally(() => {
        waiting -= 1;
      });
    }
    return c.json({ jws: await trust.signed(own) }, 200);
  });
}

/** When the trust changes, the time is over, or the signal aborts. */
function changeOf(trust: TrustPublication, ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) return Promise.resolve();
  const timer = setTimeout(resolve, ms);
  const stop = trust.onChange(resolve);
  const onAbort = (): void => resolve();
  signal.addEventListener('abort', onAbort, { once: true });
  return promise.finally(() => {
    clearTimeout(timer);
    stop();
    signal.removeEventListener('abort', onAbort);
  });
}
