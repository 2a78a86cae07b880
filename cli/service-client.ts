import type { z } from 'zod';
import { type ErrorCode, errorCatalogue } from '#policies/errors/catalogue.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { type SpiffeId, serviceIdentityOf } from '#policies/spiffe-id.ts';
import { readFileBounded } from '#runtime/atomic-file.ts';
import { createLogger } from '#runtime/logging.ts';
import { type MeshResponse, meshRequest } from '#runtime/mesh-http.ts';
import { readProblem } from '#runtime/problem.ts';
import { systemContext } from '#runtime/process-context.ts';
import { isLoopback } from '#runtime/socket-address.ts';
import { firstContact, rootsOfFile } from '#runtime/svid/first-contact.ts';
import type { TrustSource } from '#runtime/svid/trust.ts';
import { vouchedRoots } from '#runtime/svid/vouched-roots.ts';
import { say } from './output.ts';

/** How a command reaches one of the services. */
export interface ServiceAddress {
  readonly url: string;
  readonly tokenFile: string | undefined;
  readonly caFile: string | undefined;
  /** Of the identity service only: a catalog has no bundle to look the pin up in. */
  readonly caPin?: string | undefined;
}

type ServiceKind = 'identity' | 'catalog' | 'edge-proxy';

const timeoutMs = 30_000;

/** A client of the identity or catalog service, or of an edge proxy's admin API, for commands: proves the server before the token is sent, turns answers into values or MeshErrors. */
export class ServiceClient {
  readonly #address: ServiceAddress;
  readonly #expect: (id: SpiffeId) => boolean;
  readonly #kind: ServiceKind;
  #prepared: Promise<{ trust: TrustSource | undefined; token: string | undefined }> | undefined;

  constructor(kind: ServiceKind, address: ServiceAddress) {
    this.#kind = kind;
    this.#address = address;
    this.#expect = (id) => serviceIdentityOf(id)?.service === `selvedge-${kind}`;
  }

  /** Sends a request and returns a JSON answer that fits the schema. Throws MeshError: what the service said, or SLV-1006. */
  async json<T>(
    method: string,
    path: string,
    schema: z.ZodType<T>,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<T> {
    const answer = await this.send(method, path, body, undefined, headers);
    const parsed = schema.safeParse(answer.body.length === 0 ? undefined : JSON.parse(answer.body.toString('utf8')));
    if (parsed.success) return parsed.data;
    throw new MeshError(
      'SLV-1006',
      `${this.#address.url} answered something else than expected to ${method} ${path}; is it a Selvedge ${this.#kind}${this.#kind === 'edge-proxy' ? '' : ' service'} of this version?`,
    );
  }

  /** Sends a request; any status of 400 and above is thrown. @param maxBytes of the answer, where it may be large */
  async send(
    method: string,
    path: string,
    body?: unknown,
    maxBytes?: number,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<MeshResponse> {
    const answer = await this.attempt(method, path, body, maxBytes, headers);
    if (answer.status >= 400) throw errorOf(answer);
    return answer;
  }

  /** Sends a request and returns the answer, whatever its status. */
  async attempt(
    method: string,
    path: string,
    body?: unknown,
    maxBytes?: number,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<MeshResponse> {
    this.#prepared ??= this.#prepare();
    const { trust, token } = await this.#prepared;
    return meshRequest({
      url: `${this.#address.url}${path}`,
      method,
      headers: {
        ...headers,
        ...(token === undefined ? {} : { 'x-consul-token': token }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(trust === undefined ? {} : { trust, expect: this.#expect }),
      clock: Date.now,
      timeoutMs,
      ...(maxBytes === undefined ? {} : { maxBytes }),
    });
  }

  async #prepare(): Promise<{ trust: TrustSource | undefined; token: string | undefined }> {
    const { url, tokenFile, caFile, caPin } = this.#address;
    const token = tokenFile === undefined ? undefined : await readToken(tokenFile);
    if (url.startsWith('http:')) {
      if (token === undefined || isLoopback(new URL(url).hostname.replace(/^\[(.*)\]$/, '$1')))
        return { trust: undefined, token };
      say(`the token in ${tokenFile} is not sent: over plain http nobody on the way to ${url} proves who it is`);
      return { trust: undefined, token: undefined };
    }
    if (caFile !== undefined) {
      const pin = this.#kind === 'identity' ? caPin : undefined;
      return { trust: vouchedRoots(await rootsOfFile(caFile, pin)), token };
    }
    if (this.#kind === 'identity' && caPin !== undefined) {
      const context = systemContext(createLogger({ process: 'cli', level: 'error' }));
      const opened = await firstContact({ identityUrl: url, caPin, context, signal: AbortSignal.timeout(timeoutMs) });
      return { trust: bundleTrust(opened), token };
    }
    throw new MeshError(
      'SLV-1003',
      `nothing tells the ${this.#kind} service at ${url} from another: give --ca-file (the identity service keeps its roots in <data-dir>/ca.pem)`,
    );
  }
}

function bundleTrust(opened: Awaited<ReturnType<typeof firstContact>>): TrustSource {
  const { bundle } = opened;
  return {
    own: bundle.trustDomain,
    bundleOf: (trustDomain) => (trustDomain === bundle.trustDomain ? bundle : undefined),
    isRevoked: () => false,
    onChange: () => () => undefined,
  };
}

async function readToken(file: string): Promise<string> {
  const bytes = await readFileBounded(file, 4_096);
  if (bytes === undefined) throw new MeshError('SLV-1005', `there is no file ${file} (--token-file)`);
  return bytes.toString('utf8').trim();
}

/** What a service said, as an error of the same code; Consul's routes answer plain text. */
function errorOf(answer: MeshResponse): MeshError {
  const problem = readProblem(answer.body);
  if (problem !== undefined && isKnown(problem.code))
    return new MeshError(problem.code, problem.detail ?? problem.title ?? 'refused');
  const text = answer.body.toString('utf8').slice(0, 500).trim();
  const code: ErrorCode =
    answer.status === 401
      ? 'SLV-2001'
      : answer.status === 403
        ? 'SLV-2002'
        : answer.status === 404
          ? 'SLV-1010'
          : answer.status >= 500
            ? 'SLV-1007'
            : 'SLV-1009';
  return new MeshError(code, text || `the service answered ${answer.status}`);
}

function isKnown(code: string | undefined): code is ErrorCode {
  return code !== undefined && Object.hasOwn(errorCatalogue, code);
}
