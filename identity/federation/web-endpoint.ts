import { createServer } from 'node:https';
import { createSecureContext } from 'node:tls';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { readFileBounded } from '#runtime/atomic-file.ts';
import type { Logger } from '#runtime/logging.ts';
import { formatSocketAddress, type SocketAddress } from '#runtime/socket-address.ts';

/** Path of the bundle, on this endpoint as on the service itself. */
export const bundlePath = '/v1/identity/bundle';

/** A bundle endpoint of the profile https_web, listening. */
export interface WebEndpoint {
  /** URL of the bundle, by the address that is listened on. */
  readonly url: string;
  close(): Promise<void>;
}

/** A certificate that Web PKI knows, and its key: PEM files, read again when they change. */
export interface WebCertificate {
  readonly certFile: string;
  readonly keyFile: string;
}

/** What Web PKI is spoken by: "intermediate" of Mozilla's Server Side TLS, as SPIFFE Federation 5.2.1 asks. Authenticated ciphers with forward secrecy only. */
const intermediate = {
  minVersion: 'TLSv1.2',
  ciphers: [
    ...['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'],
    ...['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-GCM-SHA256'],
    ...['ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-RSA-AES256-GCM-SHA384'],
    ...['ECDHE-ECDSA-CHACHA20-POLY1305', 'ECDHE-RSA-CHACHA20-POLY1305'],
  ].join(':'),
} as const;
const maxFileBytes = 1_048_576;
const rereadMs = 30_000;

/**
 * Serves our bundle, and nothing else, to whoever asks, behind a certificate of Web PKI (SPIFFE Federation 5.2.1): TLS 1.2 and 1.3, no client certificate.
 * A renewed certificate is taken up within half a minute; one that can't be read leaves the last in use.
 *
 * @throws MeshError SLV-1005 when certificate or key can't be used, SLV-1004 when the address can't be had
 */
export async function serveWebEndpoint(options: {
  readonly address: SocketAddress;
  readonly certificate: WebCertificate;
  /** The bundle as JSON, as of now. */
  readonly bundle: () => string;
  readonly log: Logger;
}): Promise<WebEndpoint> {
  const { address, certificate, bundle, log } = options;
  let pair = await readPair(certificate);
  const server = createServer(
    {
      ...pair,
      ...intermediate,
      maxHeaderSize: 8_192,
      headersTimeout: 10_000,
      requestTimeout: 10_000,
      keepAliveTimeout: 5_000,
      handshakeTimeout: 10_000,
    },
    (request, response) => {
      response.setHeader('x-content-type-options', 'nosniff');
      if (request.url?.split('?', 1)[0] !== bundlePath) {
        response.writeHead(404).end();
      } else if (request.method !== 'GET' && request.method !== 'HEAD') {
        response.writeHead(405, { allow: 'GET, HEAD' }).end();
      } else {
        const text = bundle();
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
        response.end(request.method === 'HEAD' ? undefined : text);
      }
    },
  );
  server.maxConnections = 1_000;
  const reread = setInterval(() => {
    readPair(certificate).then(
      (fresh) => {
        if (fresh.cert === pair.cert && fresh.key === pair.key) return;
        pair = fresh;
        server.setSecureContext({ ...fresh, ...intermediate });
        log.info({ certFile: certificate.certFile }, 'bundle endpoint: new certificate in use');
      },
      (err: unknown) => log.error({ err }, 'bundle endpoint: the certificate in use stays'),
    );
  }, rereadMs);
  reread.unref();
  const port = await listen(server, address).catch((error: unknown) => {
    clearInterval(reread);
    throw error;
  });
  return {
    url: `https://${formatSocketAddress({ host: address.host, port })}${bundlePath}`,
    close() {
      clearInterval(reread);
      const { promise, resolve } = Promise.withResolvers<void>();
      server.close(() => resolve());
      server.closeAllConnections();
      return promise;
    },
  };
}

async function readPair({ certFile, keyFile }: WebCertificate): Promise<{ cert: string; key: string }> {
  const [cert, key] = await Promise.all([certFile, keyFile].map((path) => readFileBounded(path, maxFileBytes)));
  if (cert === undefined || key === undefined) {
    throw new MeshError('SLV-1005', `There is no file ${cert === undefined ? certFile : keyFile}.`);
  }
  const pair = { cert: cert.toString('utf8'), key: key.toString('utf8') };
  try {
    createSecureContext(pair);
  } catch (cause) {
    throw new MeshError('SLV-1005', `${certFile} and ${keyFile} are not a certificate and its key, in PEM.`, { cause });
  }
  return pair;
}

async function listen(server: ReturnType<typeof createServer>, { host, port }: SocketAddress): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ host, port }, resolve);
  try {
    await promise;
  } catch (cause) {
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed';
    throw new MeshError('SLV-1004', `Cannot listen on ${formatSocketAddress({ host, port })}: ${reason}.`, { cause });
  }
  server.off('error', reject);
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : port;
}
