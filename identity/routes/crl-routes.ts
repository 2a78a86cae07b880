import { createRoute, z } from '@hono/zod-openapi';
import { toPem } from '#policies/der-writer.ts';
import type { CrlPublication } from '../revocation/crl-publication.ts';
import type { IdentityApp } from './app.ts';
import { problems } from './openapi-parts.ts';

const derRoute = createRoute({
  method: 'get',
  path: '/v1/identity/crl',
  summary: 'What is revoked, as a CRL (RFC 5280) in DER, for those who do not get the trust bundle',
  responses: {
    200: {
      description: 'The CRL.',
      content: { 'application/pkix-crl': { schema: z.string().openapi({ format: 'binary' }) } },
    },
    ...problems(501, 503),
  },
});
const pemRoute = createRoute({
  method: 'get',
  path: '/v1/identity/crl.pem',
  summary: 'The same CRL in PEM',
  responses: {
    200: { description: 'The CRL.', content: { 'application/x-pem-file': { schema: z.string() } } },
    ...problems(501, 503),
  },
});

/** `GET /v1/identity/crl`, for anybody: whoever holds one of our certificates may be asked to prove that it is not revoked. */
export function addCrlRoutes(app: IdentityApp, crl: CrlPublication): void {
  app.openapi(derRoute, async (c) => {
    const der = await crl.current();
    return c.body(new Uint8Array(der), 200, { 'content-type': 'application/pkix-crl' });
  });
  app.openapi(pemRoute, async (c) => {
    const pem = toPem('X509 CRL', await crl.current());
    return c.body(pem, 200, { 'content-type': 'application/x-pem-file' });
  });
}
