import { Agent } from 'node:http';
import { type Duplex, duplexPair } from 'node:stream';
import type { Sidecar } from '#edge-proxy/sidecar.ts';
import { duplexStream } from './duplex-stream.ts';

/** An agent of node:http whose connections lead into the mesh, without a port or a socket between. */
export class MeshAgent extends Agent {
  readonly #sidecar: Sidecar;
  readonly #open = new Set<Duplex>();

  constructor(sidecar: Sidecar) {
    // A connection costs next to nothing: what is dear, the tunnels, is kept behind it.
    super({ keepAlive: false, maxSockets: Number.POSITIVE_INFINITY });
    this.#sidecar = sidecar;
  }

  /** How many are open. */
  get connections(): number {
    return this.#open.size;
  }

  override createConnection(): Duplex {
    return this.#connect(false);
  }

  /** A connection for as many requests as its owner likes. */
  connect(): Duplex {
    return this.#connect(true);
  }

  #connect(lasts: boolean): Duplex {
    const [near, far] = duplexPair();
    this.#open.add(near);
    near.once('close', () => this.#open.delete(near));
    // Each end must hear of the other's: a pair does not tell.
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy(near.readableEnded ? undefined : new Error('the connection broke')));
    far.on('error', () => {}); // told by `close`
    this.#sidecar.serveNamed(duplexStream(far), lasts);
    return near;
  }

  override destroy(): void {
    for (const connection of this.#open) connection.destroy();
    super.destroy();
  }
}
