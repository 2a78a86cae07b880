import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogger } from '#runtime/logging.ts';
import { type ProcessContext, systemContext } from '#runtime/process-context.ts';
import { firstContact } from '#runtime/svid/first-contact.ts';
import { TrustStore } from '#runtime/svid/trust-store.ts';
import type { Store } from '#store/contract.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { type IdentityConfig, type RunningIdentity, startIdentity } from '../main.ts';
import { ServiceCaller } from './service-caller.ts';

export type { Answer, Ask, TestNode } from './service-caller.ts';

/** One test is many callers of one address. */
const plenty = { perCaller: { perSecond: 1_000, burst: 1_000 }, global: { perSecond: 1_000, burst: 1_000 } };

/** A real identity service on loopback, over HTTPS, with its data in a folder of its own; and what a client needs to talk to it. */
export class RunningService extends ServiceCaller implements AsyncDisposable {
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
    super();
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

  get url(): string {
    return this.identity.url;
  }

  get operatorToken(): Promise<string> {
    return readFile(join(this.folder, 'operator.token'), 'utf8').then((text) => text.trim());
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
  const config = identityConfig(folder, overrides);
  try {
    return { store, identity: await startIdentity(config, context, store) };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** What a service of the tests is told: embedded CA, any port, no rate that a test could reach. */
export function identityConfig(folder: string, overrides: Partial<IdentityConfig> = {}): IdentityConfig {
  return {
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
}
