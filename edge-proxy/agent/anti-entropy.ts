import { isMeshError } from '#policies/errors/mesh-error.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { CatalogClient, CatalogDeregistration, CatalogNode, CatalogRegistration } from './catalog-client.ts';
import type { LocalState } from './local-state.ts';
import { identityOf } from './service-definition.ts';
import type { Timers } from './timers.ts';
import { checkView } from './views.ts';

/** How often everything is compared with the catalog (Consul's base interval); up to a quarter more by jitter. */
const compareEveryMs = 60_000;
const firstRetryMs = 1000;
const longestRetryMs = 30_000;

/** A change of output alone waits half of this, and up to all of it more by jitter (Consul's check_update_interval): it interests people, not callers. */
const outputEveryMs = 300_000;

/** Who this node is to the catalog. */
export interface NodePlace {
  readonly name: string;
  readonly address: string;
  readonly datacenter: string;
}

interface Removal {
  readonly body: CatalogDeregistration;
  readonly as: string | undefined;
}

type Result = 'done' | 'unreachable';

/**
 * Keeps the catalog as the local state is: tells it of changes at once, compares all of it from time to time and when the catalog is back, and
 * registers again what it lost or has differently. What it holds of this node beyond that is left alone: other proxies of the host put it there.
 */
export class AntiEntropy {
  readonly #place: NodePlace;
  readonly #state: LocalState;
  readonly #catalog: CatalogClient;
  readonly #context: ProcessContext;
  readonly #timers: Timers;
  /** Ids of services to tell; '' for the checks of the node. */
  readonly #changed = new Set<string>();
  /** As above, but only the output of a check: told later, unless the status changes before. By what cancels it. */
  readonly #later = new Map<string, () => void>();
  /** By what is removed: `service/ID`, `check/ID`. Told before anything else, so that what was removed and registered again stays. */
  readonly #removed = new Map<string, Removal>();
  /** Refused by the catalog: tried again with the next comparison, not before. */
  readonly #refused = new Map<string, string>();
  #compare = false;
  #failures = 0;
  #running: Promise<void> | undefined;
  #cancelNext: () => void = () => undefined;
  #stopped = false;
  #waiting: ((synced: boolean) => void)[] = [];

  constructor(place: NodePlace, state: LocalState, catalog: CatalogClient, context: ProcessContext, timers: Timers) {
    this.#place = place;
    this.#state = state;
    this.#catalog = catalog;
    this.#context = context;
    this.#timers = timers;
    this.#scheduleNext();
  }

  changed(serviceId: string, urgency: 'now' | 'later'): void {
    if (urgency === 'now') this.#tellNow(serviceId);
    else if (!this.#stopped && !this.#later.has(serviceId)) {
      const waitMs = outputEveryMs * (0.5 + this.#context.random());
      const cancel = this.#timers.after(waitMs, () => this.#tellNow(serviceId));
      this.#later.set(serviceId, cancel);
    }
  }

  removed(key: string, body: CatalogDeregistration, as: string | undefined): void {
    this.#removed.set(key, { body, as });
    this.#refused.delete(key);
    this.#wake();
  }

  /** Compares all of it now: the catalog may have been away, or another one. */
  compareNow(): void {
    this.#compare = true;
    this.#failures = 0;
    this.#wake();
  }

  /** Resolves with true once the catalog has all that is registered here (what it refused, it has not), with false when stopped before. */
  synced(): Promise<boolean> {
    if (this.#stopped || this.#inSync()) return Promise.resolve(!this.#stopped);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** What the catalog refused, in its words, by `service/ID` or `check/ID`. */
  get refused(): ReadonlyMap<string, string> {
    return this.#refused;
  }

  /** Tells the catalog nothing more. Resolves when nothing is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelNext();
    for (const cancel of this.#later.values()) cancel();
    this.#later.clear();
    await this.#running;
    this.#tellWaiting(false);
  }

  #tellNow(serviceId: string): void {
    this.#changed.add(serviceId);
    this.#wake();
  }

  #inSync(): boolean {
    const nothingToTell = this.#changed.size === 0 && this.#removed.size === 0 && this.#refused.size === 0;
    return nothingToTell && this.#running === undefined;
  }

  #wake(): void {
    if (this.#stopped || this.#running !== undefined || this.#failures > 0) return;
    // Not in this very turn: what is registered together is told together.
    this.#running = Promise.resolve().then(() => this.#run());
  }

  async #run(): Promise<void> {
    while (!this.#stopped && (this.#compare || this.#changed.size > 0 || this.#removed.size > 0)) {
      const result = await this.#tell();
      if (result === 'unreachable') {
        this.#failures += 1;
        break;
      }
      if (this.#failures > 0) {
        this.#failures = 0;
        this.#compare = true;
        this.#context.log.info('catalog reached again: comparing all registrations');
      }
    }
    this.#running = undefined;
    this.#scheduleNext();
    if (this.#inSync()) this.#tellWaiting(true);
  }

  #tellWaiting(synced: boolean): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve(synced);
  }

  #scheduleNext(): void {
    this.#cancelNext();
    if (this.#stopped) return;
    const { random } = this.#context;
    const retryMs = Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(this.#failures - 1, 10));
    const waitMs = this.#failures > 0 ? retryMs * (0.5 + random() / 2) : compareEveryMs * (1 + random() / 4);
    this.#cancelNext = this.#timers.after(waitMs, () => {
      this.#compare = true;
      // Past the gate of #wake, which holds changes back while the catalog is away.
      this.#running ??= this.#run();
    });
  }

  /** One round: compare if asked, then removals, then registrations. Ends at the first sign that the catalog can't be reached. */
  async #tell(): Promise<Result> {
    if (this.#compare) {
      this.#compare = false;
      const result = await this.#attempt('compare', () => this.#findDifferences());
      if (result === 'unreachable') {
        this.#compare = true;
        return result;
      }
    }
    for (const [key, removal] of [...this.#removed]) {
      this.#removed.delete(key);
      const result = await this.#attempt(key, () => this.#catalog.deregister(removal.body, removal.as));
      if (result === 'unreachable') {
        if (!this.#removed.has(key)) this.#removed.set(key, removal);
        return result;
      }
    }
    for (const id of [...this.#changed]) {
      this.#changed.delete(id);
      const result = await this.#attempt(`service/${id}`, () => this.#register(id));
      if (result === 'unreachable') {
        this.#changed.add(id);
        return result;
      }
    }
    return 'done';
  }

  async #attempt(what: string, work: () => Promise<void>): Promise<Result> {
    const { log } = this.#context;
    try {
      await work();
      this.#refused.delete(what);
      return 'done';
    } catch (error) {
      if (isMeshError(error, 'SLV-4301')) {
        if (this.#refused.get(what) !== error.message) log.warn({ err: error, what }, 'the catalog refused');
        this.#refused.set(what, error.message);
        return 'done';
      }
      if (this.#failures === 0) log.warn({ err: error, what }, 'catalog not reached: registrations wait');
      return 'unreachable';
    }
  }

  async #register(id: string): Promise<void> {
    const service = this.#state.services.get(id);
    if (service === undefined && id !== '') return; // Deregistered meanwhile.
    // The latest output goes with it.
    this.#later.get(id)?.();
    this.#later.delete(id);
    await this.#catalog.register(this.#bodyOf(id), service && identityOf(service));
  }

  #bodyOf(id: string): CatalogRegistration {
    const { name, address, datacenter } = this.#place;
    const service = this.#state.services.get(id);
    const checks = this.#state.checksOf(id).map((check) => checkView(check, service, name));
    return {
      Node: name,
      Address: address,
      Datacenter: datacenter,
      ...(service && { Service: service }),
      Checks: checks,
    };
  }

  async #findDifferences(): Promise<void> {
    const ids = [...this.#state.services.keys(), ...(this.#state.checksOf('').length > 0 ? [''] : [])];
    if (ids.length === 0) return;
    const [first] = this.#state.services.values();
    const held = await this.#catalog.nodeState(this.#place.name, first && identityOf(first));
    for (const id of ids) if (differs(this.#bodyOf(id), held, this.#later.has(id))) this.#changed.add(id);
  }
}

/**
 * True when the catalog lacks something of the registration or holds it otherwise. What it holds beyond is its own.
 * @param butOutput the output of checks may differ: it is told later
 */
function differs({ Service, Checks }: CatalogRegistration, held: CatalogNode, butOutput: boolean): boolean {
  if (Service !== undefined) {
    const theirs = held.services.get(Service.ID);
    // With EnableTagOverride the tags are the catalog's to say (Consul).
    const { Tags, ...rest } = Service;
    if (theirs === undefined || !covers(theirs, Service.EnableTagOverride ? rest : { ...rest, Tags })) return true;
  }
  return Checks.some(({ CheckID, Name, Status, Notes, Output }) => {
    const theirs = held.checks.get(CheckID);
    return theirs === undefined || !covers(theirs, { Name, Status, Notes, ...(butOutput ? {} : { Output }) });
  });
}

/** Whether `theirs` has every value of `ours`; a value that is empty may be left out (Go's omitempty). */
function covers(theirs: unknown, ours: unknown): boolean {
  if (Array.isArray(ours)) {
    if (theirs === undefined || theirs === null) return ours.length === 0;
    return Array.isArray(theirs) && theirs.length === ours.length && ours.every((item, i) => covers(theirs[i], item));
  }
  if (typeof ours === 'object' && ours !== null) {
    const other = typeof theirs === 'object' && theirs !== null ? (theirs as Record<string, unknown>) : {};
    return Object.entries(ours).every(([key, value]) => covers(other[key], value));
  }
  return theirs === ours || (theirs === undefined && (ours === '' || ours === 0 || ours === false));
}
