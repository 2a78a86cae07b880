import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { type MeshAnswer, type MeshRequest, meshExchange } from '#runtime/mesh-http.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { Svid } from '#runtime/svid/svid.ts';
import type { TrustSource } from '#runtime/svid/trust.ts';
import { isCatalogOf } from '../catalog-identity.ts';
import { type AgentRequest, bodyOf, parseWait, presentedToken } from './agent-route.ts';
import { KeptAnswers, maxKeptBytes } from './kept-answers.ts';

/** Requests of local clients that may be under way at the catalog at once; a blocking query is one for as long as it waits. */
const maxUnderWay = 1_024;
const timeoutMs = 10_000;

/** Headers of Consul's clients that mean something to the catalog. */
const passedOn = [
  ...['accept', 'authorization', 'cache-control', 'content-type', 'if-match', 'if-none-match'],
  ...['x-consul-token', 'x-consul-namespace', 'x-consul-partition'],
];
/** Headers of one connection (RFC 9110 7.6.1). */
const ofTheHop = new Set(['connection', 'keep-alive', 'transfer-encoding', 'upgrade', 'te', 'trailer', 'date']);

export interface CatalogForwardOptions {
  /** `http://…` (dev: open, and so is the agent) or `https://…`: the catalog then proves to be `/svc/selvedge-catalog`. */
  readonly url: string;
  readonly trust: TrustSource | undefined;
  /** Of the host: whoever shows no token reads as what this service may read. */
  svid(): Svid | undefined;
  readonly context: ProcessContext;
}

/**
 * What Consul's clients ask of the agent of their host and only the catalog knows, all of /v1 but /v1/agent and our own API: sent on, with the token that the
 * client shows. Without one it reads as a workload of this host, as with the default token of Consul's agents, and writes nothing. What it read of discovery
 * answers `?stale` and `?cached` again while the catalog is away.
 */
export class CatalogForward {
  readonly #options: CatalogForwardOptions;
  readonly #expect;
  readonly #kept: KeptAnswers;
  #underWay = 0;

  constructor(options: CatalogForwardOptions) {
    this.#options = options;
    this.#expect = isCatalogOf(options.trust?.own);
    this.#kept = new KeptAnswers(options.context.clock);
  }

  /** Throws ConsulError: 403 for a write without a token, 429 when too many are under way, 500 when the catalog is not there (as Consul's agents). */
  async answer(c: AgentRequest): Promise<Response> {
    const { url } = this.#options;
    const { pathname, search, searchParams } = new URL(c.req.url);
    const { method, signal } = c.req.raw;
    const request = {
      url: `${url}${pathname}${search}`,
      method,
      headers: Object.fromEntries(passedOn.flatMap((name) => this.#header(c, name))),
      ...(method === 'GET' || method === 'HEAD' ? {} : { body: await bodyOf(c) }),
      ...this.#credentials(c),
      signal,
      timeoutMs: timeoutMs + waitOf(searchParams),
    };
    const isKept = method === 'GET' && 'svid' in request && isDiscovery(pathname) && !searchParams.has('consistent');
    if (this.#underWay >= maxUnderWay)
      throw new ConsulError(429, `Too many requests: ${maxUnderWay} of this agent's are under way at the catalog`);
    this.#underWay += 1;
    let isOver = false;
    const over = () => {
      if (!isOver) this.#underWay -= 1;
      isOver = true;
    };
    try {
      const answer = await this.#send(request);
      const headers = withoutHop(answer.headers);
      const length = Number(answer.headers['content-length'] ?? Number.POSITIVE_INFINITY);
      if (!isKept || answer.status !== 200 || length > maxKeptBytes) return streamed(answer, headers, over);
      const body = await buffer(answer.body);
      over();
      this.#kept.keep(c.req.url, { headers, body });
      return new Response(new Uint8Array(body), { headers });
    } catch (error) {
      over();
      if (signal.aborted) return new Response(null, { status: 499 }); // the client is gone, and nobody reads it
      return this.#withoutCatalog(c, error);
    }
  }

  #header(c: AgentRequest, name: string): [string, string][] {
    const value = c.req.header(name);
    return value === undefined ? [] : [[name, value]];
  }

  /** A client that shows a token is that token alone: never more because of the host that it runs on. */
  #credentials(c: AgentRequest): Pick<MeshRequest, 'svid'> {
    if (this.#options.trust === undefined || presentedToken(c) !== undefined) return {};
    if (!['GET', 'HEAD', 'OPTIONS'].includes(c.req.method))
      throw new ConsulError(
        403,
        'Permission denied: the agent hands writes on to the catalog only with a token (X-Consul-Token)',
      );
    const svid = this.#options.svid();
    if (svid === undefined)
      throw new ConsulError(500, 'This host has no SVID to ask the catalog with; the log says why');
    return { svid };
  }

  #send(request: Omit<MeshRequest, 'clock'>): Promise<MeshAnswer> {
    const { trust, context } = this.#options;
    const proven = trust === undefined ? {} : { trust, expect: this.#expect };
    return meshExchange({ ...request, ...proven, clock: context.clock });
  }

  #withoutCatalog(c: AgentRequest, error: unknown): Response {
    if (!isMeshError(error)) throw error;
    const { searchParams } = new URL(c.req.url);
    const mayBeOld = ['stale', 'cached', 'max_stale'].some((name) => searchParams.has(name));
    const kept = mayBeOld ? this.#kept.answer(c.req.url) : undefined;
    if (kept !== undefined) return kept;
    this.#options.context.log.warn({ err: error }, 'a request of a local client did not reach the catalog');
    throw new ConsulError(500, `No known Consul servers: ${error.message}`);
  }
}

/** Readers of these are woken by indexes, and who may read one may read all. */
function isDiscovery(pathname: string): boolean {
  return pathname.startsWith('/v1/catalog/') || pathname.startsWith('/v1/health/');
}

/** How long the catalog may take beyond an answer at once. */
function waitOf(query: URLSearchParams): number {
  const blocks = (query.get('index') ?? '') !== '' || (query.get('hash') ?? '') !== '';
  return blocks ? parseWait(query.get('wait') ?? '') * (1 + 1 / 16) : 0;
}

function withoutHop(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !ofTheHop.has(name)));
}

function streamed({ status, body }: MeshAnswer, headers: Record<string, string>, over: () => void): Response {
  body.once('close', over);
  const isEmpty = status === 204 || status === 304;
  if (isEmpty) body.resume();
  return new Response(isEmpty ? null : (Readable.toWeb(body) as ReadableStream), { status, headers });
}
