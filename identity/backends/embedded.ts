import { MeshError } from '#policies/errors/mesh-error.ts';
import type { TrustDomain } from '#policies/spiffe-id.ts';
import { readCertificate } from '#policies/svid-leaf.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { spkiPin } from '#runtime/svid/first-contact.ts';
import { clockSkewMs } from '#runtime/svid/verify-peer.ts';
import type { Store } from '#store/contract.ts';
import type { CaBackend, CaHealth, SignedChain, SigningOrder } from '../ca-backend.ts';
import type { RotatingAuthorities, ValidityOfAuthorities } from '../rotation/rotating-authorities.ts';
import * as machine from '../rotation/rotation.ts';
import { type Authority, certifyRoot, makeIssuingCa, makeRoot } from '../x509-authority.ts';
import { type AuthorityFiles, memoryAuthorityFiles, openAuthorityFiles } from './authority-files.ts';
import { type Issuer, issuerOf, requireOfTrustDomain, requireSignedBy, unusable } from './embedded-issuer.ts';
import { backdatedMs, signInProcess } from './in-process-issuer.ts';
import { withStoredJournal } from './stored-journal.ts';

const dayMs = 86_400_000;
/** Life of the root: long, because a new one must reach every node. */
export const rootLifeMs = 3_650 * dayMs;
/** Life of the issuing CA. Rotation replaces it at half of that. */
export const issuingLifeMs = 90 * dayMs;
/** The issuing CA is replaced without ceremony when less than this is left: nobody rotated it, the service was off for months. */
export const issuingRenewalMs = 30 * dayMs;
/** How far roots reach back: a clock that is hours behind, here or at a node, must not take one for unborn. An issuing CA is simply replaced. */
const rootBackdatedMs = dayMs;
/** Who slept through a root rotation is led to the new root for this long: nodes come back within 30 days, a rotation may wait for weeks. */
const crossLifeMs = 90 * dayMs;

/**
 * The embedded CA: an own root and an issuing CA on disk (or in memory only), leaves signed in process. Both can be rotated.
 *
 * @param options.dataDir undefined: in memory, with a new root at each start
 * @param options.journalIn the store where several processes have the journal; absent: it is a file beside the keys
 * @throws MeshError SLV-2143 when the files hold something else than this trust domain's CA, SLV-1005 when they can't be used
 */
export async function openEmbeddedCa(
  options: { dataDir: string | undefined; trustDomain: TrustDomain; journalIn?: Store | undefined },
  context: ProcessContext,
): Promise<CaBackend & { readonly rotating: RotatingAuthorities }> {
  const { dataDir, trustDomain, journalIn } = options;
  const held = dataDir === undefined ? memoryAuthorityFiles() : await openAuthorityFiles(dataDir);
  const files = journalIn === undefined ? held : withStoredJournal(held, journalIn);
  const ca = new EmbeddedCa(files, trustDomain, context);
  await ca.open();
  return ca;
}

/** What a state of the rotation means for signing and trusting; made anew with each state. */
interface InUse {
  readonly rotation: machine.Rotation;
  readonly root: Authority;
  readonly issuer: Issuer;
  /** Trust anchors, DER. */
  readonly roots: readonly Uint8Array[];
  readonly validity: ValidityOfAuthorities;
}

class EmbeddedCa implements CaBackend, RotatingAuthorities {
  readonly kind = 'embedded';
  readonly rotating: RotatingAuthorities = this;
  readonly keysAreHere = true;
  readonly isTakeoverAsked = false;
  readonly takeover = undefined;
  readonly #files: AuthorityFiles;
  readonly #trustDomain: TrustDomain;
  readonly #context: ProcessContext;
  #inUse: InUse | undefined;
  /** The last change of the state: one after the other. */
  #changing: Promise<void> = Promise.resolve();
  #replacing: Promise<void> | undefined;

  constructor(files: AuthorityFiles, trustDomain: TrustDomain, context: ProcessContext) {
    this.#files = files;
    this.#trustDomain = trustDomain;
    this.#context = context;
  }

  /** Loads what the journal names, or makes a first root and issuing CA. */
  async open(): Promise<void> {
    const rotation = (await this.#files.loadJournal()) ?? (await this.#create());
    this.#inUse = await this.#load(rotation);
    await this.#freshIssuer();
  }

  get #now(): InUse {
    if (this.#inUse === undefined) throw new Error('the CA is not open');
    return this.#inUse;
  }

  get roots(): readonly Uint8Array[] {
    return this.#now.roots;
  }

  get state(): machine.Rotation {
    return this.#now.rotation;
  }

  get validity(): ValidityOfAuthorities {
    return this.#now.validity;
  }

  get issuingCaNotAfterMs(): number {
    return this.#now.issuer.notAfterMs;
  }

  get crlSigner(): Issuer {
    return this.#now.issuer;
  }

  get health(): CaHealth {
    const endMs = this.issuingCaNotAfterMs;
    if (endMs > this.#context.clock()) return { state: 'healthy' };
    return { state: 'unhealthy', sinceMs: endMs, reason: 'the issuing CA has expired and could not be replaced' };
  }

  async sign(order: SigningOrder): Promise<SignedChain> {
    const issuer = await this.#freshIssuer();
    const { cross } = issuer;
    const above = (leafNotAfterMs: number) =>
      cross !== undefined && cross.notAfterMs > leafNotAfterMs ? [cross.der] : [];
    return signInProcess(issuer, above, order, this.#context);
  }

  async close(): Promise<void> {
    await this.#changing;
  }

  /** Certifies the root of the CA that takes over from this one, so that who knows only ours believes it. @returns DER */
  async certifyRoot(rootDer: Uint8Array): Promise<Uint8Array> {
    const { root, validity } = this.#now;
    return certifyRoot(this.#fields(crossLifeMs, validity.root.notAfterMs), rootDer, root);
  }

  prepare(target: machine.RotationTarget): Promise<void> {
    return this.#change(async () => {
      const { rotation, root } = this.#now;
      if (rotation.state !== 'idle')
        throw new MeshError('SLV-2180', `The rotation of the ${targetOf(rotation)} is ${rotation.state}.`);
      const nowMs = this.#context.clock();
      const next = target === 'root' ? await this.#makePair(root) : await this.#makeIssuing(rotation.active, root);
      return machine.prepare(rotation, target, next, nowMs);
    });
  }

  take(step: machine.RotationStep): Promise<void> {
    return this.#change(async () => machine.take(this.#now.rotation, step, this.#context.clock()));
  }

  declareCompromised(): Promise<void> {
    return this.#change(async () => machine.declareCompromised(this.#now.rotation));
  }

  taint(): Promise<void> {
    return this.#change(async () => machine.taint(this.#now.rotation));
  }

  /** Decides on a state, writes it down, and only then acts on it. */
  #change(decide: () => Promise<machine.Rotation>): Promise<void> {
    const changed = this.#changing.then(async () => {
      const rotation = await decide();
      const inUse = await this.#load(rotation);
      await this.#files.saveJournal(rotation);
      this.#inUse = inUse;
      if (rotation.state !== 'idle') return;
      await this.#files.forgetOthers(rotation).catch((err: unknown) => {
        this.#context.log.warn({ err }, 'keys of retired CAs could not be removed; they are of no more use');
      });
    });
    this.#changing = changed.catch(() => undefined); // its caller hears of it; the next change is another matter
    return changed;
  }

  async #create(): Promise<machine.Rotation> {
    const rotation: machine.Rotation = { state: 'idle', active: await this.#makePair(undefined) };
    if (await this.#files.createJournal(rotation)) {
      this.#context.log.info({ trustDomain: this.#trustDomain, root: rotation.active.root }, 'made a root CA');
      return rotation;
    }
    // Another process was quicker; its root is the root.
    return (await this.#files.loadJournal()) ?? rotation;
  }

  async #load(rotation: machine.Rotation): Promise<InUse> {
    const { active } = rotation;
    const root = await this.#loadOne('root', active.root);
    const issuing = await this.#loadOne('issuing', active.issuing);
    requireSignedBy(issuing, root);
    const trusted = machine.trustedRoots(rotation);
    const roots = await Promise.all(trusted.map((id) => this.#loadOne('root', id)));
    const validityOf = ({ certificateDer }: Authority) => {
      const { notBeforeMs, notAfterMs } = readCertificate(certificateDer);
      return { notBeforeMs, notAfterMs };
    };
    return {
      rotation,
      root,
      issuer: issuerOf(issuing, active.cross),
      roots: roots.map(({ certificateDer }) => certificateDer),
      validity: { root: validityOf(root), issuing: validityOf(issuing) },
    };
  }

  async #loadOne(role: 'root' | 'issuing', id: machine.AuthorityId): Promise<Authority> {
    return requireOfTrustDomain(await this.#files.load(role, id), this.#trustDomain, role);
  }

  /** The issuing CA, replaced when its end comes near. While that fails, the old one signs on as long as it lives. */
  async #freshIssuer(): Promise<Issuer> {
    const nowMs = this.#context.clock();
    const { issuer, validity } = this.#now;
    // Near the end of the root there is no month to wait for: replacing would change nothing.
    const earlyMs = Math.min(issuingRenewalMs, (validity.root.notAfterMs - nowMs) / 3);
    // Made while our clock was ahead: nobody believes it before it begins.
    const isEarly = nowMs < issuer.notBeforeMs - clockSkewMs;
    if (issuer.notAfterMs - nowMs > earlyMs && !isEarly) return issuer;
    this.#replacing ??= this.#change(async () => {
      const { rotation, root } = this.#now;
      const { issuing } = await this.#makeIssuing(rotation.active, root);
      return machine.replaceIssuing(rotation, issuing);
    }).finally(() => {
      this.#replacing = undefined;
    });
    try {
      await this.#replacing;
    } catch (error) {
      if (issuer.notAfterMs <= nowMs) throw error;
      this.#context.log.error(
        { err: error, notAfter: new Date(issuer.notAfterMs) },
        'issuing CA not replaced; using the old one',
      );
    }
    return this.#now.issuer;
  }

  /** @param predecessor certifies the new root, so that who knows only it believes the new one */
  async #makePair(predecessor: Authority | undefined): Promise<machine.AuthorityPair> {
    const root = await makeRoot({ ...this.#fields(rootLifeMs), notBeforeMs: this.#context.clock() - rootBackdatedMs });
    const id = spkiPin(root.certificateDer);
    await this.#files.save('root', id, root);
    const pair = await this.#makeIssuing({ root: id }, root);
    if (predecessor === undefined) return pair;
    const endMs = readCertificate(predecessor.certificateDer).notAfterMs;
    const der = await certifyRoot(this.#fields(crossLifeMs, endMs), root.certificateDer, predecessor);
    return { ...pair, cross: Buffer.from(der).toString('base64') };
  }

  async #makeIssuing(
    under: Pick<machine.AuthorityPair, 'root' | 'cross'>,
    root: Authority,
  ): Promise<machine.AuthorityPair> {
    const endMs = readCertificate(root.certificateDer).notAfterMs;
    if (endMs <= this.#context.clock()) throw unusable('root', `it expired at ${new Date(endMs).toISOString()}`);
    const issuing = await makeIssuingCa(this.#fields(issuingLifeMs, endMs), root);
    const id = spkiPin(issuing.certificateDer);
    await this.#files.save('issuing', id, issuing);
    this.#context.log.info({ issuing: id }, 'made an issuing CA');
    return { ...under, issuing: id };
  }

  /** @param latestMs end of the signer, which nothing under it outlives */
  #fields(lifeMs: number, latestMs = Infinity) {
    const nowMs = this.#context.clock();
    return {
      trustDomain: this.#trustDomain,
      notBeforeMs: nowMs - backdatedMs,
      notAfterMs: Math.min(nowMs + lifeMs, latestMs),
      randomBytes: this.#context.randomBytes,
    };
  }
}

function targetOf(rotation: machine.Rotation): string {
  return 'target' in rotation ? `${rotation.target} CA` : 'CA';
}
