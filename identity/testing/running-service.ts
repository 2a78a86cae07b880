import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { type Issued, issuedSchema, joinTokenSchema, nodeProofHeader } from '#policies/wire/identity-api.ts';
import { createLogger } from '#runtime/logging.ts';
import { meshRequest } from '#runtime/mesh-http.ts';
import { type ProcessContext, systemContext } from '#runtime/process-context.ts';
import { firstContact } from '#runtime/svid/first-contact.ts';
import { type KeyPair, makeKeyPair, privateKeyPem, publicKeyPem } from '#runtime/svid/node-key.ts';
import { signNodeProof } from '#runtime/svid/node-proof.ts';
import { svidOfPem } from '#runtime/svid/node-state.ts';
import type { Svid } from '#runtime/svid/svid.ts';
import { TrustStore } from '#runtime/svid/trust-store.ts';
import type { Store } from '#store/contract.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { type IdentityConfig, type RunningIdentity, startIdentity } from '../main.ts';
import { forgeRequest, testKey } from './forge-request.ts';

/** One test is many callers of one address. */
const plenty = { perCaller: { perSecond: 1_000, burst: 1_000 }, global: { perSecond: 1_000, burst: 1_000 } };

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

/** A real identity service on loopback, over HTTPS, with its data in a folder of its own; and what a client needs to talk to it. */
export class RunningService implements AsyncDisposable {
  readonly context: ProcessContext;
  readonly folder: string;
  readonly #overrides: Partial<IdentityConfig>;
  store: Store;
  identity: RunningIdentity;
  trust: TrustStore | undefined;

  private constructor(
    context: ProcessContext,
    folder: string,
    overrides: Partial<IdentityConfig>,
    store: Store,
    identity: RunningIdentity,
  ) {
    this.context = context;
    this.folder = folder;
    this.#overrides = overrides;
    this.store = store;
    this.identity = identity;
  }

  static async start(
    overrides: Partial<IdentityConfig> = {},
    world: Partial<ProcessContext> = {},
  ): Promise<RunningService> {
    const context = { ...systemContext(createLogger({ process: 'test', level: 'silent' })), ...world };
    const folder = await mkdtemp(join(tmpdir(), 'selvedge-identity-'));
    const { store, identity } = await launch(context, folder, overrides).catch(async (error: unknown) => {
      await rm(folder, { recursive: true }); // tests of what can't start leave nothing behind either
      throw error;
    });
    const service = new RunningService(context, folder, overrides, store, identity);
    await service.#meet();
    return service;
  }

  /** Stops it and starts it again on the same data. */
  async restart(): Promise<void> {
    await this.identity.close(0);
    await this.store.close();
    Object.assign(this, await launch(this.context, this.folder, this.#overrides));
    await this.#meet();
  }

  get operatorToken(): Promise<string> {
    return readFile(join(this.folder, 'operator.token'), 'utf8').then((text) => text.trim());
  }

  async ask(path: string, ask: Ask = {}): Promise<Answer> {
    const isText = typeof ask.body === 'string';
    const answer = await meshRequest({
      url: this.identity.url + path,
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

  auditLog(): Promise<string> {
    return readFile(join(this.folder, 'audit.jsonl'), 'utf8');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.identity.close(0);
    await this.store.close();
    await rm(this.folder, { recursive: true });
  }

  async #meet(): Promise<void> {
    if (this.identity.url.startsWith('http:')) return;
    const caPin = this.identity.pins[0];
    const { context } = this;
    const opened = await firstContact({
      identityUrl: this.identity.url,
      caPin,
      context,
      signal: AbortSignal.timeout(10_000),
    });
    this.trust = new TrustStore({ opened, clock: context.clock, log: context.log });
  }
}

async function launch(
  context: ProcessContext,
  folder: string,
  overrides: Partial<IdentityConfig>,
): Promise<{ store: Store; identity: RunningIdentity }> {
  const store = await openSqliteStore({ path: join(folder, 'identity.db'), clock: context.clock, log: context.log });
  const config: IdentityConfig = {
    host: '127.0.0.1',
    port: 0,
    dataDir: folder,
    trustDomain: 'mesh.test',
    datacenter: 'dc1',
    svidTtlSeconds: 14_400,
    open: false,
    backend: { kind: 'embedded' },
    rates: { join: plenty, issue: plenty },
    ...overrides,
  };
  try {
    return { store, identity: await startIdentity(config, context, store) };
  } catch (error) {
    await store.close();
    throw error;
  }
}
