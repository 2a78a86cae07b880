import type { ProcessContext } from '#runtime/process-context.ts';
import { formatSocketAddress } from '#runtime/socket-address.ts';
import type { ByteStream } from '../byte-stream.ts';
import { LinkedSet } from '../linked-set.ts';
import type { Drainable } from '../server-stream.ts';
import type { MeshName } from '../view/mesh-names.ts';
import { OutboundListener } from './listener.ts';

/** Each is a socket of this process. */
const maxListeners = 1_024;
/** How often an address is tried again that could not be had. */
const retryMs = 30_000;
/** Conflicts named in one line of the log. */
const maxNamed = 10;

/** Why a service is not reached at its `.mesh` address. */
export interface MeshConflict {
  readonly service: string;
  /** `host:port` */
  readonly address: string;
  readonly reason: string;
}

/** One address: open, being opened, or not to be had. */
interface Place {
  readonly service: string;
  readonly host: string;
  readonly port: number;
  readonly listener: OutboundListener;
  state: 'opening' | 'listening' | { readonly conflict: string };
}

/** What the listeners need of their service. */
export interface MeshListenersOptions {
  readonly service: string;
  readonly process: Pick<ProcessContext, 'sockets' | 'log'>;
  readonly maxConnections: number;
  /** Takes a connection to a service. */
  serve(service: string, stream: ByteStream, serving: LinkedSet<Drainable>): void;
}

/**
 * Listens for each service of the mesh at the address that its name `<service>.mesh` resolves to, at the ports that its instances have. Services that come and go
 * in the catalog do so here. A port that an application of this host uses or registers is left to it, at all addresses: it may want them all one day.
 */
export class MeshListeners {
  readonly #options: MeshListenersOptions;
  readonly #places = new Map<string, Place>();
  /** Take no more connections, have some still. */
  readonly #leaving = new Set<OutboundListener>();
  #names: readonly MeshName[] = [];
  #reserved: ReadonlySet<number> | undefined;
  /** Those of which the log has told. */
  #told = new Set<string>();
  #retry: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: MeshListenersOptions) {
    this.#options = options;
  }

  /** What the catalog says now. */
  setNames(names: readonly MeshName[]): void {
    this.#names = names;
    this.#reconcile();
  }

  /** Ports that applications of this host have registered. Nothing is opened before they are known. */
  setReserved(ports: ReadonlySet<number>): void {
    if (this.#reserved?.symmetricDifference(ports).size === 0) return;
    this.#reserved = ports;
    this.#reconcile();
  }

  /** Addresses that are listened at. */
  get listening(): number {
    return [...this.#places.values()].filter(({ state }) => state === 'listening').length;
  }

  get conflicts(): MeshConflict[] {
    return [...this.#places.values()].flatMap(({ service, host, port, state }) =>
      typeof state === 'object'
        ? [{ service, address: formatSocketAddress({ host, port }), reason: state.conflict }]
        : [],
    );
  }

  get openConnections(): number {
    const open = [...this.#places.values()].reduce((sum, { listener }) => sum + listener.openConnections, 0);
    return [...this.#leaving].reduce((sum, listener) => sum + listener.openConnections, open);
  }

  /** @param idleMs as in OutboundListener */
  drain(idleMs = 0): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    for (const { listener } of this.#places.values()) listener.drain(idleMs);
  }

  close(): void {
    this.drain();
    for (const { listener } of this.#places.values()) listener.close();
    for (const listener of this.#leaving) listener.close();
  }

  #reconcile(): void {
    if (this.#closed || this.#reserved === undefined) return;
    for (const listener of this.#leaving) if (listener.openConnections === 0) this.#leaving.delete(listener);
    const wanted = new Map<string, Pick<Place, 'service' | 'host' | 'port'>>();
    for (const { service, address, ports } of this.#names)
      for (const port of ports) wanted.set(`${address}:${port}`, { service, host: address, port });
    for (const [key, place] of this.#places) {
      const service = wanted.get(key)?.service;
      const reserved = this.#reserved.has(place.port);
      // What could not be had is tried anew; what the reserved ports say may have changed.
      if (service !== place.service || typeof place.state === 'object' || reserved) this.#leave(key, place);
    }
    const opening: Promise<void>[] = [];
    for (const [key, { service, host, port }] of wanted) {
      if (this.#places.has(key)) continue;
      const place: Place = { service, host, port, listener: this.#makeListener(service), state: 'opening' };
      this.#places.set(key, place);
      if (this.#reserved.has(port)) place.state = { conflict: 'the port is registered by a service of this host' };
      else if (this.#places.size > maxListeners) place.state = { conflict: `more than ${maxListeners} addresses` };
      else opening.push(this.#open(key, place));
    }
    Promise.all(opening).then(
      () => this.#tell(),
      (err) => this.#options.process.log.error({ err }, 'addresses of the mesh not opened'),
    );
  }

  async #open(key: string, place: Place): Promise<void> {
    const { host, port, listener } = place;
    try {
      await listener.listen({ host, port });
      place.state = 'listening';
    } catch (error) {
      place.state = { conflict: error instanceof Error ? error.message : String(error) };
    }
    // It went while it was being opened.
    if (this.#closed || this.#places.get(key) !== place) listener.drain();
  }

  #leave(key: string, { listener }: Place): void {
    this.#places.delete(key);
    listener.drain();
    this.#leaving.add(listener);
  }

  #makeListener(service: string): OutboundListener {
    const serving = new LinkedSet<Drainable>();
    const { process, maxConnections, serve } = this.#options;
    return new OutboundListener({
      serving,
      serve: (stream) => serve(service, stream, serving),
      process,
      maxConnections,
    });
  }

  #tell(): void {
    const { service } = this.#options;
    const { log } = this.#options.process;
    const conflicts = this.conflicts;
    const keyOf = ({ address, reason }: MeshConflict): string => `${address} ${reason}`;
    const fresh = conflicts.filter((conflict) => !this.#told.has(keyOf(conflict)));
    this.#told = new Set(conflicts.map(keyOf));
    if (fresh.length > 0) {
      const named = fresh.slice(0, maxNamed);
      log.warn({ service, count: fresh.length, conflicts: named }, 'services not reached by their .mesh address here');
    }
    clearTimeout(this.#retry);
    if (conflicts.length > 0 && !this.#closed) this.#retry = setTimeout(() => this.#reconcile(), retryMs).unref();
  }
}
