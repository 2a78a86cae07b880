import { createHash, createPrivateKey, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { type JwtAuthority, readJwtAuthority } from '#policies/jwt-authority.ts';
import { readFileBounded, writeFileAtomic } from '#runtime/atomic-file.ts';
import { pause as realPause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { makeKeyPair, privateKeyPem } from '#runtime/svid/node-key.ts';
import type { IdentityAudit } from '../audit-events.ts';
import { afterStep, type KeyState, type KeyStep, keyTiming, nextKeyStep } from './key-plan.ts';
import { keepOnEveryMs, type PublishedKeys } from './published-keys.ts';

const sinceMs = z.number();
const journalSchema = z.object({
  keys: z
    .array(
      z.object({
        kid: z.string(),
        /** PKCS#8 PEM, EC P-256. */
        privateKeyPem: z.string(),
        state: z.discriminatedUnion('kind', [
          z.object({ kind: z.literal('prepared') }),
          z.object({ kind: z.literal('published'), sinceMs }),
          z.object({ kind: z.literal('active'), sinceMs }),
          z.object({ kind: z.literal('retired'), sinceMs }),
        ]),
      }),
    )
    .max(16),
});

interface SigningKey {
  readonly kid: string;
  readonly privateKeyPem: string;
  readonly privateKey: KeyObject;
  readonly authority: JwtAuthority;
  readonly state: KeyState;
}

/** What the keys need of the world. */
export interface SigningKeysOptions {
  /** Where `jwt-keys.json` is kept, 0600; undefined: in memory. */
  readonly dataDir: string | undefined;
  readonly audit: IdentityAudit;
  readonly context: ProcessContext;
  /** What is known of the keys of all processes; absent: there is no other. */
  readonly published?: PublishedKeys | undefined;
  /** How to wait; tests pass their own. */
  readonly pause?: typeof realPause;
}

const maxFileBytes = 65_536;
const longestSleepMs = 30_000;
/** After a step that failed: the disk is full, the store is away. */
const retryMs = 10_000;

/**
 * The keys that sign JWT-SVIDs, ES256. Every step of their life (key-plan.ts) is written to the journal, the file itself, before it counts; so a crash at
 * any point leaves a state from which the next start goes on. A step that fails is tried again, and until then the active key goes on signing.
 */
export class SigningKeys {
  readonly #options: SigningKeysOptions;
  readonly #path: string | undefined;
  #keys: readonly SigningKey[];
  #keptOnAtMs = 0;

  private constructor(options: SigningKeysOptions, keys: readonly SigningKey[]) {
    this.#options = options;
    this.#path = pathIn(options.dataDir);
    this.#keys = keys;
  }

  /** The keys of the last run, or a first one. @throws MeshError SLV-2143 when the journal can't be read, SLV-1005 when it can't be written */
  static async open(options: SigningKeysOptions): Promise<SigningKeys> {
    const journal = await loadJournal(pathIn(options.dataDir));
    const known = (await options.published?.list())?.map(({ kid }) => kid) ?? [];
    const keys = new SigningKeys(options, known.length === 0 ? journal : journal.map((key) => asKnown(key, known)));
    const { step } = nextKeyStep(keys.#keys, keyTiming);
    if (step.kind === 'begin') await keys.#take(known.length === 0 ? step : { kind: 'prepare' }, undefined);
    await keys.#keepOn();
    return keys;
  }

  /** All keys of this process that the bundle is to hold. */
  get authorities(): readonly JwtAuthority[] {
    return this.#keys.map(({ authority }) => authority);
  }

  /** All keys that the bundle is to hold, those of other processes too, in a steady order. */
  async all(): Promise<readonly JwtAuthority[]> {
    const { published } = this.#options;
    if (published === undefined) return this.authorities;
    const kids = new Set(this.#keys.map(({ kid }) => kid));
    const others = (await published.list()).filter(({ kid }) => !kids.has(kid));
    return [...this.authorities, ...others].sort((a, b) => (a.kid < b.kid ? -1 : 1));
  }

  /** The key to sign with now. @throws MeshError SLV-2184 while it is not known to all yet */
  get active(): { readonly kid: string; readonly privateKey: KeyObject } {
    const active = this.#keys.find(({ state }) => state.kind === 'active');
    if (active !== undefined) return active;
    const { dueAtMs } = nextKeyStep(this.#keys, keyTiming);
    const retryAfterSeconds = Math.max(1, Math.ceil((dueAtMs - this.#options.context.clock()) / 1_000));
    throw new MeshError(
      'SLV-2184',
      `The key by which this process signs JWT-SVIDs is not known to all yet: in ${retryAfterSeconds} s it is.`,
      { detail: { retryAfterSeconds } },
    );
  }

  /** Takes each step when it is due, until the signal aborts. @param publish puts `authorities` into the bundle; resolved: it is out */
  async run(publish: () => Promise<void>, signal: AbortSignal): Promise<void> {
    const { context, pause = realPause } = this.#options;
    while (!signal.aborted) {
      const { step, dueAtMs } = nextKeyStep(this.#keys, keyTiming);
      // In short sleeps by the wall clock: a machine that slept notices.
      const waitMs = dueAtMs - context.clock();
      try {
        await this.#keepOn();
        if (waitMs > 0) {
          await pause(Math.min(waitMs, longestSleepMs), signal);
          continue;
        }
        await this.#take(step, publish);
      } catch (err) {
        context.log.error({ err, step: step.kind }, 'keys of JWT-SVIDs: a step failed; still trying');
        await pause(retryMs, signal);
      }
    }
  }

  /** Journal first; then memory; then the bundle. `publish` alone waits for the bundle before it is written down. */
  async #take(step: KeyStep, publish: (() => Promise<void>) | undefined): Promise<void> {
    const { context, audit } = this.#options;
    if (step.kind === 'publish') await publish?.();
    const nowMs = context.clock();
    const keys = this.#after(step, nowMs);
    await this.#write(keys);
    this.#keys = keys;
    this.#keptOnAtMs = 0;
    await this.#keepOn();
    if (step.kind === 'drop') {
      await this.#options.published?.drop([step.kid]);
      await publish?.();
    }
    const kid = 'kid' in step ? step.kid : keys.at(-1)?.kid;
    context.log.info({ step: step.kind, kid }, 'keys of JWT-SVIDs');
    await audit.append({ event: 'jwt-key-changed', step: step.kind, kid });
  }

  /** Has the other processes publish the keys of this one, as long as it is here. */
  async #keepOn(): Promise<void> {
    const { published, context } = this.#options;
    const nowMs = context.clock();
    if (published === undefined || Math.abs(nowMs - this.#keptOnAtMs) < keepOnEveryMs) return;
    await published.keep(this.authorities);
    this.#keptOnAtMs = nowMs;
  }

  #after(step: KeyStep, nowMs: number): readonly SigningKey[] {
    switch (step.kind) {
      case 'begin':
        return [...this.#keys, makeKey({ kind: 'active', sinceMs: nowMs })];
      case 'prepare':
        return [...this.#keys, makeKey({ kind: 'prepared' })];
      default:
        return afterStep(this.#keys, step, nowMs);
    }
  }

  async #write(keys: readonly SigningKey[]): Promise<void> {
    if (this.#path === undefined) return;
    const journal = { keys: keys.map(({ kid, privateKeyPem, state }) => ({ kid, privateKeyPem, state })) };
    await writeFileAtomic(this.#path, JSON.stringify(journal));
  }
}

function pathIn(dataDir: string | undefined): string | undefined {
  return dataDir === undefined ? undefined : join(dataDir, 'jwt-keys.json');
}

/** A key that the other processes have forgotten, or never heard of, has to become known again before it signs. */
function asKnown(key: SigningKey, known: readonly string[]): SigningKey {
  return known.includes(key.kid) || key.state.kind === 'retired' ? key : { ...key, state: { kind: 'prepared' } };
}

function makeKey(state: KeyState): SigningKey {
  return readKey(privateKeyPem(makeKeyPair()), state);
}

/** `kid` is the key's own JWK thumbprint (RFC 7638), so no two keys ever share one. */
function readKey(pem: string, state: KeyState): SigningKey {
  const privateKey = createPrivateKey(pem);
  const { crv, kty, x, y } = privateKey.export({ format: 'jwk' });
  const kid = createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url');
  const authority = readJwtAuthority({ kid, crv, kty, x, y });
  if (authority === undefined || crv !== 'P-256')
    throw new MeshError('SLV-2143', 'It holds a key that is not EC P-256.');
  return { kid, privateKeyPem: pem, privateKey, authority, state };
}

async function loadJournal(path: string | undefined): Promise<readonly SigningKey[]> {
  const content = path === undefined ? undefined : await readFileBounded(path, maxFileBytes);
  if (path === undefined || content === undefined) return [];
  try {
    const { keys } = journalSchema.parse(JSON.parse(content.toString('utf8')));
    return keys.map((key) => readKey(key.privateKeyPem, key.state));
  } catch (cause) {
    throw new MeshError('SLV-2143', `${path} does not hold the keys of JWT-SVIDs.`, { detail: { path }, cause });
  }
}
