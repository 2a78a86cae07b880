import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { maxStepBytes, maxSuccessionSteps, successionLifeMs } from '#policies/wire/succession.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { spkiPin } from '#runtime/svid/first-contact.ts';
import { signSuccession } from '#runtime/svid/sign-succession.ts';
import { openSuccession } from '#runtime/svid/succession.ts';
import type { SvidSource } from '#runtime/svid/svid.ts';
import type { Store } from '#store/contract.ts';
import { isCompromised, type Rotation } from './rotation/rotation.ts';
import { storedRecord } from './stored-record.ts';
import type { TrustPublication } from './trust-publication.ts';

const key = 'identity/succession';
const stepSchema = z.object({
  jws: z.string().max(maxStepBytes),
  issuedAtMs: z.number(),
  /** The root that it leads to: hex SHA-256 of its SubjectPublicKeyInfo. */
  to: z.string(),
});
const records = storedRecord(z.object({ steps: z.array(stepSchema).max(maxSuccessionSteps) }));
type Steps = ReturnType<typeof records.decode>['steps'];

/** What it stands on. */
export interface SuccessionParts {
  readonly store: Store;
  readonly trust: TrustPublication;
  /** By which the steps are signed: under the old root until the new one is activated. */
  readonly own: SvidSource;
  readonly context: Pick<ProcessContext, 'clock' | 'log'>;
}

/**
 * The steps by which a node that slept through replacements of the root finds its way to the one of today (docs/decisions/0011-succession-of-roots.md). A step is signed when
 * a new root is published, by the SVID under the old one, and stored before the new one signs anything. One record for all instances on a store.
 */
export class Succession {
  readonly #parts: SuccessionParts;

  constructor(parts: SuccessionParts) {
    this.#parts = parts;
  }

  /** The steps that still lead on, oldest first. @throws MeshError as the store does, SLV-2143 for a record of another kind */
  async steps(): Promise<readonly string[]> {
    const kv = await this.#parts.store.get(key);
    return kv === undefined ? [] : this.#young(records.decode(kv).steps).map(({ jws }) => jws);
  }

  /**
   * Brings the steps in line with the rotation, whose bundle is published: a step to a root that comes, none to one that was given up, none at all from one that is
   * compromised. Without an SVID under the old root no step can be signed: that is logged, and holds nothing up.
   * @throws MeshError as the store does
   */
  async note(rotation: Rotation): Promise<void> {
    const { store } = this.#parts;
    const kv = await store.get(key);
    const before = kv === undefined ? [] : records.decode(kv).steps;
    const steps = isCompromised(rotation) ? [] : await this.#after(rotation, this.#young(before));
    if (steps.length === before.length && steps.every(({ jws }, i) => jws === before[i]?.jws)) return;
    const { succeeded } = await store.txn({
      compare: [kv === undefined ? { kind: 'absent', key } : { kind: 'mod-revision', key, equals: kv.modRevision }],
      success: [{ kind: 'put', key, value: records.encode({ steps: steps.slice(-maxSuccessionSteps) }) }],
    });
    if (!succeeded) throw new MeshError('SLV-3505', 'The succession of roots is being changed by another.');
  }

  async #after(rotation: Rotation, steps: Steps): Promise<Steps> {
    const { active } = rotation;
    const isComing = rotation.state === 'published' || rotation.state === 'seen';
    if (isComing && steps.at(-1)?.to === rotation.next.root) return steps;
    const taken = steps.slice(0, steps.findLastIndex(({ to }) => to === active.root) + 1);
    if (!isComing) return taken;
    const step = await this.#signed(rotation.next.root).catch((err: unknown) => {
      const { log } = this.#parts.context;
      log.warn(
        { err },
        'no step to the new root could be signed: who sleeps through the rotation may have to join again',
      );
    });
    return step === undefined ? taken : [...taken, step];
  }

  /** Verified as a node will that knows the old roots only. */
  async #signed(to: string): Promise<Steps[number]> {
    const { trust, own, context } = this.#parts;
    const { bundle } = trust;
    const svid = own.current;
    if (svid === undefined)
      throw new MeshError('SLV-2140', 'The identity service has no SVID of its own to sign with.');
    const issuedAtMs = context.clock();
    const jws = await signSuccession({ bundle, svid, nowMs: issuedAtMs });
    const x509Authorities = bundle.x509Authorities.filter((der) => spkiPin(der) !== to);
    const held = { bundle: { ...bundle, x509Authorities, sequence: 0 }, isRevoked: () => false };
    await openSuccession([jws], held, issuedAtMs);
    return { jws, issuedAtMs, to };
  }

  #young(steps: Steps): Steps {
    const nowMs = this.#parts.context.clock();
    return steps.filter(({ issuedAtMs }) => nowMs - issuedAtMs <= successionLifeMs);
  }
}
