import { z } from 'zod';
import { type Issued, issuedSchema, joinTokenSchema, nodeProofHeader } from '#policies/wire/identity-api.ts';
import { meshRequest } from '#runtime/mesh-http.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { type KeyPair, makeKeyPair, privateKeyPem, publicKeyPem } from '#runtime/svid/node-key.ts';
import { signNodeProof } from '#runtime/svid/node-proof.ts';
import { svidOfPem } from '#runtime/svid/node-state.ts';
import type { Svid } from '#runtime/svid/svid.ts';
import type { TrustStore } from '#runtime/svid/trust-store.ts';
import { forgeRequest, testKey } from './forge-request.ts';

/** The answer to a test's request. */
export interface Answer {
  readonly status: number;
  readonly headers: Record<string, string>;
  /** Parsed JSON, or an object with the text. */
  readonly body: Record<string, unknown>;
}

/** Options of one request of a test. */
export interface Ask {
  readonly method?: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly svid?: Svid;
}

/** A node of a test that has joined. */
export interface TestNode {
  readonly key: KeyPair;
  readonly nodeId: string;
}

/** What tests ask of an identity service as nodes and as operators. */
export abstract class ServiceCaller {
  abstract readonly context: ProcessContext;
  abstract readonly trust: TrustStore | undefined;
  abstract get url(): string;
  abstract get operatorToken(): Promise<string>;

  async ask(path: string, ask: Ask = {}): Promise<Answer> {
    const isText = typeof ask.body === 'string';
    const answer = await meshRequest({
      url: this.url + path,
      method: ask.method ?? (ask.body === undefined ? 'GET' : 'POST'),
      headers: { ...(ask.body === undefined ? {} : { 'content-type': 'application/json' }), ...ask.headers },
      ...(ask.body === undefined ? {} : { body: isText ? (ask.body as string) : JSON.stringify(ask.body) }),
      ...(ask.svid === undefined ? {} : { svid: ask.svid }),
      ...(this.trust === undefined ? {} : { trust: this.trust }),
      clock: this.context.clock,
      timeoutMs: 10_000,
    });
    const text = answer.body.toString('utf8');
    return { status: answer.status, headers: answer.headers, body: /^[[{]/.test(text) ? JSON.parse(text) : { text } };
  }

  /** As an operator. */
  async operate(path: string, ask: Ask = {}): Promise<Answer> {
    return this.ask(path, { ...ask, headers: { ...ask.headers, 'x-consul-token': await this.operatorToken } });
  }

  async joinToken(services: readonly string[], more: { node?: string; ttlSeconds?: number } = {}): Promise<string> {
    const { body } = await this.operate('/v1/identity/join-tokens', { body: { services, ...more } });
    return joinTokenSchema.parse(body).token ?? '';
  }

  /** Redeems a token with a node's key. */
  async join(token: string, key = makeKeyPair(), node = 'node-1'): Promise<Answer> {
    const proof = await signNodeProof(key, { content: token }, this.context);
    return this.ask('/v1/identity/join', { body: { token, node, publicKey: publicKeyPem(key), proof } });
  }

  /** A node with a grant. */
  async node(...services: readonly string[]): Promise<TestNode> {
    const key = makeKeyPair();
    const { body } = await this.join(await this.joinToken(services), key);
    return { key, nodeId: z.object({ nodeId: z.string() }).parse(body).nodeId };
  }

  /** Asks for an SVID with the proof of a node's key. */
  async issue(node: TestNode, request: Readonly<Record<string, unknown>>, more: Ask = {}): Promise<Answer> {
    const body = JSON.stringify({ csr: forgeRequest(), ...request });
    const proof = await signNodeProof(node.key, { nodeId: node.nodeId, content: body }, this.context);
    return this.ask('/v1/identity/svids', { ...more, body, headers: { [nodeProofHeader]: proof, ...more.headers } });
  }

  /** An SVID of a node, to show. */
  async svid(node: TestNode, service: string): Promise<{ svid: Svid; issued: Issued }> {
    const key = testKey();
    const { body } = await this.issue(node, { service, csr: forgeRequest({ key }) });
    const issued = issuedSchema.parse(body);
    return { svid: svidOfPem(issued.chain, privateKeyPem(key)), issued };
  }
}
