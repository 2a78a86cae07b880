import { MeshError } from '#policies/errors/mesh-error.ts';
import type { RotationView } from '#policies/wire/rotation-api.ts';
import type { pause as realPause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { IdentityAudit } from '../audit-events.ts';
import type { HeldSvids } from '../status/held-svids.ts';
import { type Decision, nextStep, type RotationFacts, type Sightings } from './next-step.ts';
import type { RotatingAuthorities } from './rotating-authorities.ts';
import { type Rotation, type RotationTarget, superseded } from './rotation.ts';
import type { RotationTimes } from './rotation-times.ts';
import { rotationView } from './rotation-view.ts';

/** What the driver stands between. */
export interface RotationDriverParts {
  readonly rotating: RotatingAuthorities;
  readonly times: RotationTimes;
  /** Publishes the trust bundle of the present state. */
  readonly publish: () => Promise<void>;
  /** Of the bundle that was published last. */
  readonly bundleSequence: () => number;
  /** Who does not have the bundle that was published last. */
  readonly sightings: (signal: AbortSignal) => Promise<Sightings>;
  readonly held: HeldSvids;
  /** Whether our own SVID is under the authority in use. */
  readonly isOwnFresh: () => boolean;
  readonly audit: IdentityAudit;
  readonly context: ProcessContext;
  readonly pause: typeof realPause;
  /** Called after each state was written down and synced. */
  readonly onState?: ((rotation: Rotation) => void) | undefined;
}

/** How often a wait is looked at, and how often the ages of the CAs are. */
const waitMs = 1_000;
const idleMs = 30_000;
/** How soon a step that failed is tried again: a CA that is away is not to be stormed. */
const failedMs = 5_000;
const publishing: Decision = {
  kind: 'wait',
  reason: 'the trust bundle of this state is not published yet',
  missing: [],
  overdue: false,
};

/** Drives rotations from step to step, by an operator's word or by age, and goes on with one that a crash interrupted. */
export class RotationDriver {
  readonly #parts: RotationDriverParts;
  #decision: Decision = { kind: 'rest' };
  /** An operator does not want to wait in this state. */
  #forced: Rotation | undefined;
  #settledSinceMs: number | undefined;
  /** The earliest reading of the clock in this state. */
  #earliestMs = Infinity;
  /** Whose bundle is out. Compared, not flagged: the state changes within a step, before that step returns. */
  #published: Rotation | undefined;
  #wake = new AbortController();
  #warnedOverdue = false;
  /** Why the last try to go on failed. */
  #failure: string | undefined;
  /** One thing at a time: a step, or an operator's word. */
  #busy: Promise<unknown> = Promise.resolve();

  constructor(parts: RotationDriverParts) {
    this.#parts = parts;
  }

  get state(): Rotation {
    return this.#parts.rotating.state;
  }

  get #unpublished(): boolean {
    return this.state !== this.#published;
  }

  get #shown(): Decision {
    if (this.#failure !== undefined)
      return { kind: 'wait', reason: `it could not go on: ${this.#failure}`, missing: [], overdue: false };
    return this.#unpublished ? publishing : this.#decision;
  }

  /** Where it stands and whom it waits for, as last looked at. */
  view(): RotationView {
    const { rotating, times, context, bundleSequence } = this.#parts;
    return rotationView(rotating, {
      decision: this.#shown,
      bundleSequence: bundleSequence(),
      nowMs: context.clock(),
      rootRotatesByItself: times.rootAtFraction !== undefined,
    });
  }

  /**
   * Begins a rotation, or with `force` has the one under way go past what it waits for; never both: who forces one that has just ended does not mean the
   * next. With `compromised` the root that goes is declared so, of a rotation that begins or that is under way.
   * @throws MeshError SLV-2180 when another is under way (or this one, and it is not forced), SLV-2183 when there is none to force, SLV-1005 when it can't
   *   be written down
   */
  rotate(target: RotationTarget, options: { force: boolean; compromised?: boolean; by: string }): Promise<void> {
    return this.#alone(async () => {
      const { rotating } = this.#parts;
      const { state } = rotating;
      if (options.compromised === true) {
        if (state.state === 'idle') await this.#begin(target, options.by);
        await this.#declareCompromised(target, options.by);
      } else if (options.force) {
        if (state.state === 'idle') throw new MeshError('SLV-2183', 'No rotation is under way.');
        if (state.target !== target)
          throw new MeshError('SLV-2180', `What is under way is a rotation of the ${state.target}.`);
        await this.#parts.audit.append({ event: 'rotation-forced', target, state: state.state, by: options.by });
        this.#forced = state;
      } else {
        await this.#begin(target, options.by);
      }
      this.#wake.abort();
    });
  }

  /** Published before the operator is answered: from then on nothing leads from the old root to the new one. */
  async #declareCompromised(target: RotationTarget, by: string): Promise<void> {
    const { rotating, audit } = this.#parts;
    const { state } = rotating;
    if (target !== 'root' || state.state === 'idle' || state.target !== 'root')
      throw new MeshError('SLV-2180', `No root is being replaced: the rotation is ${state.state}.`);
    await audit.append({
      event: 'root-compromised',
      by,
      root: (state.state === 'activated' ? state.old : state.active).root,
    });
    await rotating.declareCompromised();
    this.#changed();
    await this.#publish();
  }

  /**
   * Has everything issued so far renewed at once: what is under the CA that a rotation left behind, or, when none is under way, under the issuing CA in
   * use, which is replaced for it.
   * @throws MeshError SLV-2180 while a rotation has not got that far
   */
  taint(by: string): Promise<void> {
    return this.#alone(async () => {
      const { rotating, audit } = this.#parts;
      if (rotating.state.state === 'idle') {
        await this.#begin('issuing', by);
        await rotating.take('activate');
        this.#changed();
      }
      const { state } = rotating.state;
      if (state !== 'activated')
        throw new MeshError('SLV-2180', `The rotation is ${state}: nothing has been left behind yet.`);
      await audit.append({ event: 'authority-tainted', by });
      await rotating.taint();
      this.#changed();
      await this.#publish();
      this.#wake.abort();
    });
  }

  async #begin(target: RotationTarget, by: string): Promise<void> {
    const { rotating, audit } = this.#parts;
    await rotating.prepare(target);
    this.#changed();
    const { state, takeover } = rotating;
    await audit.append({ event: 'rotation-begun', target, by, active: state.active.issuing, ...takeover });
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#busy.then(work);
    this.#busy = done.catch(() => undefined); // its caller hears of it
    return done;
  }

  /** Until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { pause } = this.#parts;
    while (!signal.aborted) {
      try {
        let more = true;
        while (more && !signal.aborted) more = await this.#alone(() => this.#advance(signal));
        this.#failure = undefined;
      } catch (err) {
        if (signal.aborted) return;
        this.#failed(err);
      }
      await pause(this.#sleepMs, AbortSignal.any([signal, this.#wake.signal]));
      if (this.#wake.signal.aborted) this.#wake = new AbortController();
    }
  }

  /** @returns whether there may be more to do at once */
  async #advance(signal: AbortSignal): Promise<boolean> {
    const { rotating } = this.#parts;
    if (this.#unpublished) await this.#publish();
    if (rotating.state.state === 'idle' && rotating.isTakeoverAsked) await this.#begin('root', 'configuration');
    const due = this.#dueByAge();
    if (due !== undefined) await this.#begin(due, 'age');
    const { state } = rotating;
    this.#decision = nextStep(state, await this.#facts(state, signal), this.#forced === state);
    this.#warnWhenOverdue(this.#decision);
    if (this.#decision.kind !== 'step') return false;
    await rotating.take(this.#decision.step);
    this.#changed();
    return true;
  }

  get #sleepMs(): number {
    if (this.#failure !== undefined) return failedMs;
    return this.state.state === 'idle' && !this.#unpublished ? idleMs : waitMs;
  }

  /** It is tried again and again: said once is enough, and who asks is told. */
  #failed(err: unknown): void {
    const reason = err instanceof MeshError ? err.message : 'a fault, see the log of the identity service';
    if (reason !== this.#failure)
      this.#parts.context.log.error({ err, state: this.state.state }, 'the rotation could not go on; trying again');
    this.#failure = reason;
  }

  async #publish(): Promise<void> {
    const { state } = this;
    await this.#parts.publish();
    this.#published = state;
  }

  /** A state was written down. */
  #changed(): void {
    const { context, rotating, onState } = this.#parts;
    this.#decision = { kind: 'rest' };
    this.#forced = undefined;
    this.#settledSinceMs = undefined;
    this.#earliestMs = Infinity;
    this.#warnedOverdue = false;
    const { state } = rotating;
    const what = 'target' in state ? { target: state.target } : {};
    context.log.info(
      { ...what, state: state.state, root: state.active.root, issuing: state.active.issuing },
      'rotation',
    );
    onState?.(state);
  }

  #dueByAge(): RotationTarget | undefined {
    const { rotating, times, context } = this.#parts;
    if (rotating.state.state !== 'idle' || !rotating.keysAreHere) return undefined;
    const { root, issuing } = rotating.validity;
    const age = ({ notBeforeMs, notAfterMs }: typeof root): number =>
      (context.clock() - notBeforeMs) / (notAfterMs - notBeforeMs);
    if (times.rootAtFraction !== undefined && age(root) >= times.rootAtFraction) return 'root';
    // An issuing CA that ends with its root would not live longer when made anew.
    if (issuing === undefined || issuing.notAfterMs >= root.notAfterMs) return undefined;
    return times.issuingAtFraction !== undefined && age(issuing) >= times.issuingAtFraction ? 'issuing' : undefined;
  }

  async #facts(state: Rotation, signal: AbortSignal): Promise<RotationFacts> {
    const { context, times, held, isOwnFresh, sightings } = this.#parts;
    const nowMs = context.clock();
    this.#earliestMs = Math.min(this.#earliestMs, nowMs);
    const old = superseded(state);
    const holdouts = held.newest().filter(({ authority }) => authority !== undefined && old.includes(authority));
    if (state.state !== 'activated' || holdouts.length > 0 || !isOwnFresh()) this.#settledSinceMs = undefined;
    else this.#settledSinceMs = Math.min(this.#settledSinceMs ?? nowMs, nowMs);
    return {
      nowMs,
      earliestMs: this.#earliestMs,
      sightings: state.state === 'published' ? await sightings(signal) : { kind: 'by-time' },
      blindWaitMs: times.blindWaitMs,
      deadlineMs: times.deadlineMs,
      holdouts: holdouts.map(({ holder }) => holder),
      // Our own is one of them: it has to be renewed before what signed it goes.
      oldEndsAtMs: isOwnFresh() ? held.endUnder(old) : Math.max(held.endUnder(old), nowMs),
      settledSinceMs: this.#settledSinceMs,
      settleMs: times.settleMs,
    };
  }

  #warnWhenOverdue(decision: Decision): void {
    if (decision.kind !== 'wait' || !decision.overdue || this.#warnedOverdue) return;
    this.#warnedOverdue = true;
    const { reason, missing } = decision;
    this.#parts.context.log.warn({ reason, missing }, 'the rotation has passed its deadline; an operator may force it');
  }
}
