import type { ClientRequest, IncomingHttpHeaders, IncomingMessage, RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Readable } from 'node:stream';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Clock } from './clock.ts';
import { type Expectation, keepingAgent, singleUseAgent } from './mesh-agent.ts';
import { Agent, request as httpRequest } from './node-http.ts';
import type { Svid } from './svid/svid.ts';
import type { TrustSource } from './svid/trust.ts';
import { dialTls } from './tls-identity.ts';

/** One request to a service of the mesh. */
export interface MeshRequest {
  /** `https://host:port/path?query`: the peer is verified before a byte is sent. `http://…`: plain, for `dev`. */
  readonly url: string;
  /** Default GET. */
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  /** Which SPIFFE ID must answer. Absent: any that the trust accepts. A function should be the same object each time, so that connections are shared. */
  readonly expect?: Expectation;
  /** What we show when the server asks. */
  readonly svid?: Svid;
  /** It changes nothing on the server, whatever its method: it may be sent again, so it goes over a kept connection. GET and HEAD always do. */
  readonly repeatable?: true;
  /** Needed for https. */
  readonly trust?: TrustSource;
  readonly clock: Clock;
  /** For the whole exchange; with meshStream, until the head of the answer. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** Largest body taken in (meshRequest) or longest line (meshStream). Default 8 MiB. */
  readonly maxBytes?: number;
}

export interface MeshResponse {
  readonly status: number;
  /** Lower-case names; repeated ones joined by `, `. */
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

/** An answer that comes line by line. */
export interface MeshStream {
  readonly status: number;
  readonly headers: Record<string, string>;
  /** Lines without their `\n`. To be read once; throws SLV-1006 when the stream breaks off. What arrives is as slow as it is read. */
  readonly lines: AsyncIterable<string>;
  /** Ends the exchange; `lines` ends. */
  close(): void;
}

/** An answer whose body comes as it is read, of any length. */
export interface MeshAnswer {
  readonly status: number;
  readonly headers: Record<string, string>;
  /** To be read or destroyed. */
  readonly body: Readable;
}

const defaultMaxBytes = 8 * 1024 * 1024;
/** Only reads use kept connections: a server may be closing one at this very moment, and then the request is sent again. */
const repeatable: ReadonlySet<string> = new Set(['GET', 'HEAD']);
const plainAgent = new Agent({ keepAlive: true, maxFreeSockets: 4, timeout: 20_000 });

/**
 * Sends a request and takes in the whole answer, whatever its status. Throws SLV-2020 or SLV-2010 when the server did not prove itself (nothing was
 * sent then), SLV-1006 when it can't be reached, is too slow or answers too much, or the reason of `signal`.
 */
export function meshRequest(options: MeshRequest): Promise<MeshResponse> {
  return withDeadline(options, async (signal, deadline) => {
    try {
      const response = await send(options, signal);
      return { ...headOf(response), body: await readWhole(response, options) };
    } finally {
      deadline.clear();
    }
  });
}

/** Sends a request and hands over its answer as lines. Throws like meshRequest. */
export function meshStream(options: MeshRequest): Promise<MeshStream> {
  return withDeadline(options, async (signal, deadline) => {
    const response = await send(options, signal).finally(() => deadline.clear());
    return { ...headOf(response), lines: readLines(response, options), close: () => response.destroy() };
  });
}

/** Sends a request and hands over its answer as it comes; `signal` ends it at any time. Throws like meshRequest. */
export function meshExchange(options: MeshRequest): Promise<MeshAnswer> {
  return withDeadline(options, async (signal, deadline) => {
    const response = await send(options, signal).finally(() => deadline.clear());
    return { ...headOf(response), body: response };
  });
}

/**
 * GETs from a server that has proven nothing. For first contact only: nothing of ours goes along, and what comes back has to prove itself by other
 * means (a pin). `https` URLs.
 */
export async function fetchUnproven(
  options: Pick<MeshRequest, 'url' | 'timeoutMs' | 'signal' | 'clock'>,
): Promise<MeshResponse> {
  return withDeadline(options, async (signal, deadline) => {
    try {
      const { hostname, port } = new URL(options.url);
      const socket = await dialTls({ host: bare(hostname), port: Number(port || 443), judge: () => undefined, signal });
      const response = await exchange(httpsRequest(options.url, { createConnection: () => socket, signal }), options);
      return { ...headOf(response), body: await readWhole(response, options) };
    } finally {
      deadline.clear();
    }
  });
}

/** Runs with a signal that aborts on the caller's abort or at the deadline, and turns what comes of either into the right error. */
async function withDeadline<T>(
  options: Pick<MeshRequest, 'url' | 'timeoutMs' | 'signal'>,
  run: (signal: AbortSignal, deadline: { clear(): void }) => Promise<T>,
): Promise<T> {
  options.signal?.throwIfAborted();
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), options.timeoutMs);
  const signal = options.signal === undefined ? late.signal : AbortSignal.any([options.signal, late.signal]);
  try {
    return await run(signal, { clear: () => clearTimeout(timer) });
  } catch (error) {
    clearTimeout(timer);
    options.signal?.throwIfAborted();
    if (late.signal.aborted) throw unreachable(options.url, `no answer within ${options.timeoutMs} ms`);
    throw error;
  }
}

async function send(options: MeshRequest, signal: AbortSignal): Promise<IncomingMessage> {
  const request = makeRequest(options, signal, options.repeatable ?? repeatable.has(options.method ?? 'GET'));
  try {
    return await exchange(request, options);
  } catch (error) {
    // A kept connection that the server had closed meanwhile: nothing was wrong but the moment.
    if (!request.reusedSocket || signal.aborted) throw error;
    return await exchange(makeRequest(options, signal, false), options);
  }
}

function makeRequest(options: MeshRequest, signal: AbortSignal, reuse: boolean): ClientRequest {
  const { url, method = 'GET', headers, trust, svid, expect, clock } = options;
  const { protocol, hostname, port } = new URL(url);
  const request: RequestOptions = { method, headers: { ...headers }, signal };
  if (protocol === 'http:') return httpRequest(url, { ...request, agent: reuse ? plainAgent : false });
  if (trust === undefined)
    throw new MeshError('SLV-2010', `There is no trust bundle to verify ${withoutQuery(url)} with.`);
  const secure = {
    ...request,
    hostname: bare(hostname),
    port: Number(port || 443),
    mesh: { trust, clock, svid, expect },
  };
  if (reuse) keepingAgent.judgeIdle(secure);
  return httpsRequest(url, { ...secure, agent: reuse ? keepingAgent : singleUseAgent });
}

/** Sends the request. @returns the answer, its body still to be read */
function exchange(request: ClientRequest, { url, body }: Pick<MeshRequest, 'url' | 'body'>): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  request.once('response', resolve);
  request.on('error', (cause) => reject(cause instanceof MeshError ? cause : unreachable(url, reasonOf(cause), cause)));
  request.end(body);
  return promise;
}

function headOf(response: IncomingMessage): Pick<MeshResponse, 'status' | 'headers'> {
  return { status: response.statusCode ?? 0, headers: joined(response.headers) };
}

function joined(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : (value ?? '')]),
  );
}

async function readWhole(response: IncomingMessage, options: Pick<MeshRequest, 'url' | 'maxBytes'>): Promise<Buffer> {
  const { url, maxBytes = defaultMaxBytes } = options;
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > maxBytes) throw unreachable(url, `the answer is larger than ${maxBytes} bytes`);
      chunks.push(chunk);
    }
  } catch (cause) {
    throw cause instanceof MeshError ? cause : unreachable(url, 'the answer broke off', cause);
  }
  return Buffer.concat(chunks, length);
}

async function* readLines(response: IncomingMessage, options: MeshRequest): AsyncGenerator<string, void, undefined> {
  const { url, maxBytes = defaultMaxBytes, signal } = options;
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      let start = 0;
      for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, start)) {
        if (length + end - start > maxBytes) throw unreachable(url, `a line is longer than ${maxBytes} bytes`);
        yield decoder.decode(Buffer.concat([...parts, chunk.subarray(start, end)]));
        parts = [];
        length = 0;
        start = end + 1;
      }
      length += chunk.length - start;
      if (length > maxBytes) throw unreachable(url, `a line is longer than ${maxBytes} bytes`);
      if (start < chunk.length) parts.push(chunk.subarray(start));
    }
    if (length > 0) throw unreachable(url, 'the stream ended within a line');
  } catch (cause) {
    signal?.throwIfAborted();
    if (response.destroyed && !response.errored) return; // close() was called
    throw cause instanceof MeshError ? cause : unreachable(url, 'the stream broke off', cause);
  }
}

function unreachable(url: string, reason: string, cause?: unknown): MeshError {
  return new MeshError('SLV-1006', `No answer from ${withoutQuery(url)}: ${reason}.`, {
    detail: { url: withoutQuery(url), reason },
    cause,
  });
}

function reasonOf(cause: Error): string {
  return 'code' in cause ? String(cause.code) : cause.message;
}

/** A query can hold what is not for logs. */
function withoutQuery(url: string): string {
  return url.split('?', 1)[0]?.slice(0, 256) ?? '';
}

/** `::1` of `[::1]`. */
function bare(hostname: string): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
}
