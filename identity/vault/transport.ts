import { Agent as HttpAgent, request as httpRequest, type RequestOptions } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { urlToHttpOptions } from 'node:url';
import createClient from 'node-vault';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';
import { readFileBoundedSync } from '#runtime/atomic-file.ts';
import { connectFailure } from '#runtime/connect-failure.ts';

/**
 * The one door to Vault or OpenBao: node-vault for the API, our own HTTP beneath it (its `request-promise` hook), because its default transport
 * follows redirects with the token, obeys HTTP_PROXY even for loopback, opens a TLS connection a request, ignores AbortSignal, has no timeout, and
 * throws errors that carry the token (reference/identity.md section 5). Nothing of the environment (VAULT_*, *_PROXY, DEBUG) has a say here.
 */

/** How to reach Vault. */
export interface VaultEndpoint {
  /** `https://host:port`, or `http://` on loopback only. */
  readonly address: string;
  /** Vault Enterprise or OpenBao namespace. */
  readonly namespace?: string;
  /** PEM file with the CAs for `https`; absent: the system's. */
  readonly caFile?: string;
  /** PEM files of what this side shows in TLS; read again for each call, so that a renewed certificate needs no restart. */
  readonly clientCertificate?: { readonly certFile: string; readonly keyFile: string };
  /** Per request, from the call to the last byte of the answer. */
  readonly timeoutMs: number;
}

/** Options of one call. */
export interface VaultCall {
  /** Absent: unauthenticated. */
  readonly token?: string;
  readonly signal?: AbortSignal;
  /** What else no error may hold: secrets of the body. */
  readonly secrets?: readonly string[];
  /** The answer is put away under a one-time token (`VaultReply.wrapped`) that lives so long. */
  readonly wrapTtlSeconds?: number;
}

/** A good answer, parsed no further than Vault's envelope. */
export interface VaultReply {
  readonly requestId: string;
  readonly data: unknown;
  readonly auth: unknown;
  /** The wrapping token, where `wrapTtlSeconds` was given. */
  readonly wrapped?: string;
}

/** Calls by path (`pki/sign/role`, made by vault-path.ts). Every failure is a VaultError, or SLV-1005 for the files of the client certificate. */
export interface VaultTransport {
  read(path: string, call?: VaultCall): Promise<VaultReply>;
  write(path: string, body: Readonly<Record<string, unknown>>, call?: VaultCall): Promise<VaultReply>;
  /** Ends idle connections. */
  close(): void;
}

/** A failed call: what a person needs, and nothing that could hold a token (no request, no headers, no cause). */
export class VaultError extends Error {
  /** HTTP status; undefined when no answer came. */
  readonly status: number | undefined;

  constructor(message: string, status?: number) {
    super(message);
    this.name = 'VaultError';
    this.status = status;
  }
}

/** Largest answer in bytes. A signed leaf with a long chain is below 32 KiB. */
const maxAnswerBytes = 1_048_576;
/** Connections to Vault at once; more calls wait for one. */
const maxConnections = 8;

const envelopeSchema = z.looseObject({
  request_id: z.string().max(128).optional(),
  data: z.unknown().optional(),
  auth: z.unknown().optional(),
  wrap_info: z.looseObject({ token: z.string().min(1).max(4_096) }).nullish(),
});
const errorsSchema = z.looseObject({ errors: z.array(z.string()).min(1) });

/**
 * Opens the transport; nothing is sent yet.
 * @throws MeshError SLV-1002 when the address can not be used, SLV-1005 when `caFile` can not be read
 */
export function openVaultTransport(endpoint: VaultEndpoint): VaultTransport {
  const url = parseAddress(endpoint.address);
  const secure = url.protocol === 'https:';
  const pool = { keepAlive: true, maxSockets: maxConnections };
  const agent = secure
    ? new HttpsAgent({
        ...pool,
        rejectUnauthorized: true,
        ...(endpoint.caFile ? { ca: readPem(endpoint.caFile) } : {}),
      })
    : new HttpAgent(pool);

  const shown = (): { cert: string; key: string } | undefined => {
    const files = endpoint.clientCertificate;
    return files === undefined ? undefined : { cert: readPem(files.certFile), key: readPem(files.keyFile) };
  };

  const target = urlToHttpOptions(url);
  const exchange = async (options: HookOptions): Promise<HookAnswer> => {
    const { method, headers, signal } = options;
    const path = options.uri.slice(url.origin.length);
    const body = typeof options.json === 'object' ? JSON.stringify(options.json) : undefined;
    const request = { ...target, path, method, headers, agent, ...shown() };
    const { timeoutMs, address } = endpoint;
    const limits = { timeoutMs, endsAtMs: performance.now() + timeoutMs, address, signal };
    const answer = await send(secure ? httpsRequest : httpRequest, request, body, limits);
    return { ...answer, request: { path } };
  };
  const client = createClient({
    endpoint: url.origin,
    debug: () => undefined,
    'request-promise': { defaults: () => exchange },
  });
  // Each of these falls back to an environment variable in the constructor; set afterwards, none does.
  Object.assign(client, { token: '', namespace: '', pathPrefix: '' });

  const run = async (call: VaultCall | undefined, work: (options: object) => Promise<unknown>): Promise<VaultReply> => {
    // Fresh headers a call: node-vault writes into the object that it is given.
    const headers: Record<string, string> = { accept: 'application/json', 'x-vault-request': 'true' };
    if (call?.token !== undefined) headers['X-Vault-Token'] = call.token;
    if (endpoint.namespace !== undefined) headers['X-Vault-Namespace'] = endpoint.namespace;
    if (call?.wrapTtlSeconds !== undefined) headers['X-Vault-Wrap-TTL'] = `${call.wrapTtlSeconds}s`;
    let answer: unknown;
    try {
      answer = await work({ headers, ...(call?.signal === undefined ? {} : { signal: call.signal }) });
    } catch (error) {
      throw describe(error, endpoint, call);
    }
    const envelope = envelopeSchema.safeParse(answer);
    if (!envelope.success) throw new VaultError(`${endpoint.address} answered something that is not Vault's`);
    const { request_id: requestId = '', data, auth, wrap_info: wrap } = envelope.data;
    return { requestId, data, auth, ...(wrap == null ? {} : { wrapped: wrap.token }) };
  };
  return {
    read: (path, call) => run(call, (options) => client.read(path, options)),
    write: (path, body, call) => run(call, (options) => client.write(path, body, options)),
    close: () => agent.destroy(),
  };
}

/** What node-vault hands to its transport. */
interface HookOptions {
  readonly uri: string;
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly json?: unknown;
  readonly signal?: AbortSignal;
}

/** What node-vault expects back. */
interface HookAnswer {
  readonly statusCode: number;
  readonly body: unknown;
  readonly request: { readonly path: string };
}

/** Until when a call may take, and for whom. */
interface CallLimits {
  readonly timeoutMs: number;
  /** By `performance.now()`. */
  readonly endsAtMs: number;
  readonly signal: AbortSignal | undefined;
  /** For messages. */
  readonly address: string;
}

/**
 * One exchange, within its limits to the last byte of the answer. A kept connection that Vault had just closed is replaced once: nothing of ours is harmed by a
 * second try. One timer and one listener by hand: signals that are composed for each call cost as much as its TLS.
 */
function send(
  open: typeof httpRequest,
  options: RequestOptions,
  body: string | undefined,
  limits: CallLimits,
  again = true,
): Promise<{ statusCode: number; body: unknown }> {
  const { timeoutMs, endsAtMs, signal, address } = limits;
  const { promise, resolve, reject } = Promise.withResolvers<{ statusCode: number; body: unknown }>();
  const request = open(options);
  let [isAnswered, isOver] = [false, false];
  const settle = (): void => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', leave);
  };
  const fail = (error: unknown): void => {
    isOver = true; // what `destroy` emits is of no interest
    settle();
    reject(error);
    request.destroy();
  };
  const leave = (): void => fail(new VaultError(`the call to ${address} was given up`));
  const timer = setTimeout(
    () => fail(new VaultError(`${address} did not answer within ${timeoutMs} ms`)),
    Math.max(endsAtMs - performance.now(), 1),
  );
  signal?.addEventListener('abort', leave);
  request.on('error', (error) => {
    if (isOver) return;
    const isStale = request.reusedSocket && !isAnswered && 'code' in error && error.code === 'ECONNRESET';
    if (!isStale || !again) return fail(error);
    settle();
    resolve(send(open, options, body, limits, false));
  });
  request.on('response', (response) => {
    isAnswered = true;
    const chunks: Buffer[] = [];
    let size = 0;
    response.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxAnswerBytes) fail(new VaultError(`the answer is larger than ${maxAnswerBytes} bytes`));
      else chunks.push(chunk);
    });
    response.on('error', fail);
    response.on('end', () => {
      settle();
      resolve({ statusCode: response.statusCode ?? 0, body: parseBody(Buffer.concat(chunks, size).toString('utf8')) });
    });
  });
  if (body !== undefined) request.setHeader('content-type', 'application/json');
  if (signal?.aborted === true) leave();
  else request.end(body);
  return promise;
}

/** JSON where it is JSON (a gateway's 502 is HTML); an empty answer (204) is an empty envelope. */
function parseBody(text: string): unknown {
  if (text === '') return {};
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Any failure as code and sentence. The original is dropped on purpose: it may hold the request and with it the token. */
function describe(error: unknown, endpoint: VaultEndpoint, call: VaultCall | undefined): VaultError | MeshError {
  if (error instanceof VaultError || error instanceof MeshError) return error;
  const answer = z
    .object({ response: z.object({ statusCode: z.number(), body: z.unknown() }) })
    .safeParse(error instanceof Error && 'response' in error ? { response: error.response } : undefined);
  if (answer.success) {
    const { statusCode, body } = answer.data.response;
    const errors = errorsSchema.safeParse(body);
    const said = errors.success ? `: ${withoutSecrets(errors.data.errors.join('; '), call)}` : '';
    return new VaultError(`${endpoint.address} answered ${statusCode}${said}`, statusCode);
  }
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'the connection failed';
  return new VaultError(`${endpoint.address} could not be reached: ${connectFailure(code)}`);
}

/** What Vault says, on one line, bounded, and without token or secret should it ever echo one. */
function withoutSecrets(text: string, call: VaultCall | undefined): string {
  const secrets = [...(call?.token === undefined ? [] : [call.token]), ...(call?.secrets ?? [])];
  const line = secrets.reduce((said, secret) => said.replaceAll(secret, '[secret]'), text);
  return line.replace(/\s+/g, ' ').trim().slice(0, 400);
}

function parseAddress(address: string): URL {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  const bare =
    url !== undefined && url.username === '' && url.password === '' && url.pathname === '/' && url.search === '';
  const loopback = url !== undefined && /^(?:127\.\d+\.\d+\.\d+|\[::1\]|localhost)$/.test(url.hostname);
  if (url === undefined || !bare || (url.protocol !== 'https:' && !(url.protocol === 'http:' && loopback))) {
    throw new MeshError(
      'SLV-1002',
      `${quote(address)} is no Vault address: https://host:port is needed (http:// on loopback only, for the token must not travel in the clear).`,
    );
  }
  return url;
}

function readPem(path: string): string {
  const pem = readFileBoundedSync(path, 1_048_576);
  if (pem === undefined) throw new MeshError('SLV-1005', `${path} does not exist.`, { detail: { path } });
  return pem.toString('utf8');
}
