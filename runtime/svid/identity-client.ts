import type { z } from 'zod';
import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import { type SpiffeId, serviceIdentityOf, trustDomainOf } from '#policies/spiffe-id.ts';
import { type AttestRequest, challengeSchema } from '#policies/wire/attest-api.ts';
import {
  type Issued,
  type IssuedJwt,
  type IssueJwtRequest,
  type IssueRequest,
  issuedJwtSchema,
  issuedSchema,
  type JoinRequest,
  joinedSchema,
  nodeProofHeader,
  signedBundleAnswerSchema,
} from '#policies/wire/identity-api.ts';
import type { Random } from '../clock.ts';
import { type MeshRequest, type MeshResponse, meshRequest } from '../mesh-http.ts';
import { readProblem } from '../problem.ts';
import type { ProcessContext } from '../process-context.ts';
import type { IdentityEndpoints } from './identity-endpoints.ts';
import { type NodeEvidence, readTokenFile, signX509Statement } from './node-evidence.ts';
import { publicKeyPem } from './node-key.ts';
import { signNodeProof } from './node-proof.ts';
import type { NodeState } from './node-state.ts';
import { identityServiceName } from './open-bundle.ts';
import { retryDelayMs, toldDelayMs } from './renewal-plan.ts';
import type { Svid } from './svid.ts';
import type { TrustSource } from './trust.ts';

/** A slow Vault behind the identity service is given this long. */
export const identityTimeoutMs = 15_000;

/** `expect` for the identity service of whatever trust domain an operator vouched for the roots of: first contact. */
export function isIdentityService(id: SpiffeId): boolean {
  return serviceIdentityOf(id)?.service === identityServiceName;
}

type Evidence = { [M in AttestRequest as M['method']]: Omit<M, 'publicKey' | 'proof'> }[AttestRequest['method']];

/** What a node shows for one of its services. */
export interface Attestation {
  readonly nodeId?: string | undefined;
  readonly svid?: Svid | undefined;
}

/** The routes of the identity service that a node uses. Every method rejects with SLV-1006 (unreachable), SLV-2014 (refused), SLV-2010 or SLV-2020. */
export class IdentityClient {
  readonly #endpoints: IdentityEndpoints;
  readonly #trust: TrustSource;
  readonly #state: NodeState;
  readonly #context: ProcessContext;
  readonly #signal: AbortSignal;
  /** Of the own trust domain: one that we federate with has an identity service of the same name. One object, so that connections are shared. */
  readonly #expect: (id: SpiffeId) => boolean;

  readonly #onUnverified: ((url: string) => Promise<boolean>) | undefined;

  /**
   * @param options.onUnverified called when a server's certificate is not verified by the roots in hand; true: others are in hand now, the request is sent again
   */
  constructor(options: {
    endpoints: IdentityEndpoints;
    trust: TrustSource;
    state: NodeState;
    context: ProcessContext;
    signal: AbortSignal;
    onUnverified?: (url: string) => Promise<boolean>;
  }) {
    this.#endpoints = options.endpoints;
    this.#trust = options.trust;
    this.#state = options.state;
    this.#context = options.context;
    this.#signal = options.signal;
    this.#onUnverified = options.onUnverified;
    this.#expect = (id) => isIdentityService(id) && trustDomainOf(id) === this.#trust.own;
  }

  /**
   * The signed trust bundle, unopened.
   * @param after answer only when the bundle has another sequence than this, or after `waitSeconds` (at most 60)
   */
  async signedBundle(after?: { sequence: number; waitSeconds: number }): Promise<string> {
    const query = after === undefined ? '' : `?sequence=${after.sequence}&wait=${after.waitSeconds}`;
    const timeoutMs = identityTimeoutMs + (after?.waitSeconds ?? 0) * 1_000;
    const answer = await this.#send(`/v1/identity/bundle/signed${query}`, { timeoutMs });
    return parseAnswer(answer, signedBundleAnswerSchema, this.#url).jws;
  }

  /**
   * Redeems a join token for this node's key. Having joined before with this very key counts as success (SLV-2103): an answer may have been lost.
   *
   * @returns the node's id
   */
  async join(token: string, node: string): Promise<string> {
    const { key } = this.#state;
    const proof = await signNodeProof(key, { content: token }, this.#context);
    const request: JoinRequest = { token, node, publicKey: publicKeyPem(key), proof };
    const answer = await this.#send('/v1/identity/join', { method: 'POST', body: JSON.stringify(request) }, [409]);
    if (answer.status !== 409) return parseAnswer(answer, joinedSchema, this.#url).nodeId;
    const problem = readProblem(answer.body);
    const nodeId = problem?.context?.['nodeId'];
    if (problem?.code === 'SLV-2103' && typeof nodeId === 'string') return nodeId;
    throw refusal(answer, this.#url);
  }

  /**
   * Joins by what the node has instead of a join token, and binds this node's key.
   *
   * @returns the node's id. Throws SLV-1005 for the files too
   */
  async attest(evidence: NodeEvidence): Promise<string> {
    const { key } = this.#state;
    const shown = await this.#evidence(evidence);
    const content = shown.method === 'x509pop' ? shown.statement : shown.token;
    const proof = await signNodeProof(key, { content }, this.#context);
    const body = JSON.stringify({ ...shown, publicKey: publicKeyPem(key), proof });
    return parseAnswer(await this.#send('/v1/identity/attest', { method: 'POST', body }), joinedSchema, this.#url)
      .nodeId;
  }

  async #evidence(evidence: NodeEvidence): Promise<Evidence> {
    switch (evidence.kind) {
      case 'jwt':
        return { method: 'jwt', token: await readTokenFile(evidence.file) };
      case 'vault-token':
        return { method: 'vault-token', token: await readTokenFile(evidence.file), wrapped: evidence.wrapped };
      case 'x509pop': {
        const answer = await this.#send('/v1/identity/attest/challenge', { method: 'POST' });
        const { challenge } = parseAnswer(answer, challengeSchema, this.#url);
        return { method: 'x509pop', ...(await signX509Statement(evidence, challenge, this.#state.key.publicKey)) };
      }
    }
  }

  /**
   * Asks for an SVID, attested by the node's key where the node has joined, and by `svid` (mTLS) where one is given.
   *
   * @returns what came back, unverified
   */
  async issue(request: IssueRequest, attestation: Attestation): Promise<Issued> {
    return parseAnswer(await this.#attested('/v1/identity/svids', request, attestation), issuedSchema, this.#url);
  }

  /** As `issue`, for a JWT-SVID. */
  async issueJwt(request: IssueJwtRequest, attestation: Attestation): Promise<IssuedJwt> {
    return parseAnswer(
      await this.#attested('/v1/identity/jwt-svids', request, attestation),
      issuedJwtSchema,
      this.#url,
    );
  }

  async #attested(path: string, request: object, { nodeId, svid }: Attestation): Promise<MeshResponse> {
    const body = JSON.stringify(request);
    const headers =
      nodeId === undefined
        ? {}
        : { [nodeProofHeader]: await signNodeProof(this.#state.key, { nodeId, content: body }, this.#context) };
    return this.#send(path, { method: 'POST', body, headers, ...(svid === undefined ? {} : { svid }) });
  }

  #send(path: string, request: Partial<MeshRequest>, alsoFine: readonly number[] = []): Promise<MeshResponse> {
    return this.#endpoints.ask(async (url) => {
      const sent = (): Promise<MeshResponse> => this.#exchange(url + path, request);
      const answer = await sent().catch(async (error: unknown) => {
        // Nothing was sent. Another root may have followed on those in hand; a revocation no other root undoes.
        const mayFollow = isMeshError(error, 'SLV-2020') && error.detail['rule'] !== 'revoked';
        if (mayFollow && (await this.#onUnverified?.(url)) === true) return sent();
        throw error;
      });
      if (answer.status >= 300 && !alsoFine.includes(answer.status)) throw refusal(answer, url);
      return answer;
    });
  }

  #exchange(url: string, request: Partial<MeshRequest>): Promise<MeshResponse> {
    return meshRequest({
      ...request,
      url,
      headers: { ...request.headers, ...(request.body === undefined ? {} : { 'content-type': 'application/json' }) },
      trust: this.#trust,
      expect: this.#expect,
      clock: this.#context.clock,
      timeoutMs: request.timeoutMs ?? identityTimeoutMs,
      signal: this.#signal,
    });
  }

  /** Of the server that answered. */
  get #url(): string {
    return this.#endpoints.preferred;
  }
}

/** Whether asking again, without a change on either side, is pointless: a refusal (4xx) that is no matter of load or time. */
export function isLastingRefusal(error: unknown): boolean {
  if (!isMeshError(error, 'SLV-2014')) return false;
  const status = Number(error.detail['status']);
  return status >= 400 && status < 500 && status !== 408 && status !== 429;
}

/** Longest that a server may ask for. */
const longestToldSeconds = 300;

/** How long to wait before asking again after `failures` in a row: as the service said, or else by `retryDelayMs`. */
export function delayAfter(error: unknown, failures: number, lifetimeMs: number | undefined, random: Random): number {
  const told = isMeshError(error, 'SLV-2014') ? error.detail['retryAfterSeconds'] : undefined;
  return typeof told === 'number' ? toldDelayMs(told, lifetimeMs, random) : retryDelayMs(failures, lifetimeMs, random);
}

/** @returns the body of a good answer. Throws SLV-2014 when it is none that was agreed on */
export function parseAnswer<T>(answer: MeshResponse, schema: z.ZodType<T>, url: string): T {
  try {
    return schema.parse(JSON.parse(answer.body.toString('utf8')));
  } catch (cause) {
    throw new MeshError('SLV-2014', `The identity service at ${url} answered with what is not of its contract.`, {
      detail: { status: answer.status },
      cause,
    });
  }
}

/** The remote service's own words, with its code. */
export function refusal(answer: MeshResponse, url: string): MeshError {
  const problem = readProblem(answer.body);
  const words =
    problem === undefined
      ? `HTTP ${answer.status}`
      : `${problem.code ?? answer.status} ${problem.title}: ${problem.detail ?? ''} ${problem.fix ?? ''}`;
  return new MeshError('SLV-2014', `The identity service at ${url} refused: ${words.trim()}`, {
    detail: {
      status: answer.status,
      ...(problem?.code === undefined ? {} : { remoteCode: problem.code }),
      ...retryAfterOf(answer),
    },
  });
}

/** Retry-After in seconds (RFC 9110 10.2.3); a date, which we never send, is taken for nothing. */
function retryAfterOf({ headers }: MeshResponse): { retryAfterSeconds?: number } {
  const text = headers['retry-after'] ?? '';
  if (!/^\d{1,6}$/.test(text)) return {};
  return { retryAfterSeconds: Math.min(Math.max(Number(text), 1), longestToldSeconds) };
}
