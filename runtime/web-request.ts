import { request } from 'node:https';
import type { LookupFunction } from 'node:net';
import { rootCertificates } from 'node:tls';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { connectFailure } from './connect-failure.ts';
import { resolveProbeHost } from './probe-address.ts';

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
 * @param options.refuseMetadata the address is somebody's who need not be trusted with what only this machine can reach: link-local and metadata addresses are refused
 * @throws MeshError SLV-1006
 */
export async function webRequest(
  url: URL,
  options: {
    readonly headers?: Readonly<Record<string, string>>;
    readonly roots: string | undefined;
    readonly onlyThose?: boolean;
    readonly refuseMetadata?: boolean;
    readonly timeoutMs: number;
    readonly maxBytes: number;
    readonly signal: AbortSignal;
  },
): Promise<WebAnswer> {
  const { roots, maxBytes } = options;
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(options.timeoutMs)]);
  const { promise, resolve, reject } = Promise.withResolvers<WebAnswer>();
  const fail = (cause: Error): void => reject(unreachable(url, reasonOf(cause), cause));
  const lookup = options.refuseMetadata === true ? await judgedLookup(url, signal) : undefined;
  const sent = request(url, {
    agent: false,
    ...(lookup === undefined ? {} : { lookup }),
    minVersion: 'TLSv1.2',
    ...(roots === undefined ? {} : { ca: options.onlyThose ? [roots] : [...rootCertificates, roots] }),
    headers: { accept: 'application/json', ...options.headers },
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

/** Connects to the address that was judged, so that no second answer of DNS can slip in. @throws MeshError SLV-1006 */
async function judgedLookup(url: URL, signal: AbortSignal): Promise<LookupFunction> {
  try {
    const { address, family } = await resolveProbeHost(url.hostname.replace(/^\[(.*)\]$/, '$1'), signal);
    return (_host, { all }, found) => {
      if (all === true) found(null, [{ address, family }]);
      else found(null, address, family);
    };
  } catch (cause) {
    throw unreachable(url, cause instanceof Error ? reasonOf(cause) : 'unknown', cause);
  }
}

function reasonOf(cause: Error): string {
  if (cause.name === 'AbortError' || cause.name === 'TimeoutError') return 'no answer in time';
  return 'code' in cause ? connectFailure(String(cause.code)) : cause.message;
}

function unreachable(url: URL, reason: string, cause: unknown): MeshError {
  return new MeshError('SLV-1006', `No answer from ${url.origin}: ${reason}.`, {
    detail: { url: url.origin, reason },
    cause,
  });
}
