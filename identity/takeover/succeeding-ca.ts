import { MeshError } from '#policies/errors/mesh-error.ts';
import type { TrustDomain } from '#policies/spiffe-id.ts';
import { readCertificate } from '#policies/svid-leaf.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { spkiPin } from '#runtime/svid/first-contact.ts';
import { labelOf, placeOf } from '../backends/ca-config.ts';
import type { CaBackend, CaBackendKind, CaHealth, SignedChain, SigningOrder } from '../ca-backend.ts';
import type { LeafSigner } from '../leaf-template.ts';
import type { RotatingAuthorities, Takeover, ValidityOfAuthorities } from '../rotation/rotating-authorities.ts';
import * as machine from '../rotation/rotation.ts';
import { issuingOf, pairAbove, proveCa } from './prove-ca.ts';
import type { CaSource, TakeoverJournal, TakeoverRecord } from './takeover-record.ts';

const maxRaces = 16;

/** What it is made of. */
export interface SucceedingCaParts {
  /** As it was loaded, and saved since. */
  readonly record: TakeoverRecord;
  readonly journal: TakeoverJournal;
  /** The CA that signs in the state of the record. */
  readonly signer: CaBackend;
  /** The CA that the configuration asks for and that is not in use: what takes over, or will. */
  readonly next: { readonly backend: CaBackend; readonly source: CaSource } | undefined;
  /** Takes away what is left of a CA from which another has taken over: keys, pins. */
  readonly clear: (left: CaSource, kept: CaSource) => Promise<void>;
  readonly trustDomain: TrustDomain;
  readonly context: ProcessContext;
}

/** What a record means for trusting and showing; made anew with each. */
interface InUse {
  readonly record: TakeoverRecord;
  /** Undefined: what the CA in use says. */
  readonly roots: readonly Uint8Array[] | undefined;
  readonly rotation: machine.Rotation;
}

/**
 * The CA of the mesh, whichever that is, and the takeover of one by another: a rotation of the root whose next authority is another CA. While the new
 * roots spread the old CA signs on; the new one signs once everybody has them; the old roots go when nothing hangs on them. Where no takeover is under
 * way, rotations are those of the CA in use, if its keys are here.
 */
export class SucceedingCa implements CaBackend, RotatingAuthorities {
  readonly rotating: RotatingAuthorities = this;
  readonly #parts: SucceedingCaParts;
  #inUse: InUse;
  #signer: CaBackend;
  /** Opened, and not signing yet. */
  #next: SucceedingCaParts['next'];
  /** It has signed, and calls to it may still be under way. */
  #left: CaBackend | undefined;
  /** The last change of the record: one after the other. */
  #changing: Promise<void> = Promise.resolve();

  constructor(parts: SucceedingCaParts) {
    this.#parts = parts;
    this.#signer = parts.signer;
    this.#next = parts.next;
    this.#inUse = this.#meaningOf(parts.record);
  }

  get kind(): CaBackendKind {
    return this.#signer.kind;
  }

  get health(): CaHealth {
    return this.#signer.health;
  }

  get issuingCaNotAfterMs(): number | undefined {
    return this.#signer.issuingCaNotAfterMs;
  }

  get crlSigner(): LeafSigner | undefined {
    return this.#signer.crlSigner;
  }

  get tokenEndsAtMs(): number | undefined {
    return this.#signer.tokenEndsAtMs;
  }

  get roots(): readonly Uint8Array[] {
    return this.#inUse.roots ?? this.#signer.roots;
  }

  get state(): machine.Rotation {
    return this.#own?.state ?? this.#inUse.rotation;
  }

  get validity(): ValidityOfAuthorities {
    if (this.#own !== undefined) return this.#own.validity;
    const { root } = this.#inUse.rotation.active;
    const der = this.roots.find((each) => spkiPin(each) === root) ?? this.roots[0];
    const { notBeforeMs, notAfterMs } = readCertificate(der ?? new Uint8Array());
    return { root: { notBeforeMs, notAfterMs }, issuing: undefined };
  }

  get keysAreHere(): boolean {
    return this.#own !== undefined;
  }

  get isTakeoverAsked(): boolean {
    return this.#inUse.record.state === 'settled' && this.#next !== undefined;
  }

  get takeover(): Takeover | undefined {
    const { record } = this.#inUse;
    if (record.state === 'under-way') return { from: labelOf(record.from.config), to: labelOf(record.to.config) };
    if (this.#next === undefined) return undefined;
    return { from: labelOf(record.active.config), to: labelOf(this.#next.source.config) };
  }

  async sign(order: SigningOrder, signal?: AbortSignal): Promise<SignedChain> {
    const signer = this.#signer;
    const { record, rotation } = this.#inUse;
    const signed = await signer.sign(order, signal);
    if (record.state === 'settled' && signer.rotating !== undefined) return signed;
    await this.#note(signer, signed, order);
    return { ...signed, chain: withCross(signed.chain, rotation.active.cross), roots: signer.roots };
  }

  prepare(target: machine.RotationTarget): Promise<void> {
    return this.#change(async (record) => {
      if (record.state === 'under-way')
        throw new MeshError('SLV-2180', `The takeover by another CA is ${record.rotation.state}.`);
      const own = this.#own;
      const isFree = own === undefined || own.state.state === 'idle';
      if (target === 'root' && this.#next !== undefined && isFree) return this.#prepareTakeover(record, this.#next);
      if (own === undefined)
        throw new MeshError('SLV-2181', `The keys are not here: the CA is ${labelOf(record.active.config)}.`);
      await own.prepare(target);
      return record;
    });
  }

  take(step: machine.RotationStep): Promise<void> {
    return this.#change(async (record) => {
      if (record.state === 'settled') {
        await this.#requireOwn().take(step);
        return record;
      }
      const rotation = machine.take(record.rotation, step, this.#parts.context.clock());
      if (rotation.state === 'idle')
        return { state: 'settled', active: record.to, pair: this.#signer.rotating ? undefined : rotation.active };
      if (step !== 'activate') return { ...record, rotation };
      if (this.#next === undefined) throw new Error('there is nothing to activate');
      const proven = await this.#prove(this.#next.backend);
      return { ...record, rotation: { ...rotation, active: machine.withIssuing(rotation.active, proven.issuing) } };
    });
  }

  declareCompromised(): Promise<void> {
    return this.#change(async (record) => {
      if (record.state === 'under-way') {
        const rotation = machine.declareCompromised(record.rotation);
        return rotation.state === 'idle' ? record : { ...record, rotation };
      }
      await this.#own?.declareCompromised();
      return record;
    });
  }

  taint(): Promise<void> {
    return this.#change(async (record) => {
      if (record.state === 'under-way') {
        const rotation = machine.taint(record.rotation);
        return rotation.state === 'idle' ? record : { ...record, rotation };
      }
      await this.#requireOwn().taint();
      return record;
    });
  }

  /**
   * Has the next CA sign at once, whoever trusts it: the one in use is lost. Both roots are trusted from then on.
   * @returns what state was left; undefined: no other CA was to take over, or it had done so
   * @throws MeshError what the next CA says when it can't sign
   */
  async takeOverNow(): Promise<machine.Rotation['state'] | undefined> {
    const { state } = this.state;
    if (this.#next === undefined) return undefined;
    if (this.#inUse.record.state === 'settled') await this.prepare('root');
    await this.declareCompromised();
    const steps = {
      idle: 'publish',
      prepared: 'publish',
      published: 'see',
      seen: 'activate',
      activated: undefined,
    } as const;
    for (let step = steps[this.state.state]; step !== undefined; step = steps[this.state.state]) await this.take(step);
    this.#parts.context.log.warn({ ...this.takeover, state }, 'the next CA signs, trusted by everybody or not');
    return state;
  }

  async close(): Promise<void> {
    await this.#changing;
    await Promise.all([this.#signer.close(), this.#next?.backend.close(), this.#left?.close()]);
  }

  /** The rotations of the CA in use, where its keys are here and nothing takes over from it. */
  get #own(): RotatingAuthorities | undefined {
    return this.#inUse.record.state === 'settled' ? this.#signer.rotating : undefined;
  }

  #requireOwn(): RotatingAuthorities {
    if (this.#own === undefined) throw new Error('a rotation that is idle has no step');
    return this.#own;
  }

  async #prepareTakeover(
    record: Extract<TakeoverRecord, { state: 'settled' }>,
    next: NonNullable<SucceedingCaParts['next']>,
  ): Promise<TakeoverRecord> {
    const { clock, log } = this.#parts.context;
    const { roots, state } = this;
    const proven = await this.#prove(next.backend);
    const newRoot = next.source.roots.find((der) => spkiPin(der) === proven.root);
    const cross = newRoot && (await this.#signer.certifyRoot?.(newRoot));
    const pair = cross === undefined ? proven : { ...proven, cross: Buffer.from(cross).toString('base64') };
    const rotation = machine.prepare({ state: 'idle', active: state.active }, 'root', pair, clock());
    if (rotation.state === 'idle') throw new Error('a prepared rotation is not idle');
    const from = { config: record.active.config, roots };
    log.info({ from: labelOf(from.config), to: labelOf(next.source.config) }, 'another CA is to take over');
    return { state: 'under-way', rotation, from, to: next.source };
  }

  #prove(ca: CaBackend): Promise<machine.AuthorityPair> {
    return proveCa(ca, this.#parts.trustDomain, this.#parts.context.clock);
  }

  /** Remembers under what a CA elsewhere signs: it may make itself a new issuing CA at any time, and all of them hang on its root. */
  async #note(signer: CaBackend, signed: SignedChain, order: SigningOrder): Promise<void> {
    const issuing = issuingOf(signed);
    const known = this.#pairOf(signer, this.#inUse.record);
    if (known !== undefined && (issuing === undefined || names(known, issuing))) return;
    await this.#change(async (record) => {
      const pair = this.#pairOf(signer, record);
      const noted = await pairAbove(signed, order, signer.roots, this.#parts.context.clock());
      if (pair !== undefined && names(pair, noted.issuing)) return record; // another call was quicker
      const now = pair === undefined ? noted : machine.withIssuing(pair, noted.issuing);
      if (record.state === 'settled') return { ...record, pair: now };
      const { rotation } = record;
      const isOld = rotation.state === 'activated' && signer === this.#left;
      return { ...record, rotation: isOld ? { ...rotation, old: now } : { ...rotation, active: now } };
    });
  }

  #pairOf(signer: CaBackend, record: TakeoverRecord): machine.AuthorityPair | undefined {
    if (record.state === 'settled') return signer === this.#signer ? record.pair : undefined;
    const { rotation } = record;
    return rotation.state === 'activated' && signer === this.#left ? rotation.old : rotation.active;
  }

  /** Decides on a record, writes it down, and only then acts on it. */
  #change(decide: (record: TakeoverRecord) => Promise<TakeoverRecord>): Promise<void> {
    const { clear, context } = this.#parts;
    const changed = this.#changing.then(async () => {
      const { before, record } = await this.#save(decide);
      if (record === before) return;
      this.#follow(before, record);
      if (before.state !== 'under-way' || record.state !== 'settled') return;
      await this.#closeLeft();
      await clear(before.from, before.to).catch((err: unknown) => {
        context.log.warn({ err }, 'what is left of the former CA could not be removed; it is of no more use');
      });
    });
    this.#changing = changed.catch(() => undefined); // its caller hears of it; the next change is another matter
    return changed;
  }

  /** Decides again where another process was quicker: of one CA, each notes under what it was signed for. */
  async #save(
    decide: (record: TakeoverRecord) => Promise<TakeoverRecord>,
  ): Promise<{ before: TakeoverRecord; record: TakeoverRecord }> {
    const { journal } = this.#parts;
    for (let race = 0; race < maxRaces; race++) {
      const before = this.#inUse.record;
      const record = await decide(before);
      if (record === before || (await journal.save(record))) return { before, record };
      const found = await journal.load();
      if (found?.state !== 'settled' || before.state !== 'settled' || !isSameSource(found.active, before.active))
        throw new MeshError('SLV-2185', 'Another identity process has changed which CA is in use.');
      this.#inUse = this.#meaningOf(found);
    }
    throw new MeshError('SLV-3505', 'Which CA is in use is being noted by many at once.');
  }

  #follow(before: TakeoverRecord, record: TakeoverRecord): void {
    const isActivation =
      before.state === 'under-way' &&
      before.rotation.state === 'seen' &&
      record.state === 'under-way' &&
      record.rotation.state === 'activated';
    if (isActivation && this.#next !== undefined) {
      this.#left = this.#signer;
      this.#signer = this.#next.backend;
      this.#next = undefined;
    }
    this.#inUse = this.#meaningOf(record);
  }

  async #closeLeft(): Promise<void> {
    const left = this.#left;
    this.#left = undefined;
    await left?.close();
  }

  #meaningOf(record: TakeoverRecord): InUse {
    if (record.state === 'settled') {
      const first = record.active.roots[0] ?? this.#signer.roots[0] ?? new Uint8Array();
      const root = first.length === 0 ? '' : spkiPin(first);
      return { record, roots: undefined, rotation: { state: 'idle', active: record.pair ?? { root, issuing: root } } };
    }
    const { rotation, from, to } = record;
    switch (rotation.state) {
      case 'prepared':
        return { record, rotation, roots: from.roots };
      case 'published':
      case 'seen':
        return { record, rotation, roots: together(from.roots, to.roots) };
      case 'activated':
        return { record, rotation, roots: together(to.roots, from.roots) };
    }
  }
}

function names({ issuing, earlier = [] }: machine.AuthorityPair, id: machine.AuthorityId): boolean {
  return issuing === id || earlier.includes(id);
}

/** Whether they are one CA: in one place, with the same roots. How one logs in may differ. */
function isSameSource(one: CaSource, other: CaSource): boolean {
  return placeOf(one.config) === placeOf(other.config) && together(one.roots, other.roots).length === one.roots.length;
}

/** Both, the first ones first, none twice. */
function together(first: readonly Uint8Array[], second: readonly Uint8Array[]): readonly Uint8Array[] {
  return [...first, ...second.filter((der) => !first.some((each) => Buffer.from(each).equals(der)))];
}

/** With the new root certified by the old one behind it, as long as that outlives the leaf. */
function withCross(chain: readonly Uint8Array[], cross: string | undefined): readonly Uint8Array[] {
  const [leaf] = chain;
  if (cross === undefined || leaf === undefined) return chain;
  const der = new Uint8Array(Buffer.from(cross, 'base64'));
  return readCertificate(der).notAfterMs > readCertificate(leaf).notAfterMs ? [...chain, der] : chain;
}
