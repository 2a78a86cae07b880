import { isMeshError } from '#policies/errors/mesh-error.ts';
import { pause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { Store } from '#store/contract.ts';
import { checkConfig, type IdentityConfig } from '../identity-config.ts';
import type { RunningIdentity } from '../main.ts';
import { type Admitted, admit } from './admission.ts';
import { standingOf } from './standing.ts';

/** What one of several processes is told beside its configuration. */
export interface SharedIdentityOptions {
  readonly config: IdentityConfig;
  readonly context: ProcessContext;
  /** Opened by the caller and outliving this. */
  readonly store: Store;
  /** By which others name this process: its host. */
  readonly name: string;
  /** How it serves once it is admitted (identity/main.ts). */
  readonly start: (admitted: Admitted, config: IdentityConfig) => Promise<RunningIdentity>;
  /** Called each time that it begins to serve. */
  readonly onServing: (identity: RunningIdentity, role: Admitted['role']) => void;
  /** Called when it stands by. @param inCharge the name of the process that serves */
  readonly onStandby: (inCharge: string) => void;
  /** Stops it, also while it stands by. */
  readonly signal: AbortSignal;
}

/** How soon it tries to serve again when that failed. */
const againMs = 1_000;
/** How often one that changes the CA looks whether that is done. */
const lookEveryMs = 1_000;

/** One of several identity processes: serving, or standing by, until closed. */
export interface SharedIdentity {
  close(graceMs?: number): Promise<void>;
}

/**
 * Serves as one of several processes on a store, whenever it may: waits for its place, serves until it loses that, and begins anew, with nothing
 * remembered but what is written down. Resolves when it serves for the first time.
 *
 * @throws MeshError as admit and startIdentity do, the first time; later failures are logged, and tried again
 */
export async function startSharedIdentity(options: SharedIdentityOptions): Promise<SharedIdentity> {
  const closing = new AbortController();
  const signal = AbortSignal.any([options.signal, closing.signal]);
  let serving = await serve(options, options.config, signal);
  // Where any port would have done, clients know this one by now.
  const config = { ...options.config, port: serving.identity.port };
  let graceMs: number | undefined;
  const keep = async (): Promise<void> => {
    for (;;) {
      await over(serving, options, closing.signal);
      await serving.identity.close(closing.signal.aborted ? graceMs : 0);
      await serving.admitted.place.release();
      const next = await serveAgain(options, config, signal);
      if (next === undefined) return;
      serving = next;
    }
  };
  const keeping = keep();
  return {
    async close(grace) {
      graceMs = grace;
      closing.abort();
      await keeping;
    },
  };
}

interface Serving {
  readonly admitted: Admitted;
  readonly identity: RunningIdentity;
}

async function serve(options: SharedIdentityOptions, config: IdentityConfig, signal: AbortSignal): Promise<Serving> {
  const { context, store, name, onStandby } = options;
  const admitted = await admit({ config: checkConfig(config), store, name, context, onStandby, signal });
  try {
    const identity = await options.start(admitted, config);
    options.onServing(identity, admitted.role);
    return { admitted, identity };
  } catch (error) {
    await admitted.place.release();
    throw error;
  }
}

/** @returns undefined when it is to stop */
async function serveAgain(
  options: SharedIdentityOptions,
  config: IdentityConfig,
  signal: AbortSignal,
): Promise<Serving | undefined> {
  while (!signal.aborted) {
    try {
      return await serve(options, config, signal);
    } catch (err) {
      if (signal.aborted) return undefined;
      if (!isMeshError(err)) throw err;
      options.context.log.error({ err }, 'the identity service does not serve; trying again');
      await pause(againMs, signal);
    }
  }
  return undefined;
}

/** When it has lost its place, is to stop, or has outgrown its place: the CA that took over is in use, and other processes may ask it too. */
async function over(
  { admitted: { place, role } }: Serving,
  { config, context, store }: SharedIdentityOptions,
  stop: AbortSignal,
): Promise<void> {
  const signal = AbortSignal.any([place.lost, stop]);
  if (role === 'member' || config.backend.kind === 'embedded') return aborted(signal);
  while (!signal.aborted) {
    await pause(lookEveryMs, signal);
    try {
      if ((await standingOf(config, store)).role === 'member') {
        context.log.info('the CA of the configuration is in use: other processes may run beside this one');
        return;
      }
    } catch (err) {
      if (!isMeshError(err)) throw err;
      context.log.warn({ err }, 'which CA is in use can not be read now; looking again');
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) resolve();
  signal.addEventListener('abort', () => resolve(), { once: true });
  return promise;
}
