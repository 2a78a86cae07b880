import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { identityStatusSchema } from '#policies/wire/identity-api.ts';
import { createLogger } from '#runtime/logging.ts';
import { type ProcessContext, systemContext } from '#runtime/process-context.ts';
import { firstContact } from '#runtime/svid/first-contact.ts';
import { TrustStore } from '#runtime/svid/trust-store.ts';
import type { Store } from '#store/contract.ts';
import { checkConfig, type IdentityConfig } from '../identity-config.ts';
import { type RunningIdentity, startIdentity } from '../main.ts';
import { type Admitted, admit } from '../processes/admission.ts';
import { identityConfig } from './running-service.ts';
import { ServiceCaller } from './service-caller.ts';

/** One of several identity services on a store, in the process of the test, with a data directory of its own. */
export class OneOfSeveral extends ServiceCaller implements AsyncDisposable {
  readonly context: ProcessContext;
  readonly folder: string;
  readonly config: IdentityConfig;
  readonly admitted: Admitted;
  readonly identity: RunningIdentity;
  trust: TrustStore | undefined;
  /** What operators show, where the data directory has no token. */
  operators: string | undefined;
  #hasEnded = false;

  private constructor(
    context: ProcessContext,
    folder: string,
    config: IdentityConfig,
    admitted: Admitted,
    identity: RunningIdentity,
    token?: string,
  ) {
    super();
    this.context = context;
    this.folder = folder;
    this.config = config;
    this.admitted = admitted;
    this.identity = identity;
    this.operators = token;
  }

  /**
   * Waits until it is admitted, and starts it.
   * @param options.caOf whose `ca` directory it is given
   * @param options.operatorToken what operators show, where its data directory has no token
   */
  static async start(
    store: Store,
    options: {
      config?: Partial<IdentityConfig>;
      caOf?: OneOfSeveral;
      operatorToken?: string;
      folder?: string;
      onStandby?: () => void;
      signal?: AbortSignal;
    } = {},
  ): Promise<OneOfSeveral> {
    const context = systemContext(createLogger({ process: 'test', level: 'silent' }));
    const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'selvedge-several-')));
    if (options.caOf !== undefined) {
      await mkdir(join(folder, 'ca'), { mode: 0o700 });
      await cp(join(options.caOf.folder, 'ca'), join(folder, 'ca'), { recursive: true });
    }
    const config = identityConfig(folder, options.config);
    const { onStandby = () => undefined, signal = new AbortController().signal } = options;
    try {
      const admitted = await admit({
        config: checkConfig(config),
        store,
        name: folder,
        context,
        onStandby,
        signal,
        patienceMs: 500,
      });
      const identity = await startIdentity(config, context, store, admitted).catch(async (error: unknown) => {
        await admitted.place.release();
        throw error;
      });
      const one = new OneOfSeveral(context, folder, config, admitted, identity, options.operatorToken);
      const opened = await firstContact({ identityUrl: identity.url, caPin: identity.pins[0], context, signal });
      one.trust = new TrustStore({ opened, clock: context.clock, log: context.log });
      return one;
    } catch (error) {
      if (options.folder === undefined) await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  get url(): string {
    return this.identity.url;
  }

  get operatorToken(): Promise<string> {
    if (this.operators !== undefined) return Promise.resolve(this.operators);
    return readFile(join(this.folder, 'operator.token'), 'utf8').then((text) => text.trim());
  }

  /** Has another token in the data directory. */
  static async withToken(folder: string, token: string): Promise<void> {
    await writeFile(join(folder, 'operator.token'), `${token}\n`, { mode: 0o600 });
  }

  /** Who shares the store, as its status says. */
  async processes(): Promise<readonly string[]> {
    const { processes } = identityStatusSchema.parse((await this.ask('/v1/identity/status')).body);
    return processes?.list.map(({ role, self }) => `${role}${self ? ', asked' : ''}`) ?? [];
  }

  auditLog(): Promise<string> {
    return readFile(join(this.folder, 'audit.jsonl'), 'utf8');
  }

  /** Ends it, once; its data directory stays. */
  async end(): Promise<void> {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    await this.identity.close(0);
    await this.admitted.place.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
    await rm(this.folder, { recursive: true, force: true });
  }
}
