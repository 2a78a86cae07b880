import { request } from 'node:https';
import { rootCertificates } from 'node:tls';
import { MeshError } from '#policies/errors/mesh-error.ts';

/** What came back. */
export interface WebAnswer {
  readonly status: number;
  readonly location: string | undefined;
  readonly body: Buffer;
}

/**
 * GETs from a server that Web PKI knows by its name (RFC 6125). Redirects are the caller's business.
 *
 * @param options.roots PEM; more roots to trust, beside those of the platform
 * @param options.onlyThose trust `roots` and no others
 * @throws MeshError SLV-1006
 */
export function webRequest(
  url: URL,
  options: {
    readonly roots: string | undefined;
    readonly onlyThose?: boolean;
    readonly timeoutMs: number;
    readonly maxBytes: number;
    readonly signal: AbortSignal;
  },
): Promise<WebAnswer> {
  const { roots, maxBytes } = options;
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(options.timeoutMs)]);
  const { promise, resolve, reject } = Promise.withResolvers<WebAnswer>();
  const fail = (cause: Error): void => reject(unreachable(url, reasonOf(cause), cause));
  const sent = request(url, {
    agent: false,
    minVersion: 'TLSv1.2',
    ...(roots === undefined ? {} : { ca: options.onlyThose ? [roots] : [...rootCertificates, roots] }),
    headers: { accept: 'application/json' },
    signal,
  });
  sent.on('error', fail);
  sent.on('response', (response) => {
    const chunks: Buffer[] = [];
    let length = 0;
    response.on('error', fail);
    response.on('data', (chunk: Buffer) => {
      length += chunk.length;
      chunks.push(chunk);
      if (length > maxBytes) response.destroy(new Error(`the answer is larger than ${maxBytes} bytes`));
    });
    response.on('end', () =>
      resolve({
        status: response.statusCode ?? 0,
        location: response.headers.location,
        body: Buffer.concat(chunks, length),
      }),
    );
  });
  sent.end();
  return promise;
}

function reasonOf(cause: Error): string {
  if (cause.name === 'AbortError' || cause.name === 'TimeoutError') return 'no answer in time';
  return 'code' in cause ? String(cause.code) : cause.message;
}

function unreachable(url: URL, reason: string, cause: unknown): MeshError {
  return new MeshError('SLV-1006', `No answer from ${url.origin}: ${reason}.`, {
    detail: { url: url.origin, reason },
    cause,
  });
}
